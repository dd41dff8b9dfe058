package mongodb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/tsdb"
)

// rebuild makes a day of a block anew from its logs, as one step of the lane.
func (e *logEngine) rebuild(ctx context.Context, work laneWork) error {
	return e.step(ctx, laneOf(scopeOfBlock(work.Block)), func() (*laneWork, error) { return &work, nil })
}

// rebuilt is a day of a block as its logs say it should be.
type rebuilt struct {
	*changes
	// replaced are the chunks that new ones stand for.
	replaced []string
}

func keepOnly(keep func(device, event int64) bool) tsdb.DayParts {
	return tsdb.DayParts{Keep: keep}
}

// applyRebuild writes what making a day anew comes to.
func (e *logEngine) applyRebuild(ctx context.Context, work *laneWork) error {
	r, err := e.recount(ctx, work)
	if err != nil {
		return err
	}
	for id, doc := range r.sums {
		if doc.Now.Ver >= r.ver {
			delete(r.sums, id)
			continue
		}
		state := encodeSum(r.ver, r.add[id])
		state.Parts = r.parts[id]
		if doc.Now.Ver == 0 && state.N == 0 {
			delete(r.sums, id)
			continue
		}
		doc.next(state)
	}
	for id, doc := range r.days {
		if doc.Now.Ver >= r.ver {
			delete(r.days, id)
			continue
		}
		day := r.addDay[id]
		if day == nil {
			day = &tsdb.Day{}
		}
		doc.next(encodeDay(r.ver, day))
	}
	if err := e.write(ctx, r.changes); err != nil {
		return err
	}
	if err := e.crash("gone"); err != nil {
		return err
	}
	// Readers that began before go on with the chunks that are replaced, until the server removes them.
	gone := time.UnixMilli(work.At).Add(2 * packAge)
	for some := range slices.Chunk(r.replaced, idsAtOnce) {
		err := again(ctx, func() error {
			_, err := e.chunks.UpdateMany(ctx, bson.M{"_id": in(some), "gone": nil}, bson.M{"$set": bson.M{"gone": r.ver, "gone_at": gone}})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// recount sums up a day of a block from the logs, as they were before the work's version, and has the documents that hold
// its sums now. It depends on nothing that the work itself writes, so that it may be done again.
func (e *logEngine) recount(ctx context.Context, work *laneWork) (*rebuilt, error) {
	r := &rebuilt{changes: newChanges(work)}
	r.limit = e.options.ChunkRows
	scope := scopeOfBlock(work.Block)
	// What there is now: each document gets a new version, also where nothing is left.
	if err := e.loadDay(ctx, r, work); err != nil {
		return nil, err
	}
	hours, err := e.chunksOf(ctx, work)
	if err != nil {
		return nil, err
	}
	p := &packer{e: e, r: r, work: work, without: map[int64]bool{}}
	for _, device := range work.Without {
		p.without[device] = true
	}
	for _, hour := range hours {
		if err := p.hour(ctx, hour); err != nil {
			return nil, err
		}
	}
	// The month is the sum of its days, which do not change but for this one.
	day := r.add[sumID(work.Block, tsdb.LevelDay, work.Day)]
	month := tsdb.BucketOf(tsdb.LevelMonth, tsdb.BucketStart(tsdb.LevelDay, work.Day))
	id := sumID(work.Block, tsdb.LevelMonth, month)
	total := tsdb.Sum{Bucket: month}
	first := tsdb.BucketOf(tsdb.LevelDay, tsdb.BucketStart(tsdb.LevelMonth, month))
	last := tsdb.BucketOf(tsdb.LevelDay, tsdb.BucketStart(tsdb.LevelMonth, month+1)) - 1
	// By (scope, level, bucket, block).
	docs, err := findAll[sumDoc](ctx, e.sums, bson.D{
		{Key: "scope", Value: scope}, {Key: "level", Value: tsdb.LevelDay}, {Key: "bucket", Value: bson.M{"$gte": first, "$lte": last}},
		{Key: "block", Value: work.Block},
	}, options.Find().SetSort(bson.M{"bucket": 1}))
	if err != nil {
		return nil, err
	}
	for i := range docs {
		if docs[i].Bucket == work.Day {
			continue
		}
		state, err := docs[i].at(work.Ver - 1)
		if err != nil {
			return nil, err
		}
		if state == nil {
			continue
		}
		s, err := state.decode(docs[i].Bucket)
		if err != nil {
			return nil, err
		}
		total.Merge(&s)
	}
	if day != nil {
		total.Merge(day)
	}
	r.add[id] = &total
	if r.sums[id] == nil {
		r.sums[id] = &sumDoc{ID: id, Scope: scope, Block: work.Block, Level: tsdb.LevelMonth, Bucket: month}
	}
	return r, nil
}

// loadDay reads the sums of the day and its month.
func (e *logEngine) loadDay(ctx context.Context, r *rebuilt, work *laneWork) error {
	var ids []string
	for hour := range int64(24) {
		ids = append(ids, sumID(work.Block, tsdb.LevelHour, work.Day*24+hour))
	}
	month := tsdb.BucketOf(tsdb.LevelMonth, tsdb.BucketStart(tsdb.LevelDay, work.Day))
	ids = append(ids, sumID(work.Block, tsdb.LevelDay, work.Day), sumID(work.Block, tsdb.LevelMonth, month))
	err := eachDoc(ctx, e.sums, ids, func(d *sumDoc) {
		r.sums[d.ID], r.add[d.ID] = d, &tsdb.Sum{Bucket: d.Bucket}
	})
	if err != nil {
		return err
	}
	scope := scopeOfBlock(work.Block)
	first := work.Block & (1<<24 - 1) << blockBits / tsdb.GroupSize
	// By (scope, group, day).
	days, err := findAll[dayDoc](ctx, e.days, bson.D{{Key: "scope", Value: scope}, {Key: "day", Value: work.Day}, {Key: "group", Value: bson.M{
		"$gte": first, "$lt": first + 1<<blockBits/tsdb.GroupSize,
	}}})
	for i := range days {
		r.days[days[i].ID] = &days[i]
	}
	return err
}

// chunksOf returns the chunks of the day that the work sees, by hour and in the order of time.
func (e *logEngine) chunksOf(ctx context.Context, work *laneWork) ([][]chunkDoc, error) {
	// By (block, hour).
	docs, err := findAll[chunkDoc](ctx, e.chunks, bson.D{
		{Key: "block", Value: work.Block}, {Key: "hour", Value: bson.M{"$gte": work.Day * 24, "$lt": work.Day*24 + 24}},
	}, options.Find().SetProjection(bson.M{"data": 0}))
	if err != nil {
		return nil, err
	}
	docs = slices.DeleteFunc(docs, func(d chunkDoc) bool { return d.Ver >= work.Ver || d.Gone > 0 && d.Gone < work.Ver })
	slices.SortFunc(docs, func(a, b chunkDoc) int {
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Part.Lo, b.Part.Lo), cmp.Compare(a.ID, b.ID))
	})
	var hours [][]chunkDoc
	for start := 0; start < len(docs); {
		end := start + 1
		for end < len(docs) && docs[end].Hour == docs[start].Hour {
			end++
		}
		hours = append(hours, docs[start:end])
		start = end
	}
	return hours, nil
}

// packer puts the logs of hours into few chunks.
type packer struct {
	e       *logEngine
	r       *rebuilt
	work    *laneWork
	without map[int64]bool
	dec     tsdb.Decoder
	// waiting are logs for the next chunk; from is the version that the newest of them came with.
	waiting *blockLogs
	from    int64
}

// hour counts one hour. Chunks that are full, or young, and lose nothing stay; young ones are not mixed with others, for the
// sake of scans that began before.
func (p *packer) hour(ctx context.Context, docs []chunkDoc) error {
	p.waiting, p.from = newBlockLogs(p.work.Block), 0
	id := sumID(p.work.Block, tsdb.LevelHour, docs[0].Hour)
	old := p.work.At - packAge.Milliseconds()
	for some := range slices.Chunk(docs, chunksAtOnce) {
		data := make(map[string][]byte, len(some))
		ids := make([]string, len(some))
		for i := range some {
			ids[i] = some[i].ID
		}
		if err := eachDoc(ctx, p.e.chunks, ids, func(d *chunkDoc) { data[d.ID] = d.Data }); err != nil {
			return err
		}
		for i := range some {
			d := &some[i]
			var chunk tsdb.Chunk
			if err := p.dec.Decode(&chunk, data[d.ID], nil); err != nil {
				return err
			}
			b := newBlockLogs(p.work.Block)
			b.add(&chunk, func(s tsdb.Series, e *tsdb.Entry) bool { return !p.without[s.Device] && e.At >= p.work.Before })
			same := len(b.entries) == len(chunk.Entries)
			if len(b.entries) > 0 {
				b.sort()
				p.r.sum(b, b.entries)
			}
			young := d.Part.At > old
			if same && (young || len(b.entries) >= p.r.limit) {
				p.r.parts[id] = append(p.r.parts[id], d.Part)
				continue
			}
			p.r.replaced = append(p.r.replaced, d.ID)
			if len(b.entries) == 0 {
				continue
			}
			if young {
				p.r.storeOld(b, d.Part.From, d.Part.At)
				continue
			}
			p.waiting.merge(b)
			p.from = max(p.from, d.Part.From)
			if len(p.waiting.entries) >= 2*p.r.limit {
				p.flush(p.r.limit)
			}
		}
	}
	p.flush(0)
	return nil
}

// flush stores the logs that wait, but for the last rest of them.
func (p *packer) flush(rest int) {
	n := len(p.waiting.entries) - rest
	if n <= 0 {
		return
	}
	p.waiting.sort()
	p.r.storeOld(&blockLogs{block: p.waiting.block, series: p.waiting.series, entries: p.waiting.entries[:n]}, p.from, p.work.At-packAge.Milliseconds())
	p.waiting.entries = slices.Clone(p.waiting.entries[n:])
}

// merge adds all of other's logs.
func (b *blockLogs) merge(other *blockLogs) {
	for _, e := range other.entries {
		e.Series = b.place(other.series[e.Series])
		b.entries = append(b.entries, e)
	}
}

// storeOld is store for logs that were in chunks before, as old as at.
func (c *changes) storeOld(b *blockLogs, from, at int64) {
	now := c.at
	c.at = at
	c.store(b, b.entries, from)
	c.at = now
}
