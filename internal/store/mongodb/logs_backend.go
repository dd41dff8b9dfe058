package mongodb

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/groupcommit"
	"hearth/internal/keymutex"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

var _ tsdb.Backend = (*logBackend)(nil)

// The collections of the logs; docs/adr/0010-logs-in-mongodb.md says how they work together.
const (
	collTail        = "log_batches"        // rows of the tail
	collPartitions  = "log_partitions"     // the state of each partition, and of all (allPartitions)
	collDocuments   = "log_documents"      // the documents of all tables, in versions
	collNames       = "log_names"          // the keys of scopes and events
	collCheckpoints = "import_checkpoints" // how far imports have come
)

const (
	// partitions is how many parts the scopes are split into. It cannot change: a stored row names its partitions.
	partitions = 64
	// allPartitions is the id of the document beside the partitions' that says what holds for all.
	allPartitions = -1
)

// logBackend is the tsdb.Backend over the database; logs_update.go says how a change is made.
type logBackend struct {
	store *Store
	// name tells this process from others.
	name string

	tail, states, docs, names, devices *mongo.Collection

	appends *groupcommit.Committer[*tsdb.Batch]
	// numbers are those of logs that the database returned, from the next one up to but not the end, and are not taken yet.
	numbers struct {
		sync.Mutex
		next, end int64
	}

	// newLogs are held, by the number of a guard, by who stores new logs.
	newLogs keymutex.Mutex[int64]

	// changing is held while a partition is changed; swept is the version that needs no sweep any more.
	changing [partitions]sync.Mutex
	swept    [partitions]int64
}

// maxInline is the number of bytes of data up to which a document is stored whole: it stays below the server's 16 MiB.
const maxInline = 12 << 20

func newLogBackend(s *Store) *logBackend {
	b := &logBackend{
		store: s, name: uuid.NewString(),
		tail: s.Collection(collTail), states: s.Collection(collPartitions), docs: s.Collection(collDocuments),
		names: s.Collection(collNames), devices: s.Collection(collDevices),
	}
	b.appends = groupcommit.New(groupcommit.Options[*tsdb.Batch]{
		Commit: b.commit, Size: func(batch *tsdb.Batch) int { return len(batch.Entries) }, MaxGroup: tsdb.MaxRow,
	})
	return b
}

func (b *logBackend) now() time.Time { return b.store.Now() }

// Partitions implements tsdb.Backend.
func (b *logBackend) Partitions() int { return partitions }

// Partition implements tsdb.Backend.
func (b *logBackend) Partition(scope int64) int { return int(scope % partitions) }

// tailDoc is a document of log_batches: a row of the tail.
type tailDoc struct {
	steps.Meta `bson:",inline"`
	ID         int64 `bson:"_id"`
	// Last is the highest number; old rows do not have it.
	Last    int64 `bson:"last"`
	Entries int   `bson:"n"`
	MinAt   int64 `bson:"lo"`
	MaxAt   int64 `bson:"hi"`
	// Open are the partitions in which the row is not folded.
	Open []int  `bson:"open"`
	Data []byte `bson:"data,omitempty"`
}

func newTailDoc(r *tsdb.Row) tailDoc {
	return tailDoc{
		Meta: steps.Meta{V: 1}, ID: r.ID, Last: int64(r.Last), Entries: r.Entries, MinAt: r.MinAt, MaxAt: r.MaxAt, Open: r.Partitions, Data: r.Data,
	}
}

func (d tailDoc) row() tsdb.TailRow {
	return tsdb.TailRow{ID: d.ID, Last: uint64(d.Last), Entries: d.Entries, MinAt: d.MinAt, MaxAt: d.MaxAt, Partitions: d.Open}
}

// numberRange is how many numbers of logs are taken from the database at once.
const numberRange = 1 << 17

// takeNumbers returns the first of n numbers that no log ever had.
func (b *logBackend) takeNumbers(ctx context.Context, n int64) (first int64, err error) {
	b.numbers.Lock()
	defer b.numbers.Unlock()
	if b.numbers.next == 0 || b.numbers.next+n > b.numbers.end {
		size := max(n, numberRange)
		start, err := b.store.Take(ctx, collTail, size)
		if err != nil {
			return 0, err
		}
		b.numbers.next, b.numbers.end = start, start+size
	}
	first = b.numbers.next
	b.numbers.next += n
	return first, nil
}

// forgetNumbers lets the next numbers come from the database.
func (b *logBackend) forgetNumbers() {
	b.numbers.Lock()
	defer b.numbers.Unlock()
	b.numbers.next = 0
}

// appendTimeout bounds the command that stores a group of batches.
const appendTimeout = 20 * time.Second

// Append implements tsdb.Backend. Batches without side effects share a row; another one is a draft until its step is decided.
func (b *logBackend) Append(ctx context.Context, batch *tsdb.Batch) error {
	if batch.Prune != nil {
		return b.appendNew(ctx, batch)
	}
	if batch.Checkpoint != nil || !steps.IsEmpty(batch.Effects) {
		return b.appendStep(ctx, batch, nil)
	}
	return b.store.Do(ctx, "AppendLogs", func(ctx context.Context) error { return b.appends.Do(ctx, batch) })
}

// commit stores a group of batches as one row. It is of many callers: none of them can cancel it. It is not done again when its answer got
// lost: what was stored may be folded, and its document gone, by then. (The driver's own second attempt is known to the server.)
func (b *logBackend) commit(batches []*tsdb.Batch) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	size := int64(0)
	for _, batch := range batches {
		size += int64(batch.Size)
	}
	first, err := b.takeNumbers(ctx, size)
	if err != nil {
		return steps.Translate(ctx, err)
	}
	for _, batch := range batches {
		batch.First = uint64(first)
		first += int64(batch.Size)
	}
	for _, row := range tsdb.Pack(batches, b.Partition, 0) {
		if _, err := b.tail.InsertOne(ctx, newTailDoc(row)); err != nil {
			return steps.Translate(ctx, err)
		}
	}
	b.store.Options.Observer.Commit(len(batches), 0, time.Since(started))
	return nil
}

// checkpointDoc is how far an import has come.
type checkpointDoc struct {
	ID               string `bson:"_id"`
	steps.Meta       `bson:",inline"`
	CheckpointFields `bson:",inline"`
}

// CheckpointFields are what changes of a checkpoint. The type is exported for package bson alone.
type CheckpointFields struct {
	Rows int64  `bson:"rows"`
	Mark []byte `bson:"mark"`
}

func (d checkpointDoc) checkpoint() hearth.Checkpoint {
	return hearth.Checkpoint{ID: d.ID, Rows: d.Rows, Mark: d.Mark}
}

// appendStep stores a batch with its checkpoint and side effects as a step of many documents. errOvertaken if one of the guards has changed.
func (b *logBackend) appendStep(ctx context.Context, batch *tsdb.Batch, guards []steps.GuardDoc) error {
	again := false
	return b.store.Commit(ctx, steps.Writing{Name: "AppendLogs", Effects: batch.Effects}, func(ctx context.Context, st *steps.Step) error {
		if again && len(guards) > 0 {
			return errOvertaken
		}
		again = true
		for _, guard := range guards {
			st.Update(steps.Guards, guard.ID, guard.V, nil)
		}
		first, err := b.takeNumbers(ctx, int64(batch.Size))
		if err != nil {
			return err
		}
		batch.First = uint64(first)
		for _, row := range tsdb.Pack([]*tsdb.Batch{batch}, b.Partition, 0) {
			st.Insert(collTail, row.ID, newTailDoc(row), nil)
		}
		for _, u := range batch.Effects.Unjudged {
			schema, stored := record.StoredUnjudged(u)
			doc, _ := b.store.newDoc(schema, stored)
			st.Insert(schema.Name, u.ID, doc, nil)
		}
		if key := batch.Effects.Idempotency; key != nil && batch.Size > 0 {
			numbered := *key
			numbered.FirstLog = batch.First
			st.Effects.Idempotency = &numbered
		}
		if c := batch.Checkpoint; c != nil {
			fields := CheckpointFields{Rows: c.Rows, Mark: c.Mark}
			before, err := steps.Load[checkpointDoc](ctx, st.DB, collCheckpoints, steps.ByID(c.ID))
			switch {
			case errors.Is(err, steps.ErrGone):
				st.Insert(collCheckpoints, c.ID, checkpointDoc{ID: c.ID, Meta: steps.Meta{V: 1}, CheckpointFields: fields}, steps.ErrStale)
			case err != nil:
				return err
			default:
				st.Update(collCheckpoints, c.ID, before.V, steps.Set(fields))
			}
		}
		return nil
	})
}

// ImportCheckpoint implements hearth.LogStore. It waits for a write that is under way: what it counts may be stored.
func (s *Store) ImportCheckpoint(ctx context.Context, id string) (c hearth.Checkpoint, err error) {
	err = s.Do(ctx, "ImportCheckpoint", func(ctx context.Context) error {
		d, err := steps.Load[checkpointDoc](ctx, s.DB, collCheckpoints, steps.ByID(id))
		if errors.Is(err, steps.ErrGone) {
			return hearth.NotFound("checkpoint")
		}
		c = d.checkpoint()
		return err
	})
	return c, err
}

// tidyDays is how many days back Tidy compares every sum.
const tidyDays = 2

// Tidy is the daily care: rollups are compared with the logs. It returns the number of days that had to be mended.
func (s *Store) Tidy(ctx context.Context) (int, error) {
	return s.Reconcile(ctx, s.Now().AddDate(0, 0, -tidyDays))
}

// Horizon implements tsdb.Backend.
func (b *logBackend) Horizon(ctx context.Context) (horizon int64, err error) {
	err = b.store.Ask(ctx, func(ctx context.Context) error {
		s := logSnapshot{b: b}
		err := s.readStates(ctx, nil)
		horizon = s.horizon
		return err
	})
	return horizon, err
}

// MoveHorizon implements tsdb.Backend.
func (b *logBackend) MoveHorizon(ctx context.Context, from, to int64) error {
	return b.store.Ask(ctx, func(ctx context.Context) error {
		// A command that is repeated because its answer got lost finds to: that says the same.
		result, err := b.states.UpdateOne(ctx, bson.D{{Key: "_id", Value: int64(allPartitions)}, {Key: "horizon", Value: from}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "horizon", Value: to}}}})
		if err == nil && result.MatchedCount == 0 {
			return tsdb.ErrBusy
		}
		return err
	})
}

// makePartitions stores the state of those partitions that have none.
func (b *logBackend) makePartitions(ctx context.Context) error {
	docs := []bson.D{{{Key: "_id", Value: int64(allPartitions)}, {Key: "horizon", Value: int64(math.MinInt64)}}}
	for p := range int64(partitions) {
		docs = append(docs, bson.D{{Key: "_id", Value: p}, {Key: "version", Value: int64(0)}, {Key: "claimed", Value: int64(0)}})
	}
	return b.store.InsertMissing(ctx, collPartitions, docs)
}

// anyOf is the condition of a field that has one of the values.
func anyOf[T any](values []T) bson.D { return bson.D{{Key: "$in", Value: append([]T{}, values...)}} }

// only projects a find to fields.
func only(fields ...string) *options.FindOptionsBuilder {
	p := bson.D{}
	for _, f := range fields {
		p = append(p, bson.E{Key: f, Value: 1})
	}
	return options.Find().SetProjection(p)
}

// chunked calls fn with a thousand values at a time: what one command names.
func chunked[T any](values []T, fn func(some []T) error) error {
	for some := range slices.Chunk(values, 1000) {
		if err := fn(some); err != nil {
			return err
		}
	}
	return nil
}
