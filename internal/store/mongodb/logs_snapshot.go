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

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
)

const (
	// viewTime is how long a snapshot may be used, longViewTime how long the chunks and the tail of a slow view.
	viewTime     = 90 * time.Second
	longViewTime = time.Hour
	// viewTries bounds how often a view looks anew for a moment in which nothing was folded.
	viewTries = 50
)

// logSnapshot is a moment of some partitions: their documents at the versions of states, and the rows of the tail that were
// not folded at those.
type logSnapshot struct {
	b      *logBackend
	states map[int64]*partitionState
	// began is when the states were read, or before that.
	began   time.Time
	long    bool
	horizon int64
	graves  []tsdb.Grave
	// rows are nil until they are read. Those of a long view have their data.
	rows []tailDoc
}

// open reads the states of partitions and the graves of scopes, or of all.
func (b *logBackend) open(ctx context.Context, parts []int, scopes []int64) (*logSnapshot, error) {
	s := &logSnapshot{b: b}
	var failed error
	var reading sync.WaitGroup
	reading.Go(func() { s.graves, failed = b.graves(ctx, parts, scopes) })
	err := s.readStates(ctx, parts)
	reading.Wait()
	return s, cmp.Or(err, failed)
}

// readStates reads the horizon and, not before it, the states of partitions.
func (s *logSnapshot) readStates(ctx context.Context, parts []int) error {
	s.began = time.Now()
	found, err := steps.FindAll[partitionState](ctx, s.b.states, bson.D{{Key: "_id", Value: anyOf(append([]int{allPartitions}, parts...))}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	if len(found) <= len(parts) {
		return steps.ErrGone
	}
	s.horizon, s.states = found[0].Horizon, map[int64]*partitionState{}
	for i := range found[1:] {
		s.states[found[i+1].ID] = &found[i+1]
	}
	return nil
}

// View implements tsdb.Backend.
func (b *logBackend) View(ctx context.Context, o tsdb.ViewOptions, fn func(tsdb.Snapshot) error) error {
	do := b.store.Do
	if o.Slow {
		do = b.store.DoLong
	}
	return do(ctx, o.Operation, func(ctx context.Context) error {
		var parts []int
		for _, scope := range o.Scopes {
			parts = append(parts, b.Partition(scope))
		}
		if o.Scopes == nil {
			for p := range partitions {
				parts = append(parts, p)
			}
		}
		slices.Sort(parts)
		parts = slices.Compact(parts)
		if o.Slow {
			// What is replaced from now on stays.
			err := b.updateMany(ctx, b.states, bson.D{{Key: "_id", Value: anyOf(parts)}}, bson.D{{Key: "$currentDate", Value: bson.D{{Key: "long", Value: true}}}})
			if err != nil {
				return err
			}
		}
		s, err := b.open(ctx, parts, o.Scopes)
		if err != nil {
			return err
		}
		s.long = o.Slow
		if err := s.hold(ctx, parts); err != nil {
			return err
		}
		return fn(s)
	})
}

// hold reads the tail, and the states until they are of versions that were there before and after that.
func (s *logSnapshot) hold(ctx context.Context, parts []int) error {
	for range viewTries {
		before := s.states
		if err := s.readTail(ctx); err != nil {
			return err
		}
		tail := s.rows
		if err := s.readStates(ctx, parts); err != nil {
			return err
		}
		same := true
		for p, state := range s.states {
			same = same && state.Version == before[p].Version
		}
		if same {
			s.states, s.rows = before, tail // whose folded rows the tail is without
			return nil
		}
	}
	return tsdb.ErrStale
}

// readTail reads what the rows of the tail say of themselves, and for a long view what is in them.
func (s *logSnapshot) readTail(ctx context.Context) error {
	parts := make([]int64, 0, len(s.states))
	for p := range s.states {
		parts = append(parts, p)
	}
	settings := options.Find().SetSort(bson.D{{Key: "_id", Value: 1}})
	if !s.long {
		settings.SetProjection(bson.D{{Key: "data", Value: 0}})
	}
	// By the index of open.
	rows, err := steps.FindAll[tailDoc](ctx, s.b.tail, steps.Live(bson.E{Key: "open", Value: anyOf(parts)}), settings)
	for i := range rows {
		rows[i].Open = slices.DeleteFunc(rows[i].Open, func(p int) bool {
			state := s.states[int64(p)]
			return state == nil || slices.Contains(state.Folded, rows[i].ID)
		})
	}
	s.rows = slices.DeleteFunc(rows, func(d tailDoc) bool { return len(d.Open) == 0 })
	if s.rows == nil {
		s.rows = []tailDoc{}
	}
	return err
}

// Horizon implements tsdb.Snapshot.
func (s *logSnapshot) Horizon() int64 { return s.horizon }

// Graves implements tsdb.Snapshot.
func (s *logSnapshot) Graves() []tsdb.Grave { return s.graves }

// Tail implements tsdb.Snapshot.
func (s *logSnapshot) Tail(ctx context.Context, from, to int64) (rows []tsdb.TailRow, err error) {
	if s.rows == nil {
		err = s.readTail(ctx)
	}
	for i := range s.rows {
		if d := &s.rows[i]; d.MaxAt >= from && d.MinAt < to {
			rows = append(rows, d.row())
		}
	}
	return rows, err
}

// TailData implements tsdb.Snapshot; ErrStale if a row is gone.
func (s *logSnapshot) TailData(ctx context.Context, ids []int64, fn func(id int64, data []byte) error) error {
	if s.long {
		data := make(map[int64][]byte, len(s.rows))
		for i := range s.rows {
			data[s.rows[i].ID] = s.rows[i].Data
		}
		for _, id := range ids {
			if err := fn(id, data[id]); err != nil {
				return err
			}
		}
		return nil
	}
	return chunked(ids, func(some []int64) error {
		cursor, err := s.b.tail.Find(ctx, bson.D{{Key: "_id", Value: anyOf(some)}}, only("data").SetBatchSize(steps.BatchSize))
		if err != nil {
			return err
		}
		n := 0
		for ; err == nil && cursor.Next(ctx); n++ {
			_, data, _ := cursor.Current.Lookup("data").BinaryOK()
			err = fn(cursor.Current.Lookup("_id").Int64(), data)
		}
		if err := errors.Join(err, cursor.Err(), cursor.Close(context.WithoutCancel(ctx))); err != nil {
			return err
		}
		if n < len(some) {
			return tsdb.ErrStale // folded and removed since
		}
		return nil
	})
}

// Bytes implements tsdb.Snapshot: the size of the stored documents that no later version has replaced.
func (s *logSnapshot) Bytes(ctx context.Context, scope int64) (int64, error) {
	either := bson.A{}
	for _, table := range []tsdb.Table{tsdb.Sums, tsdb.Cells, tsdb.Days, chunkData} {
		either = append(either, bson.D{{Key: "k", Value: bson.D{
			{Key: "$gte", Value: orderedKey(table, scope, math.MinInt64, math.MinInt64)}, {Key: "$lte", Value: orderedKey(table, scope, math.MaxInt64, math.MaxInt64)},
		}}})
	}
	cursor, err := s.b.docs.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "$or", Value: either}, {Key: "gone", Value: nil}}}},
		bson.D{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: nil}, {Key: "bytes", Value: bson.D{{Key: "$sum", Value: bson.D{{Key: "$bsonSize", Value: "$$ROOT"}}}}},
		}}},
	})
	if err != nil {
		return 0, err
	}
	var sums []struct{ Bytes int64 }
	if err := cursor.All(ctx, &sums); err != nil || len(sums) == 0 {
		return 0, err
	}
	return sums[0].Bytes, nil
}
