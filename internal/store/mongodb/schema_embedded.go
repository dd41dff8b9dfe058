package mongodb

import (
	"context"
	"errors"
	"fmt"

	"hearth/internal/store/mongodb/steps"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// embedded are records that schema 2 kept inside of others.
type embedded struct {
	// coll and field hold them: a list of documents, or one.
	coll, field string
	// indexes served them.
	indexes []string
	// move returns the collection, _id and fields of one.
	move func(parent any, part bson.Raw) (coll string, id any, fields bson.D)
}

// renamed copies fields under new names, given in pairs.
func renamed(part bson.Raw, names ...string) (fields bson.D) {
	for i := 0; i < len(names); i += 2 {
		fields = append(fields, bson.E{Key: names[i+1], Value: part.Lookup(names[i])})
	}
	return fields
}

var allEmbedded = []embedded{ // never written to
	{"organizations", "members", []string{"members.user_1_created_1__id_1"}, func(org any, part bson.Raw) (string, any, bson.D) {
		return "members", fmt.Sprint(org, "/", part.Lookup("user").StringValue()), append(
			renamed(part, "user", "user_id", "role", "role", "joined", "joined_at"), bson.E{Key: "organization_id", Value: org})
	}},
	{"organizations", "invites", []string{"invites.id_1", "invites.hash_1", "invites.email_1_invites.expires_1", "invites.expires_1"},
		func(org any, part bson.Raw) (string, any, bson.D) {
			return "invitations", part.Lookup("id").StringValue(), append(renamed(part, "email", "email", "role", "role", "hash", "hash",
				"by", "invited_by", "created", "created_at", "expires", "expires_at"), bson.E{Key: "organization_id", Value: org})
		}},
	{"notification_settings", "watches", []string{"watches.device_1"}, func(user any, part bson.Raw) (string, any, bson.D) {
		return collWatches, fmt.Sprint(part.Lookup("device").StringValue(), "/", user), append(
			renamed(part, "device", "device_id", "told", "told"), bson.E{Key: "user_id", Value: user})
	}},
	{"users", "reset", []string{"reset.hash_1", "reset.expires_1"}, func(user any, part bson.Raw) (string, any, bson.D) {
		return "password_resets", part.Lookup("id").StringValue(), append(
			renamed(part, "hash", "hash", "expires", "expires_at"), bson.E{Key: "user_id", Value: user})
	}},
}

// migrateEmbedded gives members, invitations, watches and password resets collections of their own. Each document is one step: so of
// many instances one moves it.
func migrateEmbedded(ctx context.Context, s *Store) error {
	for _, e := range allEmbedded {
		has := bson.D{{Key: e.field, Value: bson.D{{Key: "$exists", Value: true}}}}
		for more := true; more; {
			ids, err := s.FirstIDs(ctx, e.coll, has, "_id", steps.BatchSize)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := s.moveEmbedded(ctx, e, id); err != nil {
					return fmt.Errorf("move %s of %s %v: %w", e.field, e.coll, id, err)
				}
			}
			more = len(ids) > 0
		}
		for _, name := range e.indexes {
			// An index that is not there is as good as dropped; one that stays costs little.
			if err := s.Collection(e.coll).Indexes().DropOne(ctx, name); steps.IsAway(err) {
				return err
			}
		}
	}
	return nil
}

func (s *Store) moveEmbedded(ctx context.Context, e embedded, id any) error {
	return s.Commit(ctx, steps.Writing{Name: "Migrate"}, func(ctx context.Context, st *steps.Step) error {
		doc, err := steps.Load[steps.Document](ctx, st.DB, e.coll, steps.ByID(id))
		if errors.Is(err, steps.ErrGone) {
			return nil
		}
		if err != nil {
			return err
		}
		value := doc.Lookup(e.field)
		if value.IsZero() {
			return nil // another instance moved it
		}
		for _, part := range partsOf(value) {
			coll, id, fields := e.move(id, part)
			// An unfinished step of another instance is waited for: its document may be taken back.
			if _, err := steps.Load[steps.Document](ctx, st.DB, coll, steps.ByID(id)); err == nil {
				continue
			} else if !errors.Is(err, steps.ErrGone) {
				return err
			}
			st.Insert(coll, id, append(bson.D{{Key: "_id", Value: id}, {Key: "v", Value: int64(1)}}, fields...), steps.ErrStale)
		}
		st.Update(e.coll, id, doc.State().V, bson.D{{Key: "$unset", Value: bson.D{{Key: e.field, Value: ""}}}})
		return nil
	})
}

// partsOf returns the documents of a list, or the one that the value is.
func partsOf(value bson.RawValue) (parts []bson.Raw) {
	if doc, ok := value.DocumentOK(); ok {
		return []bson.Raw{doc}
	}
	list, ok := value.ArrayOK()
	if !ok {
		return nil
	}
	values, err := list.Values()
	if err != nil {
		return nil
	}
	for _, v := range values {
		if doc, ok := v.DocumentOK(); ok {
			parts = append(parts, doc)
		}
	}
	return parts
}
