package mongodb

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/tsdb"
)

var _ hearth.LogStore = (*Store)(nil)

// batchDoc is a document of log_batches: logs that were stored in one step.
type batchDoc struct {
	Meta `bson:",inline"`
	// First is the number of the first log, N how many there are, Lo and Hi the times of the oldest and the newest.
	First int64 `bson:"_id"`
	N     int   `bson:"n"`
	Lo    int64 `bson:"lo"`
	Hi    int64 `bson:"hi"`
	// Open are the lanes in which it is not folded yet.
	Open []int64 `bson:"open"`
	// At is when it was stored, in Unix milliseconds.
	At         int64          `bson:"at"`
	Checkpoint *checkpointDoc `bson:"checkpoint,omitempty"`
	Data       []byte         `bson:"data,omitempty"`
}

type checkpointDoc struct {
	ID   string `bson:"_id"`
	Rows int64  `bson:"rows"`
	Mark []byte `bson:"mark"`
	// Order counts the checkpoints of an import.
	Order int64 `bson:"order"`
}

// batch is a batch in memory. It is never changed.
type batch struct {
	first      int64
	chunk      tsdb.Chunk
	checkpoint *checkpointDoc
}

// numbers hands out the logs' numbers from ranges that the database returned, without a question each time.
type numbers struct {
	mu        sync.Mutex
	next, end int64
}

// numberRange is how many numbers are taken at once.
const numberRange = 1 << 17

func (e *logEngine) takeNumbers(ctx context.Context, n int) (first int64, err error) {
	e.numbers.mu.Lock()
	defer e.numbers.mu.Unlock()
	if e.numbers.next == 0 || e.numbers.next+int64(n) > e.numbers.end {
		start, err := e.store.take(ctx, collBatches, numberRange)
		if err != nil {
			return 0, err
		}
		e.numbers.next, e.numbers.end = start, start+numberRange
	}
	first = e.numbers.next
	e.numbers.next += int64(n)
	return first, nil
}

// appendCall is one caller's logs.
type appendCall struct {
	entries []hearth.LogEntry
	// homes are the scopes of those devices that exist; events the short numbers of events.
	homes  map[int64]int64
	events map[string]int64
	first  uint64
	err    error
	done   chan struct{}
}

// appendGroup gathers calls: while one group is written, the next one waits.
type appendGroup struct {
	mu      sync.Mutex
	waiting []*appendCall
	writing bool
	idle    sync.WaitGroup
}

// maxGroup bounds the logs of one document of log_batches, maxGroupDocs the documents of one bulk write.
const (
	maxGroup     = 1 << 14
	maxGroupDocs = 16
)

// AppendLogs implements hearth.LogStore. What is durable and atomic is one document with all the logs; many callers' logs
// share one. Chunks and rollups follow from it (see step), and readers add what has not followed yet.
func (s *Store) AppendLogs(
	ctx context.Context, entries []hearth.LogEntry, checkpoint *hearth.Checkpoint, effects hearth.SideEffects,
) (first uint64, err error) {
	if len(entries) > hearth.MaxLogBatch {
		return 0, hearth.Errorf(hearth.CodeValidationFailed, "a batch has at most %d logs", hearth.MaxLogBatch)
	}
	for i := range entries {
		if math.IsNaN(entries[i].Value) || math.IsInf(entries[i].Value, 0) {
			return 0, hearth.Errorf(hearth.CodeValidationFailed, "a value is not a finite number")
		}
	}
	call := &appendCall{entries: entries, done: make(chan struct{})}
	if checkpoint != nil || !isEmpty(effects) {
		if err := s.logs.prepare(ctx, call); err != nil {
			return 0, translate(ctx, err)
		}
		return s.appendAlong(ctx, call, checkpoint, effects)
	}
	err = s.do(ctx, "AppendLogs", func(ctx context.Context) error {
		if err := s.logs.prepare(ctx, call); err != nil || len(entries) == 0 {
			return err
		}
		first, err = s.logs.appendGrouped(ctx, call)
		return err
	})
	return first, err
}

// prepare finds what the call's entries name, and lets it wait where logs come too fast.
func (e *logEngine) prepare(ctx context.Context, call *appendCall) error {
	if err := e.resolve(ctx, call); err != nil {
		return err
	}
	return e.slowDown(ctx, call)
}

// appendGrouped stores a call's logs together with those of others.
func (e *logEngine) appendGrouped(ctx context.Context, call *appendCall) (uint64, error) {
	g := &e.group
	g.mu.Lock()
	g.waiting = append(g.waiting, call)
	if !g.writing {
		g.writing = true
		g.idle.Go(e.writeGroups)
	}
	g.mu.Unlock()
	select {
	case <-call.done:
		return call.first, call.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// resolve finds the short numbers of what the entries name.
func (e *logEngine) resolve(ctx context.Context, call *appendCall) error {
	devices := map[int64]bool{}
	var events []string
	seen := map[string]bool{}
	for i := range call.entries {
		entry := &call.entries[i]
		if i == 0 || entry.Device != call.entries[i-1].Device {
			devices[entry.Device] = true
		}
		if (i == 0 || entry.Event != call.entries[i-1].Event) && !seen[entry.Event] {
			seen[entry.Event] = true
			events = append(events, eventName+entry.Event)
		}
	}
	var err error
	if call.homes, err = e.homesOf(ctx, devices); err != nil {
		return err
	}
	call.events, err = e.makeNames(ctx, events)
	return err
}

// slowDown makes writers fold where logs come faster than they are folded, so that readers never have much to add.
func (e *logEngine) slowDown(ctx context.Context, call *appendCall) error {
	lanes := map[int64]bool{}
	for _, scope := range call.homes {
		lanes[laneOf(scope)] = true
	}
	for lane := range lanes {
		if e.folder.wrote(lane, 0) < 4*e.options.FoldRows {
			continue
		}
		if _, err := e.foldLane(ctx, lane); err != nil && !errors.Is(err, errBusy) {
			return err
		}
	}
	return nil
}

// draft is a document of log_batches in the making.
type draft struct {
	calls []*appendCall
	n     int
	doc   batchDoc
	batch *batch
	lanes map[int64]int
}

// fill numbers the entries of the draft's calls and encodes them.
func (e *logEngine) fill(ctx context.Context, d *draft) error {
	first, err := e.takeNumbers(ctx, max(1, d.n))
	if err != nil {
		return err
	}
	d.lanes = map[int64]int{}
	index := map[tsdb.Series]uint32{}
	var chunk tsdb.Chunk
	next := first
	for _, call := range d.calls {
		call.first = uint64(next)
		for i := range call.entries {
			entry := &call.entries[i]
			scope, alive := call.homes[entry.Device]
			if !alive {
				continue
			}
			s := tsdb.Series{Scope: scope, Device: entry.Device, Event: call.events[eventName+entry.Event]}
			at, ok := index[s]
			if !ok {
				at = uint32(len(chunk.Series))
				chunk.Series = append(chunk.Series, s)
				index[s] = at
			}
			d.lanes[laneOf(scope)]++
			chunk.Entries = append(chunk.Entries, tsdb.Entry{At: entry.At, Seq: uint64(next) + uint64(i), Value: entry.Value, Series: at})
		}
		next += int64(len(call.entries))
	}
	e.encode(d, first, chunk)
	return nil
}

// encode makes the draft's document of a chunk whose entries are in any order.
func (e *logEngine) encode(d *draft, first int64, chunk tsdb.Chunk) {
	slices.SortFunc(chunk.Entries, tsdb.Entry.Compare)
	d.batch = &batch{first: first, chunk: chunk}
	d.doc = batchDoc{Meta: Meta{V: 1}, First: first, N: len(chunk.Entries), Open: []int64{}, At: e.now().UnixMilli()}
	if n := len(chunk.Entries); n > 0 {
		d.doc.Lo, d.doc.Hi = chunk.Entries[0].At, chunk.Entries[n-1].At
		var encoder tsdb.Encoder
		d.doc.Data = encoder.Encode(nil, chunk.Series, chunk.Entries)
	} else {
		d.lanes[0] = 0 // it may carry a checkpoint: a lane has to see it
	}
	for lane := range d.lanes {
		d.doc.Open = append(d.doc.Open, lane)
	}
	slices.Sort(d.doc.Open)
}

// stored tells of a draft that is durable.
func (e *logEngine) stored(d *draft) {
	e.tail.add(d.batch)
	for lane, n := range d.lanes {
		e.folder.wrote(lane, n)
	}
}

// writeGroups writes groups until no call waits. The writes are of many callers: none of them can cancel them.
func (e *logEngine) writeGroups() {
	g := &e.group
	for {
		g.mu.Lock()
		calls := takeCalls(&g.waiting)
		if len(calls) == 0 {
			g.writing = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
		e.writeGroup(ctx, calls)
		cancel()
	}
}

// appendTimeout bounds one bulk write of logs.
const appendTimeout = 20 * time.Second

func takeCalls(waiting *[]*appendCall) (calls []*appendCall) {
	size := 0
	for len(*waiting) > 0 && (size == 0 || size+len((*waiting)[0].entries) <= maxGroup*maxGroupDocs/2) {
		size += len((*waiting)[0].entries)
		calls = append(calls, (*waiting)[0])
		*waiting = (*waiting)[1:]
	}
	return calls
}

// writeGroup stores calls, many a document, all documents with one command; it answers each call.
func (e *logEngine) writeGroup(ctx context.Context, calls []*appendCall) {
	started := time.Now()
	var drafts []*draft
	for _, call := range calls {
		last := len(drafts) - 1
		if last < 0 || drafts[last].n+len(call.entries) > maxGroup {
			drafts = append(drafts, &draft{})
			last++
		}
		drafts[last].calls = append(drafts[last].calls, call)
		drafts[last].n += len(call.entries)
	}
	failed := make([]error, len(drafts))
	docs := make([]any, 0, len(drafts))
	for i, d := range drafts {
		if failed[i] = e.fill(ctx, d); failed[i] != nil {
			for ; i < len(drafts); i++ {
				failed[i] = failed[len(docs)]
			}
			break
		}
		docs = append(docs, d.doc)
	}
	if len(docs) > 0 {
		e.insertBatches(ctx, docs, failed)
	}
	for i, d := range drafts {
		if failed[i] == nil {
			e.stored(d)
		}
		for _, call := range d.calls {
			call.err = translate(ctx, failed[i])
			close(call.done)
		}
	}
	e.store.options.Observer.Commit(len(calls), 0, time.Since(started))
}

// insertBatches stores documents with one command and notes which failed. It is not tried again when its answer got lost:
// what was stored may be folded, and its document gone, by then. (The driver's own second try is known to the server.)
func (e *logEngine) insertBatches(ctx context.Context, docs []any, failed []error) {
	err := e.crash("append")
	if err == nil {
		_, err = e.batches.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
	}
	if err == nil {
		return
	}
	if bulk, ok := errors.AsType[mongo.BulkWriteException](err); ok && bulk.WriteConcernError == nil && len(bulk.WriteErrors) > 0 {
		for _, one := range bulk.WriteErrors {
			failed[one.Index] = one
		}
		return
	}
	for i := range docs {
		failed[i] = err
	}
}

// appendAlong stores one call's logs as a step of many documents: the batch is a draft until the step is decided.
func (s *Store) appendAlong(
	ctx context.Context, call *appendCall, checkpoint *hearth.Checkpoint, effects hearth.SideEffects,
) (first uint64, err error) {
	var d *draft
	err = s.commit(ctx, writing{name: "AppendLogs", effects: effects}, func(ctx context.Context, st *step) error {
		d = &draft{calls: []*appendCall{call}, n: len(call.entries)}
		if err := s.logs.fill(ctx, d); err != nil {
			return err
		}
		if checkpoint != nil {
			before, err := s.logs.checkpoint(ctx, checkpoint.ID)
			if err != nil {
				return err
			}
			d.doc.Checkpoint = &checkpointDoc{ID: checkpoint.ID, Rows: checkpoint.Rows, Mark: checkpoint.Mark, Order: 1}
			if before != nil {
				d.doc.Checkpoint.Order = before.Order + 1
			}
			d.batch.checkpoint = d.doc.Checkpoint
		}
		if effects.Idempotency != nil && len(call.entries) > 0 {
			record := *effects.Idempotency
			record.FirstLog = call.first
			st.effects.Idempotency = &record
		}
		if len(call.entries) > 0 || checkpoint != nil {
			st.insert(collBatches, d.doc.First, d.doc, nil)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.logs.stored(d)
	return call.first, nil
}

// loadBatches returns those of the batches that are stored.
func (e *logEngine) loadBatches(ctx context.Context, ids []int64) (map[int64]*batch, error) {
	out := make(map[int64]*batch, len(ids))
	var missing []int64
	for _, id := range ids {
		if b := e.tail.find(id); b != nil {
			out[id] = b
		} else {
			missing = append(missing, id)
		}
	}
	for some := range slices.Chunk(missing, 100) {
		cursor, err := e.batches.Find(ctx, bson.M{"_id": in(some)})
		if err != nil {
			return nil, err
		}
		for cursor.Next(ctx) {
			var doc batchDoc
			err := cursor.Decode(&doc)
			var b *batch
			if err == nil {
				b, err = doc.decode()
			}
			if err != nil {
				return nil, errors.Join(err, cursor.Close(ctx))
			}
			out[doc.First] = b
			e.tail.add(b)
		}
		if err := errors.Join(cursor.Err(), cursor.Close(ctx)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (d *batchDoc) decode() (*batch, error) {
	b := &batch{first: d.First, checkpoint: d.Checkpoint}
	if len(d.Data) == 0 {
		return b, nil
	}
	var decoder tsdb.Decoder
	err := decoder.Decode(&b.chunk, d.Data, nil)
	return b, err
}

// tailCache keeps batches in memory. They never change, and their numbers are never used again.
type tailCache struct {
	mu      sync.Mutex
	limit   int // entries
	entries int
	batches map[int64]*batch
}

func (c *tailCache) find(id int64) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batches[id]
}

func (c *tailCache) add(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batches[b.first] != nil {
		return
	}
	if c.batches == nil || c.entries+len(b.chunk.Entries) > c.limit {
		c.batches, c.entries = map[int64]*batch{}, 0
	}
	c.batches[b.first] = b
	c.entries += len(b.chunk.Entries)
}
