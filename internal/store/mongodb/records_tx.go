package mongodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

// recordTx builds a step out of what is done with records: one operation a document, whatever was asked of it.
type recordTx struct {
	recordReader
	st    *steps.Step
	known map[string]*known
	// order are the known documents that are written, in the order of their first write.
	order []*known
}

var _ record.Tx = (*recordTx)(nil)

// known is a document that the step has read or writes.
type known struct {
	s  *record.Schema
	id any
	// raw is the document as it was read; nil if there is none.
	raw  bson.Raw
	meta steps.Meta

	written         bool
	insert, replace any
	remove, hold    bool
	slot            *int
	// taken is the error of an insertion that finds the id taken.
	taken error
}

func knownKey(s *record.Schema, id any) string { return fmt.Sprint(s.Name, "\x00", id) }

// With implements record.Tx.
func (tx *recordTx) With(effects hearth.SideEffects) { tx.st.Effects = effects }

// Get implements record.Reader: an unfinished step that holds the record is waited for.
func (tx *recordTx) Get(ctx context.Context, s *record.Schema, id []any, into any) error {
	if s.Loose { // it never changes
		return tx.recordReader.Get(ctx, s, id, into)
	}
	doc, err := steps.Load[steps.Document](ctx, tx.st.DB, s.Name, steps.ByID(idOf(id)))
	key := knownKey(s, idOf(id))
	switch {
	case errors.Is(err, steps.ErrGone), err == nil && s.Hidden != "" && doc.Lookup(s.Hidden).Type != 0:
		tx.known[key] = &known{s: s, id: idOf(id), taken: steps.ErrStale}
		return s.NotFound()
	case err != nil:
		return err
	}
	tx.known[key] = &known{s: s, id: idOf(id), raw: doc.Raw, meta: doc.State()}
	return decode(s, doc.Raw, into)
}

// Find implements record.Reader. A record that another step holds is waited for, and the step made anew.
func (tx *recordTx) Find(ctx context.Context, s *record.Schema, q record.Query, next func() (any, error)) error {
	q.MayLag = false
	var held *known
	err := tx.each(ctx, s, q, func(raw bson.Raw) error {
		doc := steps.Document{Raw: append(bson.Raw(nil), raw...)}
		record, err := next()
		if err == nil {
			err = decode(s, doc.Raw, record)
		}
		if err != nil {
			return err
		}
		k := &known{s: s, id: idOf(s.IDOf(record)), raw: doc.Raw, meta: doc.State()}
		if k.meta.Lock != "" {
			held = k
		}
		if old := tx.known[knownKey(s, k.id)]; old == nil || !old.written {
			tx.known[knownKey(s, k.id)] = k
		}
		return nil
	})
	if err == nil && held != nil {
		err = errors.Join(tx.s.Await(ctx, s.Name, held.id, held.meta.Lock), steps.ErrStale)
	}
	return err
}

// write returns what is known of a document that is about to be written.
func (tx *recordTx) write(s *record.Schema, id any) *known {
	key := knownKey(s, id)
	k := tx.known[key]
	if k == nil {
		k = &known{s: s, id: id, taken: s.TakenError()}
		tx.known[key] = k
	}
	if !k.written {
		k.written = true
		tx.order = append(tx.order, k)
	}
	return k
}

// Insert implements record.Tx. Records that a limit counts have a place each, which no two have.
func (tx *recordTx) Insert(ctx context.Context, s *record.Schema, r any) error {
	k := tx.write(s, idOf(s.IDOf(r)))
	k.insert = r
	if !s.Counts(r) {
		return nil
	}
	owner := s.Field(s.Limit.By)
	slot, err := tx.s.freeSlot(ctx, s.Name, owner.BSON, owner.Get(r), s.Limit.Most)
	if errors.Is(err, errNoSlot) {
		return s.Limit.Full()
	}
	k.slot = &slot
	return err
}

// InsertDevice implements record.Tx.
func (tx *recordTx) InsertDevice(ctx context.Context, d hearth.Device, taken error) (hearth.Device, error) {
	if err := intoOrganization(ctx, tx.st, d.OrganizationID); err != nil {
		return d, err
	}
	key, err := tx.s.Take(ctx, collDevices, 1)
	d.Key, d.Version = key, 1
	if err == nil {
		insertDevice(tx.st, d, taken)
	}
	return d, err
}

// SetDesiredVersions implements record.Tx.
func (tx *recordTx) SetDesiredVersions(_ context.Context, versions map[string]int64) error {
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		older := bson.D{{Key: "_id", Value: id}, {Key: "desired_version", Value: bson.D{{Key: "$lt", Value: versions[id]}}}}
		tx.st.Sweep(collDevices, older, steps.Set(bson.D{{Key: "desired_version", Value: versions[id]}}))
	}
	return nil
}

// Replace implements record.Tx.
func (tx *recordTx) Replace(_ context.Context, s *record.Schema, r any) error {
	k := tx.write(s, idOf(s.IDOf(r)))
	if k.insert != nil {
		k.insert = r
		return nil
	}
	k.replace = r
	return k.check()
}

// Delete implements record.Tx.
func (tx *recordTx) Delete(_ context.Context, s *record.Schema, id []any) error {
	k := tx.write(s, idOf(id))
	k.remove = true
	return k.check()
}

// check refuses to write over what was not read.
func (k *known) check() error {
	if k.raw == nil {
		return fmt.Errorf("%w: %s %v", errNoID, k.s.Name, k.id)
	}
	return nil
}

// Hold implements record.Tx.
func (tx *recordTx) Hold(ctx context.Context, s *record.Schema, id []any) error {
	if k := tx.known[knownKey(s, idOf(id))]; k == nil || k.raw == nil {
		doc, err := steps.Load[steps.Document](ctx, tx.st.DB, s.Name, steps.ByID(idOf(id)))
		switch {
		case errors.Is(err, steps.ErrGone), err == nil && s.Hidden != "" && doc.Lookup(s.Hidden).Type != 0:
			return s.NotFound()
		case err != nil:
			return err
		}
		tx.known[knownKey(s, idOf(id))] = &known{s: s, id: idOf(id), raw: doc.Raw, meta: doc.State()}
	}
	tx.write(s, idOf(id)).hold = true
	return nil
}

// Guard implements record.Tx.
func (tx *recordTx) Guard(ctx context.Context, name string) error { return tx.st.Guard(ctx, name) }

// UpdateWhere implements record.Tx.
func (tx *recordTx) UpdateWhere(_ context.Context, s *record.Schema, where record.Filter, changes record.Changes) error {
	tx.st.Sweep(s.Name, filterOf(s, where), steps.Set(changed(s, changes)))
	return nil
}

// DeleteWhere implements record.Tx.
func (tx *recordTx) DeleteWhere(_ context.Context, s *record.Schema, where record.Filter) error {
	tx.st.Purge(s.Name, filterOf(s, where))
	return nil
}

// Note implements record.Tx.
func (tx *recordTx) Note(_ context.Context, s *record.Schema, r any) error {
	id := idOf(s.IDOf(r))
	doc, _ := tx.s.newDoc(s, r)
	tx.st.Note(s.Name, id, doc)
	return nil
}

// stored returns the fields of a record with those that the server removes it by.
func (s *Store) stored(schema *record.Schema, r any) bson.D {
	fields := fieldsFor(schema, r)
	if at := schema.ExpiryOf(r); !at.IsZero() {
		fields = append(fields, bson.E{Key: "purge_at", Value: s.PurgeAt(at)})
	}
	return fields
}

// newDoc returns the document of a new record. The value of its unique field, if it has one, is the _id of a document of its own,
// the claim: so that two do not take it at once, and one that changes takes the new value before it lets go of the old one.
func (s *Store) newDoc(schema *record.Schema, r any) (doc, claim bson.D) {
	id := idOf(schema.IDOf(r))
	doc = bson.D{{Key: "_id", Value: id}}
	if !schema.Loose {
		doc = append(doc, bson.E{Key: "v", Value: int64(1)})
	}
	if c := schema.Claim; c != nil {
		claim = bson.D{{Key: "_id", Value: schema.Field(c.Field).Get(r)}, {Key: "v", Value: int64(1)}, {Key: c.By, Value: id}}
	}
	return append(doc, s.stored(schema, r)...), claim
}

// note tells the step what is to be written.
func (tx *recordTx) note(ctx context.Context) error {
	for _, k := range tx.order {
		coll := k.s.Name
		switch {
		case k.insert != nil:
			doc, claim := tx.s.newDoc(k.s, k.insert)
			if k.slot != nil {
				doc = append(doc, bson.E{Key: slotField, Value: *k.slot})
			}
			tx.claim(k.s, claim)
			tx.st.Insert(coll, k.id, doc, k.taken)
		case k.remove:
			tx.st.Remove(coll, k.id, k.meta.V)
		case k.replace != nil:
			if err := tx.moveClaim(ctx, k); err != nil {
				return err
			}
			change := steps.Set(tx.s.stored(k.s, k.replace))
			if _, err := k.raw.LookupErr(slotField); err == nil && !k.s.Counts(k.replace) {
				change = steps.With(change, "$unset", slotField, "")
			}
			tx.st.Update(coll, k.id, k.meta.V, change)
		default:
			tx.st.Update(coll, k.id, k.meta.V, nil)
		}
	}
	return nil
}

func (tx *recordTx) claim(s *record.Schema, claim bson.D) {
	if claim != nil {
		tx.st.Insert(s.Claim.Collection, claim[0].Value, claim, s.TakenError())
	}
}

func (tx *recordTx) moveClaim(ctx context.Context, k *known) error {
	claim := k.s.Claim
	if claim == nil {
		return nil
	}
	before := k.raw.Lookup(bsonName(k.s, claim.Field)).StringValue()
	if before == k.s.Field(claim.Field).Get(k.replace) {
		return nil
	}
	old, err := steps.Load[steps.Document](ctx, tx.st.DB, claim.Collection, steps.ByID(before))
	if err != nil {
		return err
	}
	tx.st.Remove(claim.Collection, before, old.State().V)
	_, taken := tx.s.newDoc(k.s, k.replace)
	tx.claim(k.s, taken)
	return nil
}
