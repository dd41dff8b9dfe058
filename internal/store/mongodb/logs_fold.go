package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/tsdb"
)

// blockLogs gathers logs of one block.
type blockLogs struct {
	block   int64
	series  []tsdb.Series
	index   map[tsdb.Series]uint32
	entries []tsdb.Entry
}

func newBlockLogs(block int64) *blockLogs {
	return &blockLogs{block: block, index: map[tsdb.Series]uint32{}}
}

func (b *blockLogs) place(s tsdb.Series) uint32 {
	s.Scope = 0 // the block says it once
	at, ok := b.index[s]
	if !ok {
		at = uint32(len(b.series))
		b.series = append(b.series, s)
		b.index[s] = at
	}
	return at
}

// add takes those entries of a chunk that keep accepts.
func (b *blockLogs) add(chunk *tsdb.Chunk, keep func(tsdb.Series, *tsdb.Entry) bool) {
	to := make([]int64, len(chunk.Series))
	for i := range chunk.Entries {
		e := chunk.Entries[i]
		s := chunk.Series[e.Series]
		if !keep(s, &e) {
			continue
		}
		if to[e.Series] == 0 {
			to[e.Series] = int64(b.place(s)) + 1
		}
		e.Series = uint32(to[e.Series] - 1)
		b.entries = append(b.entries, e)
	}
}

// sort puts series and entries in order.
func (b *blockLogs) sort() {
	order := make([]uint32, len(b.series))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return b.series[x].Compare(b.series[y]) })
	sorted, rank := make([]tsdb.Series, len(order)), make([]uint32, len(order))
	for i, old := range order {
		sorted[i], rank[old] = b.series[old], uint32(i)
		b.index[sorted[i]] = uint32(i)
	}
	b.series = sorted
	for i := range b.entries {
		b.entries[i].Series = rank[b.entries[i].Series]
	}
	if !slices.IsSortedFunc(b.entries, tsdb.Entry.Compare) {
		slices.SortFunc(b.entries, tsdb.Entry.Compare)
	}
}

// changes are the documents that one step writes. They are all of its version.
type changes struct {
	ver int64
	at  int64
	// parts are new chunks by block and hour.
	chunks []chunkDoc
	parts  map[string][]part
	sums   map[string]*sumDoc
	days   map[string]*dayDoc
	add    map[string]*tsdb.Sum
	addDay map[string]*tsdb.Day
	enc    tsdb.Encoder
	// limit is the number of logs of a chunk at most.
	limit int
}

func newChanges(work *laneWork) *changes {
	return &changes{
		ver: work.Ver, at: work.At, parts: map[string][]part{}, sums: map[string]*sumDoc{}, days: map[string]*dayDoc{},
		add: map[string]*tsdb.Sum{}, addDay: map[string]*tsdb.Day{},
	}
}

// store puts sorted logs of one block and hour into chunks; from is the version that the newest of them came with.
func (c *changes) store(b *blockLogs, entries []tsdb.Entry, from int64) {
	hour := tsdb.BucketOf(tsdb.LevelHour, entries[0].At)
	id := sumID(b.block, tsdb.LevelHour, hour)
	for len(entries) > 0 {
		piece := entries[:min(c.limit, len(entries))]
		entries = entries[len(piece):]
		p := part{
			ID: fmt.Sprintf("%d/%d/%d/%d", b.block, hour, c.ver, len(c.parts[id])), From: from,
			N: len(piece), Lo: piece[0].At, Hi: piece[len(piece)-1].At, At: c.at,
		}
		c.parts[id] = append(c.parts[id], p)
		c.chunks = append(c.chunks, chunkDoc{
			ID: p.ID, Block: b.block, Hour: hour, Ver: c.ver, Part: p, Data: c.enc.Encode(nil, b.series, piece),
		})
	}
}

// sum counts sorted logs of one block into what is to be added.
func (c *changes) sum(b *blockLogs, entries []tsdb.Entry) {
	scope := scopeOfBlock(b.block)
	r := tsdb.SumUp(b.series, entries)
	for level, sums := range [][]tsdb.Sum{r.Hours, r.Days, r.Months} {
		for i := range sums {
			id := sumID(b.block, level, sums[i].Bucket)
			if c.add[id] == nil {
				c.add[id] = &tsdb.Sum{Bucket: sums[i].Bucket}
				c.sums[id] = &sumDoc{ID: id, Scope: scope, Block: b.block, Level: level, Bucket: sums[i].Bucket}
			}
			c.add[id].Merge(&sums[i])
		}
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		id := dayID(scope, g.Group, g.Bucket)
		if c.addDay[id] == nil {
			c.addDay[id] = &g.Day
			if c.days[id] == nil {
				c.days[id] = &dayDoc{ID: id, Scope: scope, Group: g.Group, Day: g.Bucket}
			}
			continue
		}
		var merged tsdb.Day
		tsdb.MergeDays(&merged, c.addDay[id], &g.Day)
		c.addDay[id] = &merged
	}
}

// errBatchGone says that a batch of a step is no longer there: the step was ended by another.
var errBatchGone = errors.New("a batch was folded by another")

// applyFold writes what folding the work's batches comes to.
func (e *logEngine) applyFold(ctx context.Context, lane int64, work *laneWork) error {
	batches, err := e.loadBatches(ctx, work.Batches)
	if err != nil {
		return err
	}
	blocks := map[int64]*blockLogs{}
	for _, id := range work.Batches {
		batch := batches[id]
		if batch == nil {
			return e.unlessDone(ctx, lane, work, errBatchGone)
		}
		if err := e.keepCheckpoint(ctx, batch); err != nil {
			return err
		}
		of := make([]*blockLogs, len(batch.chunk.Series))
		for i, s := range batch.chunk.Series {
			if laneOf(s.Scope) != lane {
				continue
			}
			block := blockOf(s.Scope, s.Device)
			if blocks[block] == nil {
				blocks[block] = newBlockLogs(block)
			}
			of[i] = blocks[block]
		}
		for i := range batch.chunk.Entries {
			entry := batch.chunk.Entries[i]
			if b := of[entry.Series]; b != nil {
				entry.Series = b.place(batch.chunk.Series[entry.Series])
				b.entries = append(b.entries, entry)
			}
		}
	}
	c := newChanges(work)
	c.limit = e.options.ChunkRows
	for _, b := range sortedBlocks(blocks) {
		b.sort()
		c.sum(b, b.entries)
		for start := 0; start < len(b.entries); {
			end := hourEnd(b.entries, start)
			c.store(b, b.entries[start:end], work.Ver)
			start = end
		}
	}
	if err := e.loadOld(ctx, c); err != nil {
		return err
	}
	if err := c.merge(); err != nil {
		return err
	}
	return e.write(ctx, c)
}

// unlessDone returns nil if the step is done, else the error.
func (e *logEngine) unlessDone(ctx context.Context, lane int64, work *laneWork, failed error) error {
	states, err := e.laneStates(ctx, []int64{lane})
	if err != nil {
		return err
	}
	if states[lane].Ver >= work.Ver {
		return nil
	}
	return failed
}

func sortedBlocks(blocks map[int64]*blockLogs) []*blockLogs {
	out := make([]*blockLogs, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *blockLogs) int { return cmp.Compare(a.block, b.block) })
	return out
}

// hourEnd returns the end of the run of entries that are of the hour that the one at start is in.
func hourEnd(entries []tsdb.Entry, start int) int {
	limit := tsdb.BucketStart(tsdb.LevelHour, tsdb.BucketOf(tsdb.LevelHour, entries[start].At)+1)
	n, _ := slices.BinarySearchFunc(entries[start:], limit, func(e tsdb.Entry, at int64) int { return cmp.Compare(e.At, at) })
	return start + n
}

// idsAtOnce bounds the documents that one query names.
const idsAtOnce = 1000

// loadOld reads the documents that the changes are added to.
func (e *logEngine) loadOld(ctx context.Context, c *changes) error {
	err := eachDoc(ctx, e.sums, keysOf(c.sums), func(d *sumDoc) { c.sums[d.ID] = d })
	if err != nil {
		return err
	}
	return eachDoc(ctx, e.days, keysOf(c.days), func(d *dayDoc) { c.days[d.ID] = d })
}

func keysOf[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// eachDoc calls fn for those documents of a collection that exist, by their ids.
func eachDoc[T any](ctx context.Context, from *mongo.Collection, ids []string, fn func(*T)) error {
	for part := range slices.Chunk(ids, idsAtOnce) {
		cursor, err := from.Find(ctx, bson.M{"_id": in(part)})
		if err != nil {
			return err
		}
		for cursor.Next(ctx) {
			doc := new(T)
			if err := cursor.Decode(doc); err != nil {
				return errors.Join(err, cursor.Close(ctx))
			}
			fn(doc)
		}
		if err := errors.Join(cursor.Err(), cursor.Close(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// merge makes the new versions; documents that have theirs already are left out.
func (c *changes) merge() error {
	for id, doc := range c.sums {
		if doc.Now.Ver >= c.ver {
			delete(c.sums, id)
			continue
		}
		total, err := doc.Now.decode(doc.Bucket)
		if err != nil {
			return fmt.Errorf("rollup %s: %w", id, err)
		}
		total.Merge(c.add[id])
		state := encodeSum(c.ver, &total)
		state.Parts = append(slices.Clone(doc.Now.Parts), c.parts[id]...)
		doc.next(state)
	}
	for id, doc := range c.days {
		if doc.Now.Ver >= c.ver {
			delete(c.days, id)
			continue
		}
		var old, merged tsdb.Day
		if err := doc.Now.decode(&old, tsdb.DayParts{Hours: tsdb.WholeDay, Sketches: true}); err != nil {
			return fmt.Errorf("rollup of days %s: %w", id, err)
		}
		tsdb.MergeDays(&merged, &old, c.addDay[id])
		doc.next(encodeDay(c.ver, &merged))
	}
	return nil
}

// write stores the changes: chunks first, which nobody looks for before the sum of their hour names them.
func (e *logEngine) write(ctx context.Context, c *changes) error {
	if err := e.crash("chunks"); err != nil {
		return err
	}
	if err := insertNew(ctx, e.chunks, c.chunks); err != nil {
		return err
	}
	if err := e.crash("sums"); err != nil {
		return err
	}
	var models []mongo.WriteModel
	for _, id := range keysOf(c.sums) {
		doc := c.sums[id]
		models = append(models, versioned(id, doc, doc.Old == nil, oldVer(doc.Old)))
	}
	if err := bulk(ctx, e.sums, models); err != nil {
		return err
	}
	if err := e.crash("days"); err != nil {
		return err
	}
	models = models[:0]
	for _, id := range keysOf(c.days) {
		doc := c.days[id]
		ver := int64(0)
		if doc.Old != nil {
			ver = doc.Old.Ver
		}
		models = append(models, versioned(id, doc, doc.Old == nil, ver))
	}
	return bulk(ctx, e.days, models)
}

func oldVer(old *sumState) int64 {
	if old == nil {
		return 0
	}
	return old.Ver
}

// versioned writes a new version of a document, if it still has the version that the new one was made from. One that has
// not has been written by another who does the same step.
func versioned(id string, doc any, fresh bool, from int64) mongo.WriteModel {
	if fresh {
		return mongo.NewInsertOneModel().SetDocument(doc)
	}
	return mongo.NewReplaceOneModel().SetFilter(bson.M{"_id": id, "now.ver": from}).SetReplacement(doc)
}

// bulk writes without order; that a document is there already is no fault.
func bulk(ctx context.Context, into *mongo.Collection, models []mongo.WriteModel) error {
	for part := range slices.Chunk(models, idsAtOnce) {
		_, err := into.BulkWrite(ctx, part, options.BulkWrite().SetOrdered(false))
		if err := exceptDuplicates(err); err != nil {
			return err
		}
	}
	return nil
}

func insertNew[T any](ctx context.Context, into *mongo.Collection, docs []T) error {
	for part := range slices.Chunk(docs, idsAtOnce) {
		_, err := into.InsertMany(ctx, part, options.InsertMany().SetOrdered(false))
		if err := exceptDuplicates(err); err != nil {
			return err
		}
	}
	return nil
}

// exceptDuplicates passes over duplicate keys, and nothing else.
func exceptDuplicates(err error) error {
	bulk, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || bulk.WriteConcernError != nil {
		return err
	}
	for _, one := range bulk.WriteErrors {
		if !mongo.IsDuplicateKeyError(one) {
			return err
		}
	}
	return nil
}
