package mongodb

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/tsdb"
)

// between is the condition of a number in a range.
func between(r tsdb.Range) any {
	if r.From == r.To {
		return r.From
	}
	d := bson.D{}
	if r.From != math.MinInt64 {
		d = append(d, bson.E{Key: "$gte", Value: r.From})
	}
	if r.To != math.MaxInt64 {
		d = append(d, bson.E{Key: "$lte", Value: r.To})
	}
	return d
}

// search is a find in log_documents.
type search struct {
	filter bson.D
	sort   bson.D
	limit  int64 // of the command
	data   tsdb.Fields
}

// each calls fn with every document of a search that the snapshot sees.
func (s *logSnapshot) each(ctx context.Context, q search, fn func(*logDoc) error) error {
	_, err := s.some(ctx, q, fn)
	return err
}

// some is each; n is the number of documents that the database returned, also of those that the snapshot does not see.
func (s *logSnapshot) some(ctx context.Context, q search, fn func(*logDoc) error) (n int64, err error) {
	if len(s.replaced) > 0 {
		q.filter = append(slices.Clip(q.filter), bson.E{Key: "gone", Value: bson.D{{Key: "$nin", Value: s.replaced}}})
	}
	settings := options.Find().SetLimit(q.limit)
	if q.sort != nil {
		settings.SetSort(q.sort)
	}
	without := bson.D{}
	for i, name := range []string{"d0", "d1", "d2"} {
		if !q.data[i] {
			without = append(without, bson.E{Key: name, Value: 0})
		}
	}
	if len(without) > 0 {
		settings.SetProjection(without)
	}
	cursor, err := s.b.docs.Find(ctx, q.filter, settings)
	if err != nil {
		return 0, err
	}
	for ; err == nil && cursor.Next(ctx); n++ {
		d := &logDoc{}
		if err = bson.Unmarshal(cursor.Current, d); err != nil || !s.sees(d) {
			continue
		}
		s.note(d)
		err = fn(d)
	}
	if err := errors.Join(cursor.Err(), cursor.Close(context.WithoutCancel(ctx))); err != nil {
		return n, err
	}
	return n, cmp.Or(err, s.fresh())
}

// note remembers a document that came: a chunk, whose data may be asked for later, and for who changes the partition any.
func (s *logSnapshot) note(d *logDoc) {
	if s.absent == nil && d.Table != tsdb.Chunks {
		return
	}
	without := *d
	without.Data0, without.Data1, without.Data2 = nil, nil, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[tsdb.Key]*logDoc{}
	}
	s.seen[d.key()] = &without
}

// fresh returns ErrStale when what the snapshot sees may have been removed.
func (s *logSnapshot) fresh() error {
	if time.Now().After(s.until) {
		return tsdb.ErrStale
	}
	return nil
}

// give turns documents into those of the caller.
func (s *logSnapshot) give(ctx context.Context, data tsdb.Fields, fn func(*tsdb.Doc) error) func(*logDoc) error {
	return func(d *logDoc) error {
		out := tsdb.Doc{Key: d.key(), Entries: d.N, MinAt: d.MinAt, MaxAt: d.MaxAt, Data: [3][]byte{d.Data0, d.Data1, d.Data2}}
		if len(d.Parts) > 0 && data != tsdb.NoData {
			if err := s.readParts(ctx, d, &out); err != nil {
				return err
			}
			for i := range out.Data {
				if !data[i] {
					out.Data[i] = nil
				}
			}
		}
		return fn(&out)
	}
}

// readParts puts together the data of a long document.
func (s *logSnapshot) readParts(ctx context.Context, d *logDoc, out *tsdb.Doc) error {
	parts, err := findAll[partDoc](ctx, s.b.docs, bson.D{{Key: "_id", Value: anyOf(d.Parts)}}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	if len(parts) < len(d.Parts) {
		return tsdb.ErrStale
	}
	var whole []byte
	for _, p := range parts {
		whole = append(whole, p.Data...)
	}
	for i, n := range d.Lengths {
		out.Data[i], whole = whole[:n:n], whole[n:]
	}
	return nil
}

// giveParts reads the data of documents that are known, by _id, and gives them to fn.
func (s *logSnapshot) giveParts(ctx context.Context, docs []*logDoc, fn func(*tsdb.Doc) error) error {
	for some := range slices.Chunk(docs, 64) {
		parts := map[int64][]byte{}
		var ids []int64
		for _, d := range some {
			ids = append(ids, d.Parts...)
		}
		found, err := findAll[partDoc](ctx, s.b.docs, bson.D{{Key: "_id", Value: anyOf(ids)}})
		if err != nil {
			return err
		}
		for _, p := range found {
			parts[p.ID] = p.Data
		}
		if len(found) < len(ids) {
			return tsdb.ErrStale
		}
		for _, d := range some {
			out := tsdb.Doc{Key: d.key(), Entries: d.N, MinAt: d.MinAt, MaxAt: d.MaxAt, Data: [3][]byte{parts[d.Parts[0]]}}
			for _, id := range d.Parts[1:] {
				out.Data[0] = append(out.Data[0], parts[id]...)
			}
			out.Data[0] = out.Data[0][:d.Lengths[0]]
			if err := fn(&out); err != nil {
				return err
			}
		}
	}
	return s.fresh()
}

// Find implements tsdb.Snapshot, by the index (t, s, a, b); with nil scopes, of sums of hours, by that of h.
func (s *logSnapshot) Find(ctx context.Context, q tsdb.Query, fn func(*tsdb.Doc) error) error {
	if q.Scopes != nil && len(q.Scopes) == 0 {
		return nil
	}
	given := 0
	one := s.give(ctx, q.Data, fn)
	limited := func(d *logDoc) error {
		if err := one(d); err != nil {
			return err
		}
		if given++; given == q.Limit {
			return errFull
		}
		return nil
	}
	err := s.find(ctx, q, limited)
	if errors.Is(err, errFull) || errors.Is(err, tsdb.ErrEnough) {
		return s.fresh()
	}
	return err
}

// errFull ends a search of which the limit is reached.
var errFull = errors.New("mongodb: the limit is reached")

func (s *logSnapshot) find(ctx context.Context, q tsdb.Query, fn func(*logDoc) error) error {
	floors := func() error { return nil }
	if q.Floor && q.Major.From != math.MinInt64 {
		if len(q.Scopes) == 1 {
			return s.findDown(ctx, q, fn)
		}
		below, err := s.floors(ctx, &q)
		if err != nil {
			return err
		}
		floors = func() error { return below.each(fn) }
	}
	if !q.Backward {
		if err := floors(); err != nil {
			return err
		}
	}
	if err := s.each(ctx, s.search(q), fn); err != nil || !q.Backward {
		return err
	}
	return floors()
}

// search returns the search for a query without its floor.
func (s *logSnapshot) search(q tsdb.Query) search {
	order := 1
	if q.Backward {
		order = -1
	}
	out := search{data: q.Data, sort: bson.D{{Key: "s", Value: order}, {Key: "a", Value: order}, {Key: "b", Value: order}}}
	out.filter = bson.D{{Key: "t", Value: q.Table}}
	switch {
	case len(q.Scopes) == 1:
		out.filter = append(out.filter, bson.E{Key: "s", Value: q.Scopes[0]})
	case q.Scopes != nil:
		out.filter = append(out.filter, bson.E{Key: "s", Value: anyOf(q.Scopes)})
	case q.Table == tsdb.Sums && q.Major == tsdb.Range{From: tsdb.LevelHour, To: tsdb.LevelHour}:
		out.filter = bson.D{{Key: "h", Value: between(q.Minor)}}
		out.sort = bson.D{{Key: "h", Value: order}, {Key: "s", Value: order}}
	}
	if q.Major != tsdb.Everything {
		out.filter = append(out.filter, bson.E{Key: "a", Value: between(q.Major)})
	}
	if q.Minor != tsdb.Everything {
		out.filter = append(out.filter, bson.E{Key: "b", Value: between(q.Minor)})
	}
	if q.Scopes == nil && len(s.states.parts) == 1 {
		p := int64(s.states.parts[0])
		out.filter = append(out.filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gte", Value: docID(p, 0, 0)}, {Key: "$lt", Value: docID(p, 1<<32-1, 0)}}})
	}
	return out
}

// findDown finds the chunks of one scope, and its floor, in one search that goes down from the newest.
func (s *logSnapshot) findDown(ctx context.Context, q tsdb.Query, fn func(*logDoc) error) error {
	var found []*logDoc
	var floor int64
	down := q
	down.Backward, down.Major.From = true, math.MinInt64
	search := s.search(down)
	for search.limit = 16; ; search.limit = 0 {
		found, floor = found[:0], math.MaxInt64
		n, err := s.some(ctx, search, func(d *logDoc) error {
			if d.Major < floor && floor < q.Major.From {
				return tsdb.ErrEnough
			}
			floor = d.Major
			found = append(found, d)
			return nil
		})
		if err != nil && !errors.Is(err, tsdb.ErrEnough) {
			return err
		}
		if err == nil && n == search.limit && n > 0 {
			continue
		}
		if err == nil {
			floor = math.MinInt64 // there are no others
		}
		break
	}
	if s.absent != nil {
		s.mu.Lock()
		s.searched = append(s.searched, tsdb.Query{Scopes: q.Scopes, Major: tsdb.Range{From: min(floor, q.Major.From), To: q.Major.To}})
		s.mu.Unlock()
	}
	if !q.Backward {
		slices.Reverse(found)
	}
	for _, d := range found {
		if err := fn(d); err != nil {
			return err
		}
	}
	return nil
}

// floorChunks are the chunks of the floors of many scopes.
type floorChunks []*logDoc

func (f floorChunks) each(fn func(*logDoc) error) error {
	for _, d := range f {
		if err := fn(d); err != nil {
			return err
		}
	}
	return nil
}

// floors finds the floors of many scopes, some at a time.
func (s *logSnapshot) floors(ctx context.Context, q *tsdb.Query) (floorChunks, error) {
	scopes := q.Scopes
	if scopes == nil {
		var found []struct {
			Scope int64 `bson:"_id"`
		}
		cursor, err := s.b.docs.Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: bson.D{{Key: "t", Value: tsdb.Chunks}, {Key: "a", Value: bson.D{{Key: "$lt", Value: q.Major.From}}}}}},
			bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$s"}}}},
		})
		if err != nil {
			return nil, err
		}
		if err := cursor.All(ctx, &found); err != nil {
			return nil, err
		}
		for _, one := range found {
			scopes = append(scopes, one.Scope)
		}
	}
	const atOnce = 8
	out := make([]floorChunks, len(scopes))
	failed := make([]error, len(scopes))
	var wg sync.WaitGroup
	for worker := range min(atOnce, len(scopes)) {
		wg.Go(func() {
			for i := worker; i < len(scopes); i += atOnce {
				one := tsdb.Query{
					Table: tsdb.Chunks, Scopes: scopes[i : i+1], Major: tsdb.Range{From: q.Major.From, To: q.Major.From - 1},
					Minor: tsdb.Everything, Data: q.Data, Backward: q.Backward,
				}
				failed[i] = s.findDown(ctx, one, func(d *logDoc) error {
					out[i] = append(out[i], d)
					return nil
				})
			}
		})
	}
	wg.Wait()
	return slices.Concat(out...), errors.Join(failed...)
}

// Get implements tsdb.Snapshot, by the index (t, s, a, b).
func (s *logSnapshot) Get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	var unknown []tsdb.Key
	var known []*logDoc
	for _, key := range keys {
		if d := s.seen[key]; d != nil && len(d.Parts) > 0 && data == tsdb.MainData {
			known = append(known, d)
		} else {
			unknown = append(unknown, key)
		}
	}
	err := s.giveParts(ctx, known, fn)
	if err == nil {
		err = s.get(ctx, unknown, data, s.give(ctx, data, fn))
	}
	if errors.Is(err, tsdb.ErrEnough) {
		return s.fresh()
	}
	return err
}

func (s *logSnapshot) get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*logDoc) error) error {
	wanted := make(map[tsdb.Key]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	for _, r := range rectangles(keys) {
		filter := bson.D{
			{Key: "t", Value: keys[0].Table}, {Key: "s", Value: anyOf(r.scopes)}, {Key: "a", Value: anyOf(r.majors)}, {Key: "b", Value: anyOf(r.minors)},
		}
		err := s.each(ctx, search{filter: filter, data: data}, func(d *logDoc) error {
			if !wanted[d.key()] {
				return nil
			}
			delete(wanted, d.key()) // it may be in another rectangle too
			return fn(d)
		})
		if err != nil {
			return err
		}
	}
	if s.absent != nil {
		for _, key := range keys {
			if s.seen[key] == nil {
				s.absent[key] = true
			}
		}
	}
	return nil
}

// knows reports whether the snapshot knows that there is no document of a key that it has not seen.
func (s *logSnapshot) knows(key tsdb.Key) bool {
	return s.absent[key] || key.Table == tsdb.Chunks && slices.ContainsFunc(s.searched, func(q tsdb.Query) bool {
		return q.Scopes[0] == key.Scope && key.Major >= q.Major.From && key.Major <= q.Major.To
	})
}

// rectangle is the keys of all combinations.
type rectangle struct{ scopes, majors, minors []int64 }

// rectangles covers keys with few rectangles that hold not much more.
func rectangles(keys []tsdb.Key) (out []rectangle) {
	const most = 1000
	if len(keys) == 0 {
		return nil
	}
	if len(keys) > most {
		sorted := slices.Clone(keys)
		slices.SortFunc(sorted, compareKeys)
		for some := range slices.Chunk(sorted, most) {
			out = append(out, rectangles(some)...)
		}
		return out
	}
	var r rectangle
	for _, key := range keys {
		r.scopes, r.majors, r.minors = append(r.scopes, key.Scope), append(r.majors, key.Major), append(r.minors, key.Minor)
	}
	for _, side := range []*[]int64{&r.scopes, &r.majors, &r.minors} {
		slices.Sort(*side)
		*side = slices.Compact(*side)
	}
	if len(r.scopes)*len(r.majors)*len(r.minors) <= 8*len(keys)+16 || len(keys) < 2 {
		return []rectangle{r}
	}
	sorted := slices.Clone(keys)
	slices.SortFunc(sorted, compareKeys)
	half := len(sorted) / 2
	return append(rectangles(sorted[:half]), rectangles(sorted[half:])...)
}

func compareKeys(a, b tsdb.Key) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Major, b.Major), cmp.Compare(a.Minor, b.Minor))
}
