package mongodb

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/tsdb"
)

// Logs implements hearth.LogStore.
func (s *Store) Logs(ctx context.Context, query hearth.LogQuery) (out []hearth.LogEntry, err error) {
	of := logScope{reach: hearth.Reach{All: true}, devices: []int64{query.Device}, span: query.Span}
	if query.Event != "" {
		of.events = []string{query.Event}
	}
	err = s.do(ctx, "Logs", func(ctx context.Context) error {
		return s.logs.view(ctx, of, func(v *logView) error {
			p := &logPage{LogQuery: query, logView: v}
			out, err = p.collect(ctx)
			return err
		})
	})
	return out, err
}

// logPage gathers one page of a device's logs.
type logPage struct {
	hearth.LogQuery
	*logView
	scope int64
	out   []hearth.LogEntry
}

// order compares as the page is sorted.
func (p *logPage) order(a, b hearth.LogEntry) int {
	order := compareLogs(a, b)
	if p.Ascending {
		return order
	}
	return -order
}

func compareLogs(a, b hearth.LogEntry) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
}

// collect returns the first Limit+1 entries, from the documents and the tail.
func (p *logPage) collect(ctx context.Context) ([]hearth.LogEntry, error) {
	if p.After != nil {
		if p.Ascending {
			p.from = max(p.from, p.After.At)
		} else {
			p.to = min(p.to, p.After.At+1)
		}
	}
	if p.from >= p.to {
		return nil, nil
	}
	p.scope = p.devices[p.Device]
	// The tail is small and in order of arrival: take all, then sort.
	var failed error
	p.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) {
		failed = errors.Join(failed, p.add(ctx, series, e))
	})
	if failed != nil {
		return nil, failed
	}
	fromTail := p.out
	p.out = nil
	if err := p.fromDocuments(ctx); err != nil {
		return nil, err
	}
	all := append(p.out, fromTail...)
	slices.SortFunc(all, p.order)
	return all[:min(len(all), p.Limit+1)], nil
}

// add takes an entry if it is past the place where the page starts.
func (p *logPage) add(ctx context.Context, series []tsdb.Series, e *tsdb.Entry) error {
	entry := hearth.LogEntry{Device: p.Device, Value: e.Value, At: e.At, Seq: e.Seq}
	if p.After != nil && p.order(entry, *p.After) <= 0 {
		return nil
	}
	var err error
	entry.Event, err = p.e.eventOf(ctx, series[e.Series].Event)
	p.out = append(p.out, entry)
	return err
}

// fromDocuments goes through the hours in which the device has such logs, in the page's order, so that a rare event is
// found without reading what lies between.
func (p *logPage) fromDocuments(ctx context.Context) error {
	first, last := tsdb.BucketOf(tsdb.LevelDay, p.from), tsdb.BucketOf(tsdb.LevelDay, p.to-1)
	for batch := 2; first <= last; batch = min(2*batch, 64) {
		hours, read, end, err := p.hoursOf(ctx, first, last, batch)
		if err != nil {
			return err
		}
		if err := p.fromHours(ctx, hours); err != nil {
			return err
		}
		if len(p.out) > p.Limit || read < batch {
			return nil
		}
		if p.Ascending {
			first = end + 1
		} else {
			last = end - 1
		}
	}
	return nil
}

// hoursOf returns, in the page's order, the hours with wanted logs of up to limit days from first to last; read is how many
// days those were, end the last of them.
func (p *logPage) hoursOf(ctx context.Context, first, last int64, limit int) (hours []int64, read int, end int64, err error) {
	order := -1
	if p.Ascending {
		order = 1
	}
	// By the index (scope, group, day).
	filter := bson.M{"group": p.Device / tsdb.GroupSize, "day": bson.M{"$gte": first, "$lte": last}}
	settings := projecting("scope", "day", "now", "old").SetSort(bson.M{"day": order}).SetLimit(int64(limit))
	err = p.eachDay(ctx, filter, settings, func(d *dayDoc, s *dayState) error {
		// One that the view does not see counts too: behind it there may be others.
		if read, end = read+1, d.Day; s == nil {
			return nil
		}
		if err := s.decode(&p.days, tsdb.DayParts{Keep: p.wants}); err != nil {
			return err
		}
		var mask uint32
		for i := range p.days.Lines {
			mask |= p.days.Lines[i].All
		}
		for i := range int64(24) {
			hour := i
			if !p.Ascending {
				hour = 23 - i
			}
			if mask>>hour&1 != 0 {
				hours = append(hours, d.Day*24+hour)
			}
		}
		return nil
	})
	return hours, read, end, err
}

// maxPageChunks bounds the chunks of hours that are read together, one hour aside.
const maxPageChunks = 16

// fromHours takes the entries of the hours until the page is full.
func (p *logPage) fromHours(ctx context.Context, hours []int64) error {
	block := blockOf(p.scope, p.Device)
	for some := range slices.Chunk(hours, 48) {
		ids := make([]string, len(some))
		for i, hour := range some {
			ids[i] = sumID(block, tsdb.LevelHour, hour)
		}
		parts := map[int64][]part{}
		err := p.eachSum(ctx, bson.M{"_id": in(ids)}, projecting("scope", "bucket", "now.ver", "now.n", "now.parts", "old.ver", "old.n", "old.parts"),
			func(d *sumDoc, s *sumState) error {
				parts[d.Bucket] = s.Parts
				return nil
			})
		if err != nil {
			return err
		}
		var cuts []cut
		n := 0
		for i, hour := range some {
			cuts = append(cuts, cut{parts[hour], p.from, p.to})
			n += len(parts[hour])
			if i < len(some)-1 && n+len(parts[some[i+1]]) <= maxPageChunks {
				continue
			}
			err := p.eachChunk(ctx, cuts, func(series []tsdb.Series, entries []tsdb.Entry) error {
				for i := range entries {
					if err := p.add(ctx, series, &entries[i]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil || len(p.out) > p.Limit {
				return err
			}
			cuts, n = cuts[:0], 0
		}
	}
	return nil
}

// ImportCheckpoint implements hearth.LogStore.
func (s *Store) ImportCheckpoint(ctx context.Context, id string) (out hearth.Checkpoint, err error) {
	err = s.do(ctx, "ImportCheckpoint", func(ctx context.Context) error {
		doc, err := s.logs.checkpoint(ctx, id)
		if err != nil {
			return err
		}
		if doc == nil {
			return hearth.NotFound("import")
		}
		out = hearth.Checkpoint{ID: doc.ID, Rows: doc.Rows, Mark: doc.Mark}
		return nil
	})
	return out, err
}

// checkpoint returns the newest checkpoint of an import, nil if there is none: it may still be in its batch, which is looked
// at first, because it is kept elsewhere before it leaves there.
func (e *logEngine) checkpoint(ctx context.Context, id string) (*checkpointDoc, error) {
	var inBatch batchDoc
	// By the index of checkpoint._id and checkpoint.order.
	err := e.batches.FindOne(ctx, bson.M{"checkpoint._id": id, "draft": nil},
		options.FindOne().SetProjection(bson.M{"checkpoint": 1}).SetSort(bson.M{"checkpoint.order": -1})).Decode(&inBatch)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return nil, err
	}
	kept := &checkpointDoc{}
	err = e.checkpoints.FindOne(ctx, bson.M{"_id": id}).Decode(kept)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return inBatch.Checkpoint, nil
	}
	if err != nil {
		return nil, err
	}
	if inBatch.Checkpoint != nil && inBatch.Checkpoint.Order > kept.Order {
		return inBatch.Checkpoint, nil
	}
	return kept, nil
}

// keepCheckpoint stores a batch's checkpoint for itself, unless a later one is there.
func (e *logEngine) keepCheckpoint(ctx context.Context, b *batch) error {
	if b.checkpoint == nil {
		return nil
	}
	if err := e.crash("checkpoint"); err != nil {
		return err
	}
	_, err := e.checkpoints.ReplaceOne(ctx, bson.M{"_id": b.checkpoint.ID, "order": bson.M{"$lt": b.checkpoint.Order}}, b.checkpoint,
		options.Replace().SetUpsert(true))
	if isDuplicate(err) {
		return nil // a later one is there
	}
	return err
}
