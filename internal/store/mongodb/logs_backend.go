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
	"hearth/internal/boundedcache"
	"hearth/internal/groupcommit"
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

	appends *groupcommit.Committer[*appendCall]
	numbers numbers
	// scopeKeys and scopeNames remember the keys of scopes, which never change.
	scopeKeys  *boundedcache.Cache[hearth.Scope, int64]
	scopeNames *boundedcache.Cache[int64, hearth.Scope]

	// changing is held by who changes a partition; swept is the version whose folded rows have lost it.
	changing [partitions]sync.Mutex
	swept    [partitions]int64
	// maxInline is the number of bytes up to which a document keeps its data itself.
	maxInline int
}

// maxInline is so that a document stays below the server's 16 MiB.
const maxInline = 12 << 20

// maxNames bounds the keys of scopes that are remembered.
const maxNames = 1 << 16

func newLogBackend(s *Store) *logBackend {
	b := &logBackend{
		store: s, name: uuid.NewString(), maxInline: maxInline,
		tail: s.db.Collection(collTail), states: s.db.Collection(collPartitions), docs: s.db.Collection(collDocuments),
		names: s.db.Collection(collNames), devices: s.db.Collection(collDevices),
		scopeKeys:  boundedcache.New(boundedcache.Options[hearth.Scope, int64]{Entries: maxNames}),
		scopeNames: boundedcache.New(boundedcache.Options[int64, hearth.Scope]{Entries: maxNames}),
	}
	b.appends = groupcommit.New(groupcommit.Options[*appendCall]{
		Commit: b.commit, Size: func(c *appendCall) int { return len(c.batch.Entries) }, MaxGroup: tsdb.MaxRow * maxGroupRows / 2,
	})
	return b
}

func (b *logBackend) now() time.Time { return b.store.now() }

// ask runs commands that are a part of some operation.
func (b *logBackend) ask(ctx context.Context, fn func(context.Context) error) error {
	if err := b.store.reachable(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, b.store.options.OperationTimeout)
	defer cancel()
	return translate(ctx, fn(bounded))
}

// Partitions implements tsdb.Backend.
func (b *logBackend) Partitions() int { return partitions }

// Partition implements tsdb.Backend.
func (b *logBackend) Partition(scope int64) int { return int(scope % partitions) }

// tailDoc is a document of log_batches: a row of the tail.
type tailDoc struct {
	Meta `bson:",inline"`
	ID   int64 `bson:"_id"`
	// Last is the highest number; old rows do not have it.
	Last    int64 `bson:"last"`
	Entries int   `bson:"n"`
	MinAt   int64 `bson:"lo"`
	MaxAt   int64 `bson:"hi"`
	// Open are the partitions in which the row is not folded.
	Open []int  `bson:"open"`
	Data []byte `bson:"data,omitempty"`

	// everywhere is Open as it was read, with partitions that a snapshot is not of.
	everywhere []int
}

func newTailDoc(r *tsdb.Row) tailDoc {
	return tailDoc{
		Meta: Meta{V: 1}, ID: r.ID, Last: int64(r.Last), Entries: r.Entries, MinAt: r.MinAt, MaxAt: r.MaxAt, Open: r.Partitions, Data: r.Data,
	}
}

func (d tailDoc) row() tsdb.TailRow {
	return tsdb.TailRow{ID: d.ID, Last: uint64(d.Last), Entries: d.Entries, MinAt: d.MinAt, MaxAt: d.MaxAt, Partitions: d.Open}
}

// numbers hands out the logs' numbers from ranges that the database returned, without a question each time.
type numbers struct {
	mu        sync.Mutex
	next, end int64
}

// numberRange is how many numbers are taken at once.
const numberRange = 1 << 17

// takeNumbers returns the first of n numbers that no log ever had.
func (b *logBackend) takeNumbers(ctx context.Context, n int64) (first int64, err error) {
	b.numbers.mu.Lock()
	defer b.numbers.mu.Unlock()
	if b.numbers.next == 0 || b.numbers.next+n > b.numbers.end {
		size := max(n, numberRange)
		start, err := b.store.take(ctx, collTail, size)
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
	b.numbers.mu.Lock()
	defer b.numbers.mu.Unlock()
	b.numbers.next, b.numbers.end = 0, 0
}

// appendCall is a batch that waits to be stored with those of other callers.
type appendCall struct {
	batch *tsdb.Batch
	err   error
}

const (
	// maxGroupRows bounds the rows of one command.
	maxGroupRows = 16
	// appendTimeout bounds that command.
	appendTimeout = 20 * time.Second
)

// Append implements tsdb.Backend. Batches without side effects share rows; another one is a draft until its step is decided.
func (b *logBackend) Append(ctx context.Context, batch *tsdb.Batch) error {
	if batch.Checkpoint != nil || !isEmpty(batch.Effects) {
		return b.appendStep(ctx, batch)
	}
	return b.store.do(ctx, "AppendLogs", func(ctx context.Context) error {
		call := &appendCall{batch: batch}
		if err := b.appends.Do(ctx, call); err != nil {
			return err
		}
		return call.err
	})
}

// commit stores the batches of a group with one command. It is of many callers: none of them can cancel it.
func (b *logBackend) commit(group []*appendCall) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
	batches := make([]*tsdb.Batch, len(group))
	size := int64(0)
	for i, call := range group {
		batches[i] = call.batch
		size += int64(call.batch.Size)
	}
	first, err := b.takeNumbers(ctx, size)
	if err != nil {
		return translate(ctx, err)
	}
	for _, batch := range batches {
		batch.First = uint64(first)
		first += int64(batch.Size)
	}
	rows := tsdb.Pack(batches, b.Partition)
	failed := b.insertRows(ctx, rows)
	for _, call := range group {
		call.err = translate(ctx, failed[call.batch.Row])
	}
	b.store.options.Observer.Commit(len(group), 0, time.Since(started))
	return nil
}

// insertRows stores rows with one command and returns those that failed. It is not done again when its answer got lost: what
// was stored may be folded, and its document gone, by then. (The driver's own second attempt is known to the server.)
func (b *logBackend) insertRows(ctx context.Context, rows []*tsdb.Row) map[*tsdb.Row]error {
	if len(rows) == 0 {
		return nil
	}
	docs := make([]tailDoc, len(rows))
	for i, row := range rows {
		docs[i] = newTailDoc(row)
	}
	_, err := b.tail.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	if err == nil {
		return nil
	}
	failed := make(map[*tsdb.Row]error, len(rows))
	if bulk, ok := errors.AsType[mongo.BulkWriteException](err); ok && bulk.WriteConcernError == nil && len(bulk.WriteErrors) > 0 {
		for _, one := range bulk.WriteErrors {
			failed[rows[one.Index]] = one
		}
		return failed
	}
	for _, row := range rows {
		failed[row] = err
	}
	return failed
}

// checkpointDoc is how far an import has come.
type checkpointDoc struct {
	ID               string `bson:"_id"`
	Meta             `bson:",inline"`
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

// appendStep stores a batch with its checkpoint and side effects as a step of many documents.
func (b *logBackend) appendStep(ctx context.Context, batch *tsdb.Batch) error {
	return b.store.commit(ctx, writing{name: "AppendLogs", effects: batch.Effects}, func(ctx context.Context, st *step) error {
		first, err := b.takeNumbers(ctx, int64(batch.Size))
		if err != nil {
			return err
		}
		batch.First = uint64(first)
		for _, row := range tsdb.Pack([]*tsdb.Batch{batch}, b.Partition) {
			st.insert(collTail, row.ID, newTailDoc(row), nil)
		}
		if record := batch.Effects.Idempotency; record != nil && batch.Size > 0 {
			numbered := *record
			numbered.FirstLog = batch.First
			st.effects.Idempotency = &numbered
		}
		if c := batch.Checkpoint; c != nil {
			fields := CheckpointFields{Rows: c.Rows, Mark: c.Mark}
			before, err := load[checkpointDoc](ctx, st, collCheckpoints, byID(c.ID))
			switch {
			case errors.Is(err, errGone):
				st.insert(collCheckpoints, c.ID, checkpointDoc{ID: c.ID, Meta: Meta{V: 1}, CheckpointFields: fields}, errStale)
			case err != nil:
				return err
			default:
				st.update(collCheckpoints, c.ID, before.V, set(fields))
			}
		}
		return nil
	})
}

// ImportCheckpoint implements hearth.LogStore. It waits for a write that is under way: what it counts may be stored.
func (s *Store) ImportCheckpoint(ctx context.Context, id string) (c hearth.Checkpoint, err error) {
	err = s.do(ctx, "ImportCheckpoint", func(ctx context.Context) error {
		d, err := load[checkpointDoc](ctx, &step{s: s}, collCheckpoints, byID(id))
		if errors.Is(err, errGone) {
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
	return s.Reconcile(ctx, s.now().AddDate(0, 0, -tidyDays))
}

// Horizon implements tsdb.Backend.
func (b *logBackend) Horizon(ctx context.Context) (horizon int64, err error) {
	err = b.ask(ctx, func(ctx context.Context) error {
		states, err := b.readStates(ctx, nil)
		if err == nil {
			horizon = states.horizon
		}
		return err
	})
	return horizon, err
}

// MoveHorizon implements tsdb.Backend.
func (b *logBackend) MoveHorizon(ctx context.Context, from, to int64) error {
	return b.ask(ctx, func(ctx context.Context) error {
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
		docs = append(docs, bson.D{{Key: "_id", Value: p}, {Key: "ver", Value: int64(0)}, {Key: "last", Value: int64(0)}})
	}
	return b.store.insertMissing(ctx, collPartitions, docs)
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
