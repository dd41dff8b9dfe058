package mongodb

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"hearth"
	"hearth/internal/testserver"
)

// oldLogs is what testdata/schema2.json.gz and schema4.json.gz say: documents that the last program with the schema wrote, with folds that
// were broken off in the middle of their writes and before their end, and what that program answered then.
type oldLogs struct {
	documents map[string][]any
	Logs      []oldLog
	Rollups   [][]hearth.Rollup
}

// oldLog is a log of those times: its value is a number.
type oldLog struct {
	Device int64
	Event  string
	Value  float64
	At     int64
	Seq    uint64
}

func readOldLogs(t *testing.T, name string) oldLogs {
	t.Helper()
	file, err := os.Open("testdata/" + name + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	out := oldLogs{documents: map[string][]any{}}
	for lines := json.NewDecoder(text); ; {
		line := struct {
			Collection string
			Document   json.RawMessage
			*oldLogs
		}{oldLogs: &out}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if line.Collection == "" {
			continue
		}
		var document bson.D
		if err := bson.UnmarshalExtJSON(line.Document, true, &document); err != nil {
			t.Fatal(err)
		}
		out.documents[line.Collection] = append(out.documents[line.Collection], document)
	}
}

// restoreOldLogs returns the URI of a database with the documents.
func restoreOldLogs(t *testing.T, old oldLogs) string {
	t.Helper()
	uri := testserver.MongoDB(t)
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		t.Fatal(err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	for name, documents := range old.documents {
		if _, err := client.Database(parsed.Database).Collection(name).InsertMany(t.Context(), documents); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return uri
}

// checkOldLogs compares what the store answers with what the old program answered.
func checkOldLogs(t *testing.T, s *Store, old oldLogs) {
	t.Helper()
	all := hearth.Reach{All: true}
	var logs []hearth.LogEntry
	for e, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: all, Span: everSpan}) {
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, e)
	}
	if !slices.EqualFunc(logs, old.Logs, func(a hearth.LogEntry, b oldLog) bool {
		return a == hearth.LogEntry{Device: b.Device, Event: b.Event, Value: hearth.Number(b.Value), At: b.At, Seq: b.Seq}
	}) {
		t.Errorf("%d logs differ from the %d that there were", len(logs), len(old.Logs))
	}
	rollups, err := s.Rollups(t.Context(), hearth.RollupQuery{Reach: all, Span: everSpan, Groupings: []hearth.Grouping{
		{}, {ByDevice: true, ByEvent: true}, {Step: hearth.StepDay}, {ByEvent: true, Step: hearth.StepHour},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, groups := range rollups {
		if !slices.EqualFunc(groups, old.Rollups[i], func(a, b hearth.Rollup) bool {
			return a.Device == b.Device && a.Event == b.Event && a.At == b.At && a.Count == b.Count && a.Min == b.Min && a.Max == b.Max &&
				math.Abs(a.Sum-b.Sum) <= 1e-9*math.Abs(b.Sum)
		}) {
			t.Errorf("the groups of grouping %d differ", i)
		}
	}
	if n, err := s.CountLogs(t.Context(), all); err != nil || n != int64(len(old.Logs)) {
		t.Errorf("%d logs are counted, %v; want %d", n, err, len(old.Logs))
	}
	for id, rows := range map[string]int64{"folded": 50, "waits": 31} {
		if c, err := s.ImportCheckpoint(t.Context(), id); err != nil || c.Rows != rows {
			t.Errorf("the checkpoint %s is %+v, %v; want %d rows", id, c, err, rows)
		}
	}
	if mended, err := s.Reconcile(t.Context(), time.Unix(0, 0)); err != nil || mended != 0 {
		t.Errorf("%d days did not equal the logs, %v", mended, err)
	}
}

func TestOldLogsAreMigrated(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]int{"schema2": 1, "schema4": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			oldLogsAreMigrated(t, name, lines)
		})
	}
}

func oldLogsAreMigrated(t *testing.T, name string, moved int) {
	old := readOldLogs(t, name)
	said := &lines{}
	settings := Options{URI: restoreOldLogs(t, old), Logs: quiet, Logger: slog.New(slog.NewTextHandler(said, nil)), Grace: time.Millisecond}
	s := openAt(t, settings)
	checkOldLogs(t, s, old)
	if n := said.count("moved logs to the present layout"); n != moved {
		t.Errorf("the log says %d times that logs were moved", n)
	}
	names, err := s.Collection(collSchema).Database().ListCollectionNames(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{collOldLogs, collOldLanes, collOldRollups, collOldDays} {
		if slices.Contains(names, gone) {
			t.Errorf("the collection %s is still there", gone)
		}
	}
	if n, err := s.logs.docs.CountDocuments(t.Context(), bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: "k", Value: nil}}, bson.D{{Key: "v", Value: nil}}}}}); n != 0 {
		t.Errorf("%d documents have no key, %v", n, err)
	}
	if missing, err := s.missingIndexes(t.Context(), collDocuments, fleetIndexes()[collDocuments]); err != nil || len(missing) > 0 {
		t.Errorf("there are no indexes %v, %v", missing, err)
	}
	// What waits is folded now, and what is stored now comes behind.
	if err := s.FoldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkOldLogs(t, s, old)
	var device deviceDoc
	if err := s.Collection(collDevices).FindOne(t.Context(), alive()).Decode(&device); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, e := range old.Logs {
		last = max(last, e.Seq)
	}
	first, err := s.AppendLogs(t.Context(), []hearth.LogEntry{{Device: device.Key, Event: "a", At: noon.UnixMilli()}}, nil, hearth.SideEffects{})
	if err != nil || first <= last {
		t.Errorf("the next log has the number %d, %v; want more than %d", first, err, last)
	}
}

// A migration is broken off before any of its commands, by two processes at once; the last one ends it.
func TestAMigrationOfLogsMayBeBrokenOff(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][2]int{"schema2": {40, 25}, "schema4": {4, 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := readOldLogs(t, name)
			uri := restoreOldLogs(t, old)
			for left := commands[0]; !openTwice(t, uri, left); left += commands[1] {
				if t.Failed() {
					return
				}
			}
			checkOldLogs(t, openAt(t, Options{URI: uri, Logs: quiet, Grace: time.Millisecond}), old)
		})
	}
}

// openTwice opens a database in two processes at once, which break off after some commands; it reports whether one got to its end.
func openTwice(t *testing.T, uri string, left int) (done bool) {
	var starting sync.WaitGroup
	var mu sync.Mutex
	for i := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		n := left + 7*i
		settings := Options{URI: uri, Logs: quiet, Grace: time.Millisecond, commands: &event.CommandMonitor{
			Started: func(context.Context, *event.CommandStartedEvent) {
				mu.Lock()
				defer mu.Unlock()
				if n--; n == 0 {
					cancel()
				}
			},
		}}
		starting.Go(func() {
			defer cancel()
			s, err := Open(ctx, settings)
			if err != nil {
				return
			}
			mu.Lock()
			done = true
			mu.Unlock()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	return done
}
