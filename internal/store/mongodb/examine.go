package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"hearth/internal/store/mongodb/steps"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Examination is what Examine found.
type Examination struct {
	// Server is the server's version.
	Server string
	// ReplicaSet is the name of the set, "" for a server alone; Members counts the members that hold data and vote.
	ReplicaSet string
	Members    int
	// Down names members that are not well, and Volatile tells that data is in memory alone: as far as the account may know.
	Down     []string
	Volatile bool
	// Skew is how far apart the server's clock and ours are at least.
	Skew time.Duration
	// Exists reports whether the database has a schema; what follows counts only if so.
	Exists bool
	// Version is the schema's, Newest the program's.
	Version, Newest int
	// Missing are indexes that are not there or not as they should be.
	Missing []MissingIndex
	// Restoring names what the store is half restored from; "" if it is not.
	Restoring string
}

// MissingIndex is an index that a collection lacks: Name is for users, as "users (email)"; Command makes it, in MongoDB's shell.
type MissingIndex = struct{ Name, Command string }

// Examine looks at the servers and the database of the URI without changing anything; other programs may work on it. The error
// says what to change.
func Examine(ctx context.Context, uri string) (e Examination, err error) {
	// A database that was not started: it is not repaired.
	db, err := steps.Connect(steps.Options{URI: uri, MaxConns: 4})
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Greet(ctx); err != nil {
		return e, err
	}
	s := &Store{DB: db}
	for _, look := range []func(context.Context, *Examination) error{s.examineServer, s.examineSet, s.examineSchema} {
		if err := look(ctx, &e); err != nil {
			return e, fmt.Errorf("mongodb: %w", steps.Redacted(err, uri))
		}
	}
	return e, nil
}

func (s *Store) examineServer(ctx context.Context, e *Examination) error {
	var build struct {
		Version string `bson:"version"`
	}
	if err := s.Collection(collSchema).Database().RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build); err != nil {
		return fmt.Errorf("ask the server for its version: %w", err)
	}
	e.Server = build.Version
	var hello struct {
		Set   string    `bson:"setName"`
		Hosts []string  `bson:"hosts"`
		Now   time.Time `bson:"localTime"`
	}
	before := time.Now()
	if err := s.Collection(collSchema).Database().RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		return fmt.Errorf("ask the server for its replica set: %w", err)
	}
	e.ReplicaSet, e.Members = hello.Set, len(hello.Hosts)
	if !hello.Now.IsZero() {
		// The server read its clock, which it returns in whole milliseconds, between the two readings of ours.
		e.Skew = max(before.Sub(hello.Now)-time.Millisecond, time.Until(hello.Now), 0)
	}
	return nil
}

// examineSet asks what the role clusterMonitor may know; an account without it is told nothing, and neither is a server of
// another make.
func (s *Store) examineSet(ctx context.Context, e *Examination) error {
	admin := s.Collection(collSchema).Database().Client().Database("admin")
	var status struct {
		Members []struct {
			Name   string  `bson:"name"`
			Health float64 `bson:"health"`
			State  string  `bson:"stateStr"`
		} `bson:"members"`
	}
	if e.ReplicaSet != "" {
		if err := admin.RunCommand(ctx, bson.D{{Key: "replSetGetStatus", Value: 1}}).Decode(&status); steps.IsAway(err) {
			return err
		}
	}
	for _, m := range status.Members {
		if m.Health != 1 || !slices.Contains([]string{"PRIMARY", "SECONDARY", "ARBITER"}, m.State) {
			e.Down = append(e.Down, m.Name+" ("+m.State+")")
		}
	}
	var server struct {
		Engine struct {
			Name       string `bson:"name"`
			Persistent bool   `bson:"persistent"`
		} `bson:"storageEngine"`
	}
	if err := admin.RunCommand(ctx, bson.D{{Key: "serverStatus", Value: 1}}).Decode(&server); steps.IsAway(err) {
		return err
	}
	e.Volatile = server.Engine.Name != "" && !server.Engine.Persistent
	return nil
}

func (s *Store) examineSchema(ctx context.Context, e *Examination) error {
	e.Newest = migrations[len(migrations)-1].version
	var at struct {
		Version int `bson:"version"`
	}
	switch err := s.Collection(collSchema).FindOne(ctx, steps.ByID("schema")).Decode(&at); {
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil
	case err != nil:
		return fmt.Errorf("read the schema's version: %w", err)
	}
	e.Exists, e.Version = true, at.Version
	var mark restoreDoc
	switch err := s.Collection(collRestore).FindOne(ctx, steps.Live(steps.ByID(restoreID)...)).Decode(&mark); {
	case err == nil:
		e.Restoring = mark.restore().Source
	case !errors.Is(err, mongo.ErrNoDocuments):
		return fmt.Errorf("look for an unfinished restore: %w", err)
	}
	if e.Version != e.Newest {
		return nil
	}
	for name, indexes := range allIndexes() {
		missing, err := s.missingIndexes(ctx, name, indexes)
		if err != nil {
			return fmt.Errorf("list the indexes of %s: %w", name, err)
		}
		e.Missing = append(e.Missing, missing...)
	}
	sort.Slice(e.Missing, func(i, j int) bool { return e.Missing[i].Name < e.Missing[j].Name })
	return nil
}

// foundIndex is an index as the server describes it.
type foundIndex struct {
	Keys    bson.D `bson:"key"`
	Unique  bool   `bson:"unique"`
	Where   bson.D `bson:"partialFilterExpression"`
	Expires *int64 `bson:"expireAfterSeconds"`
}

// missingIndexes returns those of the wanted that the collection does not have, or has otherwise.
func (s *Store) missingIndexes(ctx context.Context, collection string, wanted []index) (missing []MissingIndex, err error) {
	cursor, err := s.Collection(collection).Indexes().List(ctx)
	if err != nil {
		return nil, err
	}
	var have []foundIndex
	if err := cursor.All(ctx, &have); err != nil {
		return nil, err
	}
	for _, i := range wanted {
		if !slices.ContainsFunc(have, i.is) {
			missing = append(missing, MissingIndex{Name: collection + " (" + strings.Join(i.keys, ", ") + ")", Command: i.command(collection)})
		}
	}
	return missing, nil
}

// command makes the index in MongoDB's shell.
func (i index) command(collection string) string {
	var keys, settings []string
	for _, name := range i.keys {
		if name[0] == '-' {
			keys = append(keys, fmt.Sprintf("%q: -1", name[1:]))
		} else {
			keys = append(keys, fmt.Sprintf("%q: 1", name))
		}
	}
	if i.unique {
		settings = append(settings, "unique: true")
	}
	if i.where != "" {
		settings = append(settings, fmt.Sprintf("partialFilterExpression: {%q: {$exists: true}}", i.where))
	}
	if i.expires {
		settings = append(settings, "expireAfterSeconds: 0")
	}
	return fmt.Sprintf("db.%s.createIndex({%s}, {%s})", collection, strings.Join(keys, ", "), strings.Join(settings, ", "))
}

// is reports whether a server's index does what i should do.
func (i index) is(have foundIndex) bool {
	var keys []string
	for _, key := range have.Keys {
		name := key.Key
		if direction, ok := number(key.Value); ok && direction < 0 {
			name = "-" + name
		}
		keys = append(keys, name)
	}
	where := ""
	if len(have.Where) == 1 {
		where = have.Where[0].Key
	}
	return slices.Equal(keys, i.keys) && have.Unique == i.unique && where == i.where && (have.Expires != nil && *have.Expires == 0) == i.expires
}

// number returns a number of whatever kind a server writes it as.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int32:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}
