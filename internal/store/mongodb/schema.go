package mongodb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

// The collections that are not of described records alone; docs/reference/mongodb.md tells what each holds.
const (
	collSchema        = "schema"
	collOrganizations = "organizations"
	collWatches       = "device_watches"
	collDevices       = "devices"
	collUsers         = "users"
	collSerials       = "device_serials"
)

// The rules that have a guard.
const (
	guardAdmins    = "admins"
	guardFirstUser = "first-user"
)

// lockable returns the collections whose documents take part in writes of many documents (see Meta). Each has the index lock.
func lockable() []string {
	all := []string{steps.Guards, collDevices, collSerials, collTail, collCheckpoints, collRestore}
	for _, s := range record.Schemas() {
		if s.View == "" && !s.Loose {
			all = append(all, s.Name)
		}
		if s.Claim != nil {
			all = append(all, s.Claim.Collection)
		}
	}
	return all
}

// index describes one index. Keys are ascending; a name that begins with "-" is descending.
type index struct {
	keys   []string
	unique bool
	// where, if set, is a field that a document must have to be in the index.
	where string
	// expires lets the server remove documents when the time in the one key has passed.
	expires bool
}

func (i index) model() mongo.IndexModel {
	keys := bson.D{}
	for _, name := range i.keys {
		if name[0] == '-' {
			keys = append(keys, bson.E{Key: name[1:], Value: -1})
		} else {
			keys = append(keys, bson.E{Key: name, Value: 1})
		}
	}
	settings := options.Index()
	if i.unique {
		settings.SetUnique(true)
	}
	if i.where != "" {
		settings.SetPartialFilterExpression(bson.D{{Key: i.where, Value: bson.D{{Key: "$exists", Value: true}}}})
	}
	if i.expires {
		settings.SetExpireAfterSeconds(0)
	}
	return mongo.IndexModel{Keys: keys, Options: settings}
}

// lockIndex finds documents that an unfinished write holds: nearly always empty.
var lockIndex = index{keys: []string{"lock"}, where: "lock"} // never written to

// purgeIndex is the net under the clean-up jobs: the server removes what they should have removed a day ago.
var purgeIndex = index{keys: []string{"purge_at"}, expires: true} // never written to

// migration brings the schema from the version before to its own. Many instances may run it at the same time, and one may
// run it again after a crash: it may only do what is right to do twice and at once, such as creating indexes and updating
// documents of the old form.
type migration struct {
	version int
	run     func(ctx context.Context, s *Store) error
}

// migrations are in the order of their versions, which begin with 1.
var migrations = []migration{ // never written to
	{1, migrateAccounts},
	{2, migrateFleet},
	{3, migrateEmbedded},
	{4, migrateLogs},
	{5, migrateSerials},
	{6, migrateTwins},
	{7, migrateKeys},
	{8, migrateMoves},
	{9, migrateSearch},
	{10, migrateResets},
	{11, migrateNewLogs},
}

// createIndexes makes indexes by collection; those that are there stay.
func (s *Store) createIndexes(ctx context.Context, wanted map[string][]index) error {
	for name, indexes := range wanted {
		models := make([]mongo.IndexModel, 0, len(indexes))
		for _, i := range indexes {
			models = append(models, i.model())
		}
		err := steps.Again(ctx, func() error {
			_, err := s.Collection(name).Indexes().CreateMany(ctx, models)
			return err
		})
		if err != nil {
			return fmt.Errorf("create the indexes of %s: %w", name, err)
		}
	}
	return nil
}

// migrateAccounts makes the first form of everything but devices and logs. Lists walk the indexes that end in _id.
func migrateAccounts(ctx context.Context, s *Store) error {
	if err := s.createIndexes(ctx, ownIndexes()); err != nil {
		return err
	}
	for _, name := range []string{guardAdmins, guardFirstUser} {
		err := steps.Again(ctx, func() error {
			_, err := s.Collection(steps.Guards).InsertOne(ctx, bson.D{{Key: "_id", Value: name}, {Key: "v", Value: int64(1)}})
			return err
		})
		if err != nil && !steps.IsDuplicate(err) {
			return fmt.Errorf("create the guards: %w", err)
		}
	}
	return nil
}

// ownIndexes are those of collections that are not of described records, but for devices and logs.
func ownIndexes() map[string][]index {
	return map[string][]index{
		steps.Guards: {lockIndex},
		steps.Commits: {
			{keys: []string{"once"}, unique: true, where: "once"},
			{keys: []string{"open"}, where: "open"},
			{keys: []string{"expires"}, where: "expires"},
			purgeIndex,
		},
		steps.Audit: {
			{keys: []string{"ref"}, unique: true},
			{keys: []string{"at", "_id"}},
			{keys: []string{"actor_id", "at", "_id"}},
			{keys: []string{"action", "at", "_id"}},
			{keys: []string{"target", "at", "_id"}},
		},
	}
}

// allIndexes are the indexes of every collection.
func allIndexes() map[string][]index {
	all := recordIndexes()
	maps.Copy(all, ownIndexes())
	maps.Copy(all, fleetIndexes())
	return all
}

// migrate runs what the database has not seen. It refuses a schema that is newer than the program.
func (s *Store) migrate(ctx context.Context) error {
	versions := s.Collection(collSchema)
	var at struct {
		Version int `bson:"version"`
		// Described names the descriptions whose indexes were made.
		Described string `bson:"described"`
	}
	err := versions.FindOne(ctx, bson.D{{Key: "_id", Value: "schema"}}).Decode(&at)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if newest := migrations[len(migrations)-1].version; at.Version > newest {
		return fmt.Errorf("the database has schema %d, which is newer than this program's %d: use the newer program", at.Version, newest)
	}
	// Indexes of descriptions come first: moving records needs them.
	if described := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, recordIndexes()))); described != at.Described {
		if err := s.createIndexes(ctx, recordIndexes()); err != nil {
			return err
		}
		if err := s.noteSchema(ctx, "$set", bson.E{Key: "described", Value: described}); err != nil {
			return err
		}
	}
	for _, m := range migrations {
		if m.version <= at.Version {
			continue
		}
		if err := m.run(ctx, s); err != nil {
			return fmt.Errorf("migrate the schema to version %d: %w", m.version, err)
		}
		if err := s.noteSchema(ctx, "$max", bson.E{Key: "version", Value: m.version}); err != nil {
			return err
		}
	}
	return nil
}

// migrateResets removes the password resets that stand under the id of their user: later ones stand under their own. They are an hour
// old at most, and are asked for again.
func migrateResets(ctx context.Context, s *Store) error {
	_, err := s.Collection("password_resets").DeleteMany(ctx, bson.D{{Key: "user_id", Value: bson.D{{Key: "$exists", Value: false}}}})
	return err
}

// noteSchema writes down what was done.
func (s *Store) noteSchema(ctx context.Context, operator string, field bson.E) error {
	note := func(settings ...options.Lister[options.UpdateOneOptions]) error {
		_, err := s.Collection(collSchema).UpdateOne(ctx, steps.ByID("schema"), bson.D{{Key: operator, Value: bson.D{field}}}, settings...)
		return err
	}
	err := steps.Again(ctx, func() error { return note(options.UpdateOne().SetUpsert(true)) })
	if steps.IsDuplicate(err) { // two instances made the document at once
		err = steps.Again(ctx, func() error { return note() })
	}
	if err != nil {
		return fmt.Errorf("note the schema's version: %w", err)
	}
	return nil
}
