package mongodb

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth/internal/store/archive"
	"hearth/internal/testserver"
)

func TestExamineChangesNothingAndFindsAnUnfinishedRestore(t *testing.T) {
	t.Parallel()
	uri := testserver.MongoDB(t)
	for range 2 { // looking makes nothing that the next look would find
		if e, err := Examine(t.Context(), uri); err != nil || e.Exists || e.Server == "" {
			t.Fatalf("an empty database: %+v, %v", e, err)
		}
	}
	s := openAt(t, Options{URI: uri})
	if e, err := Examine(t.Context(), uri); err != nil || !e.Exists || e.Version != e.Newest || len(e.Missing) > 0 || e.Restoring != "" {
		t.Errorf("a sound database: %+v, %v", e, err)
	}
	if _, err := s.BeginRestore(t.Context(), archive.Restore{Source: "there"}); err != nil {
		t.Fatal(err)
	}
	if e, err := Examine(t.Context(), uri); err != nil || e.Restoring != "there" {
		t.Errorf("a half restored database: %+v, %v", e, err)
	}
}

// A server of one's own making stands in for what cannot be had here: a member of a replica set in trouble.
func TestExamineAsksAReplicaSetHowItIs(t *testing.T) {
	t.Parallel()
	var addr string
	member := func(name, state string, health int) bson.D {
		return bson.D{{Key: "name", Value: name}, {Key: "health", Value: health}, {Key: "stateStr", Value: state}}
	}
	addr = pretend(t, func(command string) bson.D {
		answer := bson.D{{Key: "ok", Value: 1}}
		switch strings.ToLower(command) {
		case "hello", "ismaster":
			answer = append(standalone(21, nil)(command), bson.E{Key: "setName", Value: "hearth"}, bson.E{Key: "me", Value: "db1"},
				bson.E{Key: "hosts", Value: bson.A{"db1", "db2", "db3"}}, bson.E{Key: "localTime", Value: time.Now().Add(-time.Hour)})
		case "buildinfo":
			answer = append(answer, bson.E{Key: "version", Value: "8.0.4"}, bson.E{Key: "versionArray", Value: bson.A{8, 0, 4, 0}})
		case "replsetgetstatus":
			answer = append(answer, bson.E{Key: "members", Value: bson.A{
				member("db1", "PRIMARY", 1), member("db2", "SECONDARY", 0), member("db3", "RECOVERING", 1), member("db4", "ARBITER", 1),
			}})
		case "serverstatus":
			answer = append(answer, bson.E{Key: "storageEngine", Value: bson.D{{Key: "name", Value: "inMemory"}, {Key: "persistent", Value: false}}})
		case "find":
			answer = append(answer, bson.E{Key: "cursor", Value: bson.D{
				{Key: "id", Value: int64(0)}, {Key: "ns", Value: "hearth.schema"}, {Key: "firstBatch", Value: bson.A{}},
			}})
		}
		return answer
	})
	e, err := Examine(t.Context(), "mongodb://"+addr+"/?directConnection=true")
	if err != nil {
		t.Fatal(err)
	}
	if e.ReplicaSet != "hearth" || e.Members != 3 || e.Server != "8.0.4" || !e.Volatile || e.Exists ||
		!slices.Equal(e.Down, []string{"db2 (SECONDARY)", "db3 (RECOVERING)"}) || e.Skew < time.Hour-time.Second || e.Skew > time.Hour+time.Minute {
		t.Errorf("it found %+v", e)
	}
}

func TestAMissingIndexComesWithItsCommand(t *testing.T) {
	t.Parallel()
	for want, i := range map[string]index{
		`db.users.createIndex({"email": 1}, {})`:                                                  {keys: []string{"email"}},
		`db.users.createIndex({"a": 1, "b": -1}, {unique: true})`:                                 {keys: []string{"a", "-b"}, unique: true},
		`db.users.createIndex({"purge_at": 1}, {expireAfterSeconds: 0})`:                          purgeIndex,
		`db.users.createIndex({"lock": 1}, {partialFilterExpression: {"lock": {$exists: true}}})`: lockIndex,
	} {
		if got := i.command("users"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
