package mongodb

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// between is the condition of a number in a range.
func between(r tsdb.Range) bson.D {
	return bson.D{{Key: "$gte", Value: r.From}, {Key: "$lte", Value: r.To}}
}

// sees reports whether a document is of the snapshot, but for newer versions of it.
func (s *logSnapshot) sees(d *logDoc) bool {
	state := s.states[d.ID>>56]
	return state != nil && d.Version <= state.Version && !slices.Contains(state.Dropped, d.Version) &&
		(d.Gone == 0 || d.Gone >= docID(state.ID, state.Version+1, 0))
}

// search is a find in log_documents.
type search struct {
	table  tsdb.Table
	filter bson.D
	sort   bson.D // keeps the versions of a document together
	data   tsdb.Fields
	limit  int64 // of documents of all versions
}

// each calls fn with the documents of a search that the snapshot sees; n is how many the database returned. Of as many as the limit the
// last document is not given: what follows it may be of the same key.
func (s *logSnapshot) each(ctx context.Context, q search, fn func(*logDoc) error) (n int64, err error) {
	seen := bson.A{bson.D{{Key: "gone", Value: nil}}}
	for p, state := range s.states {
		newer := tsdb.Range{From: docID(p, state.Version+1, 0), To: docID(p+1, 0, 0) - 1}
		seen = append(seen, bson.D{{Key: "gone", Value: between(newer)}})
	}
	without := bson.D{{Key: "k", Value: 0}}
	for i, name := range []string{"d0", "d1", "d2"} {
		if !q.data[i] {
			without = append(without, bson.E{Key: name, Value: 0})
		}
	}
	settings := options.Find().SetProjection(without).SetLimit(q.limit).SetBatchSize(steps.BatchSize)
	if q.sort != nil {
		settings.SetSort(q.sort)
	}
	cursor, err := s.b.docs.Find(ctx, append(slices.Clip(q.filter), bson.E{Key: "$or", Value: seen}), settings)
	if err != nil {
		return 0, err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	var newest *logDoc // of the key that came last
	give := func() error {
		if newest == nil || newest.Deleted {
			return nil
		}
		if err := newest.join(q.data); err != nil {
			return err
		}
		return fn(newest)
	}
	for ; cursor.Next(ctx); n++ {
		d := &logDoc{}
		if err := bson.Unmarshal(cursor.Current, d); err != nil {
			return n, err
		}
		switch {
		case !s.sees(d) || newest != nil && d.key() == newest.key() && d.Version < newest.Version:
			continue
		case newest == nil || d.key() != newest.key():
			if err := give(); err != nil {
				return n, err
			}
			newest = d
		case d.Version > newest.Version:
			newest = d
		}
		newest.parts = append(newest.parts, d)
	}
	if err = cursor.Err(); err == nil && (n == 0 || n != q.limit) {
		err = give()
	}
	if err == nil {
		err = s.fresh(q.table)
	}
	return n, err
}

// join puts together a document that is stored in parts.
func (d *logDoc) join(data tsdb.Fields) error {
	if d.Of == 0 || data == tsdb.NoData {
		return nil
	}
	if len(d.parts) < d.Of {
		return tsdb.ErrStale
	}
	slices.SortFunc(d.parts, func(a, b *logDoc) int { return a.Part - b.Part })
	var whole []byte
	for _, part := range d.parts {
		whole = append(whole, part.D...)
	}
	for i, to := range []*[]byte{&d.Data0, &d.Data1, &d.Data2} {
		if n := d.Lengths[i]; data[i] {
			*to = whole[:n:n]
		}
		whole = whole[d.Lengths[i]:]
	}
	return nil
}

// fresh returns ErrStale when what the snapshot sees may have been removed.
func (s *logSnapshot) fresh(table tsdb.Table) error {
	took := time.Since(s.began)
	if took > longViewTime || took > viewTime && (!s.long || table != tsdb.Chunks) {
		return tsdb.ErrStale
	}
	return nil
}

// Find implements tsdb.Snapshot. The data of chunks is found by their keys.
func (s *logSnapshot) Find(ctx context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	given := 0
	give := func(d *tsdb.Doc) error {
		if err := fn(d); err != nil {
			return err
		}
		if given++; given == q.Limit {
			return tsdb.ErrEnough
		}
		return nil
	}
	var err error
	var keys []tsdb.Key
	switch {
	case q.Scopes != nil && len(q.Scopes) == 0:
	case q.Table == tsdb.Chunks && q.Data != tsdb.NoData:
		without := q
		without.Data = tsdb.NoData
		err = s.Find(ctx, without, func(d *tsdb.Doc) error {
			keys = append(keys, d.Key)
			return nil
		})
		for some := range slices.Chunk(keys, chunksAtOnce) {
			if err == nil {
				err = s.get(ctx, some, q.Data, q.Backward, give)
			}
		}
	case q.Floor && q.Major.From != math.MinInt64:
		err = s.findFloors(ctx, q, give)
	default:
		err = s.find(ctx, q, give)
	}
	if errors.Is(err, tsdb.ErrEnough) {
		return s.fresh(q.Table)
	}
	return err
}

// chunksAtOnce bounds the chunks whose data is asked for at once.
const chunksAtOnce = 64

// find finds what a query asks for without its floor, by the index of k; with nil scopes, of sums of hours, by that of h.
func (s *logSnapshot) find(ctx context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	order := direction(q.Backward)
	sort := bson.D{{Key: "k", Value: order}}
	keys := func(from, to int64, major, minor tsdb.Range) bson.D {
		return bson.D{{Key: "k", Value: bson.D{
			{Key: "$gte", Value: orderedKey(q.Table, from, major.From, minor.From)}, {Key: "$lte", Value: orderedKey(q.Table, to, major.To, minor.To)},
		}}}
	}
	var filter bson.D
	either := bson.A{}
	for _, scope := range q.Scopes {
		either = append(either, keys(scope, scope, q.Major, q.Minor))
	}
	switch {
	case len(q.Scopes) == 1:
		filter = keys(q.Scopes[0], q.Scopes[0], q.Major, q.Minor)
	case q.Scopes != nil:
		filter = bson.D{{Key: "$and", Value: bson.A{bson.D{{Key: "$or", Value: either}}}}}
	case q.Table == tsdb.Sums && q.Major == tsdb.Range{From: codec.LevelHour, To: codec.LevelHour}:
		filter = bson.D{{Key: "h", Value: between(q.Minor)}}
		sort = append(bson.D{{Key: "h", Value: order}}, sort...)
	default:
		filter = append(keys(0, math.MaxInt64, tsdb.Everything, tsdb.Everything), bson.E{Key: "a", Value: between(q.Major)})
	}
	if q.Minor != tsdb.Everything && (q.Scopes == nil || q.Major.From != q.Major.To) {
		filter = append(filter, bson.E{Key: "b", Value: between(q.Minor)})
	}
	if q.Scopes == nil && len(s.states) == 1 {
		for p := range s.states {
			filter = append(filter, bson.E{Key: "_id", Value: between(tsdb.Range{From: docID(p, 0, 0), To: docID(p+1, 0, 0) - 1})})
		}
	}
	search := search{table: q.Table, filter: filter, sort: sort, data: q.Data}
	if q.Limit > 0 {
		search.limit = int64(q.Limit) + 4 // some may be of other versions
	}
	given := 0
	n, err := s.each(ctx, search, func(d *logDoc) error {
		given++
		return fn(d.doc())
	})
	if err != nil || n == 0 || n != search.limit {
		return err
	}
	// More is wanted; what was given comes again.
	search.limit = 0
	_, err = s.each(ctx, search, func(d *logDoc) error {
		if given--; given >= 0 {
			return nil
		}
		return fn(d.doc())
	})
	return err
}

func direction(backward bool) int {
	if backward {
		return -1
	}
	return 1
}

// findFloors finds chunks of some scopes at a time, with those of the floor: down from the newest.
func (s *logSnapshot) findFloors(ctx context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	const atOnce = 8
	for some := range slices.Chunk(q.Scopes, atOnce) {
		found := make([][]*tsdb.Doc, len(some))
		failed := make([]error, len(some))
		var wg sync.WaitGroup
		for i := range some {
			wg.Go(func() {
				down := tsdb.Query{
					Table: tsdb.Chunks, Scopes: some[i : i+1], Major: tsdb.Range{From: math.MinInt64, To: q.Major.To}, Minor: tsdb.Everything, Backward: true, Limit: 16,
				}
				floor := int64(math.MaxInt64)
				failed[i] = s.find(ctx, down, func(d *tsdb.Doc) error {
					if d.Major < floor && floor < q.Major.From {
						return tsdb.ErrEnough
					}
					floor = d.Major
					found[i] = append(found[i], d)
					return nil
				})
			})
		}
		wg.Wait()
		for i := range some {
			if failed[i] != nil && !errors.Is(failed[i], tsdb.ErrEnough) {
				return failed[i]
			}
			if !q.Backward {
				slices.Reverse(found[i])
			}
			for _, d := range found[i] {
				if err := fn(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Get implements tsdb.Snapshot.
func (s *logSnapshot) Get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	err := chunked(keys, func(some []tsdb.Key) error { return s.get(ctx, some, data, false, fn) })
	if errors.Is(err, tsdb.ErrEnough) {
		return s.fresh(keys[0].Table)
	}
	return err
}

// get finds the documents of keys of one table, in their order, by the index of k.
func (s *logSnapshot) get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, backward bool, fn func(*tsdb.Doc) error) error {
	wanted := make([][]byte, len(keys))
	for i, key := range keys {
		if key.Table == tsdb.Chunks && data != tsdb.NoData {
			key.Table = chunkData
		}
		wanted[i] = orderedKey(key.Table, key.Scope, key.Major, key.Minor)
	}
	q := search{table: keys[0].Table, filter: bson.D{{Key: "k", Value: anyOf(wanted)}}, data: data}
	if len(keys) > 1 {
		q.sort = bson.D{{Key: "k", Value: direction(backward)}}
	}
	_, err := s.each(ctx, q, func(d *logDoc) error { return fn(d.doc()) })
	return err
}
