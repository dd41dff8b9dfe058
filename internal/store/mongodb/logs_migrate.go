package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// The collections of schema 2. There the logs lay in documents by hour and by block of 1,024 devices of a scope, in versions of 64
// lanes, which were what partitions are now. The tail was as it is, but for checkpoints in it.
const (
	collOldLogs    = "logs"
	collOldLanes   = "log_lanes"
	collOldRollups = "rollups"
	collOldDays    = "rollup_days"
)

// oldState is the state of a lane, or of a partition in schema 4.
type oldState struct {
	ID   int64 `bson:"_id"`
	Ver  int64 `bson:"ver"`
	Last int64 `bson:"last"`
	// Applied are rows that a lane has folded, though they may still name it; Folded are those of the partition's version.
	Applied []int64 `bson:"applied"`
	Folded  []int64 `bson:"folded"`
	Aborted []struct {
		Ver int64 `bson:"v"`
	} `bson:"aborted"`
	Horizon int64 `bson:"horizon"`
	Work    *struct {
		Ver int64  `bson:"ver"`
		By  string `bson:"by"`
		At  int64  `bson:"at"`
	} `bson:"work"`
}

// oldChunk is a document of logs.
type oldChunk struct {
	ID         string `bson:"_id"`
	steps.Meta `bson:",inline"`
	Block      int64 `bson:"block"`
	Hour       int64 `bson:"hour"`
	Ver        int64 `bson:"ver"`
	Gone       int64 `bson:"gone"`
	Part       struct {
		N int `bson:"n"`
	} `bson:"part"`
	Data []byte `bson:"data"`
}

func (c *oldChunk) scope() int64 { return c.Block >> 24 }

// seen reports whether a chunk counts in a lane's version.
func (c *oldChunk) seen(lane int64) bool { return c.Ver <= lane && (c.Gone == 0 || c.Gone > lane) }

// migrateLogs brings the logs of schema 2 into the present form: they are put into the tail, some thousand in one atomic step with the
// removal of where they were, and folded, which makes their rollups. Processes of the old program can write logs meanwhile, but
// not fold them any more.
func migrateLogs(ctx context.Context, s *Store) error {
	// An earlier start may have been broken off, and have been of a program whose newest schema was 4.
	if err := migrateKeys(ctx, s); err != nil {
		return err
	}
	if err := s.logs.makePartitions(ctx); err != nil {
		return err
	}
	m := logMigration{s: s, started: time.Now(), told: time.Now()}
	if lanes, err := s.Exists(ctx, collOldLanes, bson.D{}); err != nil {
		return err
	} else if lanes {
		if m.lanes, err = s.stopOld(ctx, collOldLanes); err != nil {
			return err
		}
		for _, step := range []func(context.Context) error{m.checkpoints, m.tail, m.horizon, m.chunks} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	for _, coll := range []string{collOldLogs, collOldRollups, collOldDays, collOldLanes} {
		if err := s.Collection(coll).Drop(ctx); err != nil {
			return fmt.Errorf("remove %s: %w", coll, err)
		}
	}
	return nil
}

// logMigration is one run; every part of it may be done again, and by many processes at once.
type logMigration struct {
	s       *Store
	lanes   map[int64]oldState
	started time.Time
	told    time.Time
	moved   int64
}

// stopper has claimed for good what the old program may not change any more.
const stopper = "migration"

// stopOld claims every lane, or partition of schema 4, so that its version never changes again. A claim of the old program is waited for
// until it is over.
func (s *Store) stopOld(ctx context.Context, coll string) (map[int64]oldState, error) {
	states := map[int64]oldState{}
	forEver := steps.Set(bson.D{{Key: "work", Value: bson.D{
		{Key: "ver", Value: int64(-1)}, {Key: "by", Value: stopper}, {Key: "at", Value: int64(math.MaxInt64 / 2)},
	}}})
	for try := 0; ; try++ {
		found, err := steps.FindAll[oldState](ctx, s.Collection(coll), bson.D{})
		if err != nil {
			return nil, err
		}
		for _, state := range found {
			states[state.ID] = state
		}
		left := 0
		for id := range int64(partitions) {
			state := states[id]
			if state.Work != nil && state.Work.By == stopper {
				continue
			}
			left++
			filter := bson.D{{Key: "_id", Value: id}, {Key: "work.ver", Value: nil}}
			if w := state.Work; w != nil {
				if s.Now().UnixMilli()-w.At < claimTime.Milliseconds() {
					continue
				}
				filter = bson.D{{Key: "_id", Value: id}, {Key: "ver", Value: state.Ver}, {Key: "work.ver", Value: w.Ver}, {Key: "work.by", Value: w.By}}
			}
			_, err := s.Collection(coll).UpdateOne(ctx, filter, forEver, options.UpdateOne().SetUpsert(state.Work == nil))
			if err != nil && !steps.IsDuplicate(err) {
				return nil, err
			}
		}
		if left == 0 {
			return states, nil
		}
		if err := steps.Pause(ctx, min(try, 8)); err != nil {
			return nil, err
		}
	}
}

// checkpoints brings the checkpoints of imports out of the tail, where the newest one was until its rows were folded.
func (m *logMigration) checkpoints(ctx context.Context) error {
	// A checkpoint may come with a write that a process has left unfinished.
	drafts, err := steps.FindAll[tailDoc](ctx, m.s.logs.tail, bson.D{{Key: "lock", Value: bson.D{{Key: "$exists", Value: true}}}}, only("lock"))
	if err != nil {
		return err
	}
	for _, d := range drafts {
		if err := m.s.Await(ctx, collTail, d.ID, d.Lock); err != nil {
			return err
		}
	}
	kept := m.s.Collection(collCheckpoints)
	if _, err := kept.UpdateMany(ctx, bson.D{{Key: "v", Value: nil}}, bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: int64(1)}}}}); err != nil {
		return err
	}
	type ordered struct {
		ID               string `bson:"_id"`
		CheckpointFields `bson:",inline"`
		Order            int64 `bson:"order"`
	}
	rows, err := steps.FindAll[struct {
		Checkpoint ordered `bson:"checkpoint"`
	}](ctx, m.s.logs.tail, bson.D{{Key: "checkpoint", Value: bson.D{{Key: "$exists", Value: true}}}}, only("checkpoint").SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	for _, row := range rows {
		c := row.Checkpoint
		newer := bson.D{{Key: "_id", Value: c.ID}, {Key: "order", Value: bson.D{{Key: "$lt", Value: c.Order}}}}
		change := bson.D{
			{Key: "$set", Value: bson.D{{Key: "rows", Value: c.Rows}, {Key: "mark", Value: c.Mark}, {Key: "order", Value: c.Order}}},
			{Key: "$inc", Value: bson.D{{Key: "v", Value: int64(1)}}},
		}
		// It is a duplicate if what is there is not older.
		if _, err := kept.UpdateOne(ctx, newer, change, options.UpdateOne().SetUpsert(true)); err != nil && !steps.IsDuplicate(err) {
			return err
		}
	}
	return nil
}

// tail takes lanes off the rows that they have folded, and removes rows that were there for their checkpoint alone.
func (m *logMigration) tail(ctx context.Context) error {
	for _, lane := range m.lanes {
		u := update{logBackend: m.s.logs, state: &partitionState{ID: lane.ID}}
		if err := chunked(lane.Applied, func(some []int64) error { return u.sweepTail(ctx, some) }); err != nil {
			return err
		}
	}
	_, err := m.s.logs.tail.DeleteMany(ctx, steps.Live(bson.E{Key: "n", Value: 0}))
	return err
}

func (m *logMigration) horizon(ctx context.Context) error {
	all, ok := m.lanes[allPartitions]
	if !ok {
		return nil
	}
	err := m.s.logs.MoveHorizon(ctx, math.MinInt64, all.Horizon)
	if errors.Is(err, tsdb.ErrBusy) {
		return nil // it has been moved
	}
	return err
}

// migrateLogsAtOnce is how many logs one step moves, migrateChunksAtOnce in how many documents.
const (
	migrateLogsAtOnce   = tsdb.MaxRow
	migrateChunksAtOnce = 500
)

// chunks moves the logs of one scope after the other, by time, so that they are folded behind one another.
func (m *logMigration) chunks(ctx context.Context) error {
	coll := m.s.Collection(collOldLogs)
	// A step demands that each document that it removes is there and free.
	if _, err := coll.UpdateMany(ctx, bson.D{{Key: "v", Value: nil}}, bson.D{{Key: "$set", Value: bson.D{{Key: "v", Value: int64(1)}}}}); err != nil {
		return err
	}
	total, err := coll.EstimatedDocumentCount(ctx)
	if err != nil {
		return err
	}
	if total > 0 {
		m.s.Options.Logger.InfoContext(ctx, "moving logs to the present layout; the start goes on when it is done, and may be broken off", "documents", total)
	}
	for from := int64(0); ; {
		// By the index (block, hour).
		next, err := steps.FindAll[oldChunk](ctx, coll, bson.D{{Key: "block", Value: bson.D{{Key: "$gte", Value: from << 24}}}},
			only("block").SetSort(bson.D{{Key: "block", Value: 1}}).SetLimit(1))
		if err != nil {
			return err
		}
		if len(next) == 0 {
			break
		}
		scope := next[0].scope()
		if err := m.scope(ctx, scope); err != nil {
			return err
		}
		from = scope + 1
	}
	if total > 0 {
		m.s.Options.Logger.InfoContext(ctx, "moved logs to the present layout", "logs", m.moved, "took", time.Since(m.started).Round(time.Millisecond))
	}
	return nil
}

// scope moves the logs of one scope.
func (m *logMigration) scope(ctx context.Context, scope int64) error {
	partition := m.s.logs.Partition(scope)
	lane := m.lanes[int64(partition)].Ver
	chunks, err := steps.FindAll[oldChunk](ctx, m.s.Collection(collOldLogs),
		bson.D{{Key: "block", Value: bson.D{{Key: "$gte", Value: scope << 24}, {Key: "$lt", Value: (scope + 1) << 24}}}},
		only("block", "hour", "ver", "gone", "part.n"))
	if err != nil {
		return err
	}
	chunks = slices.DeleteFunc(chunks, func(c oldChunk) bool { return !c.seen(lane) })
	sort.Slice(chunks, func(i, j int) bool {
		a, b := &chunks[i], &chunks[j]
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.ID, b.ID)) < 0
	})
	unfolded := 0
	for len(chunks) > 0 {
		n, logs := 0, 0
		for n < min(len(chunks), migrateChunksAtOnce) && (n == 0 || logs+chunks[n].Part.N <= migrateLogsAtOnce) {
			logs += chunks[n].Part.N
			n++
		}
		ids := make([]string, n)
		for i := range ids {
			ids[i] = chunks[i].ID
		}
		chunks = chunks[n:]
		if err := m.move(ctx, scope, lane, ids); err != nil {
			return err
		}
		m.moved += int64(logs)
		if unfolded += logs; unfolded >= 2*migrateLogsAtOnce || len(chunks) == 0 {
			if err := m.fold(ctx, partition); err != nil {
				return err
			}
			unfolded = 0
		}
		if time.Since(m.told) > 5*time.Second {
			m.told = time.Now()
			m.s.Options.Logger.InfoContext(ctx, "moving logs to the present layout", "logs", m.moved)
		}
	}
	return nil
}

// move puts the logs of some chunks into the tail, in one step with their removal.
func (m *logMigration) move(ctx context.Context, scope, lane int64, ids []string) error {
	return m.s.Commit(ctx, steps.Writing{Name: "MigrateLogs"}, func(ctx context.Context, st *steps.Step) error {
		chunks, err := steps.FindAll[oldChunk](ctx, m.s.Collection(collOldLogs), bson.D{{Key: "_id", Value: anyOf(ids)}})
		if err != nil {
			return err
		}
		var decoder codec.Decoder
		batch := &tsdb.Batch{}
		for _, c := range chunks {
			if c.Lock != "" { // another process is at it
				return cmp.Or(m.s.Await(ctx, collOldLogs, c.ID, c.Lock), steps.ErrStale)
			}
			st.Remove(collOldLogs, c.ID, c.V)
			if !c.seen(lane) {
				continue
			}
			var chunk codec.Chunk
			if err := decoder.Decode(&chunk, c.Data, nil); err != nil {
				return fmt.Errorf("read the logs of %s: %w", c.ID, err)
			}
			first := uint32(len(batch.Series))
			for _, series := range chunk.Series {
				series.Scope = scope
				batch.Series = append(batch.Series, series)
			}
			for _, entry := range chunk.Entries {
				entry.Series += first
				batch.Entries = append(batch.Entries, entry)
			}
		}
		for _, row := range tsdb.Pack([]*tsdb.Batch{batch}, m.s.logs.Partition, 0) {
			st.Insert(collTail, row.ID, newTailDoc(row), steps.ErrStale)
		}
		return nil
	})
}

// fold folds what is in the tail of a partition, or leaves it to another process that does.
func (m *logMigration) fold(ctx context.Context, partition int) error {
	for try := 0; ; {
		n, err := m.s.Fold(ctx, partition)
		switch {
		case errors.Is(err, tsdb.ErrBusy):
			if err := steps.Pause(ctx, min(try, 8)); err != nil {
				return err
			}
			try++
		case err != nil || n == 0:
			return err
		}
	}
}
