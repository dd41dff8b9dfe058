package tsdbtest

import (
	"context"
	"time"

	"hearth/internal/tsdb"
)

// Faults is a Backend that asks At at every call what goes wrong there. At returns nil where nothing does, an error that the point
// may have (tsdb.ErrStale at "find", tsdb.ErrBusy at "update"), or any other as the death of the process: before the effect of the
// call, or after it, when only the answer is lost. The points are, in the order in which they come about:
//
//	append, appended         around Append
//	view                     before a View
//	find, document           before a search of a snapshot, and before each document of it
//	update, decided, updated before an Update, before it stores what its function returned, and after that
//	horizon, horizon moved   around MoveHorizon
//	graves, graves changed   around Cleaned and RemoveGraves
type Faults struct {
	tsdb.Backend
	At func(point string) error
}

// around calls do between two points.
func (f *Faults) around(before, after string, do func() error) error {
	if err := f.At(before); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.At(after)
}

// Append implements tsdb.Backend.
func (f *Faults) Append(ctx context.Context, batch *tsdb.Batch) error {
	return f.around("append", "appended", func() error { return f.Backend.Append(ctx, batch) })
}

// View implements tsdb.Backend.
func (f *Faults) View(ctx context.Context, options tsdb.ViewOptions, fn func(tsdb.Snapshot) error) error {
	if err := f.At("view"); err != nil {
		return err
	}
	return f.Backend.View(ctx, options, func(s tsdb.Snapshot) error { return fn(&faultySnapshot{s, f.At}) })
}

// Update implements tsdb.Backend.
func (f *Faults) Update(ctx context.Context, operation string, partition int, fn func(tsdb.Snapshot) (*tsdb.Change, error)) error {
	return f.around("update", "updated", func() error {
		return f.Backend.Update(ctx, operation, partition, func(s tsdb.Snapshot) (*tsdb.Change, error) {
			change, err := fn(&faultySnapshot{s, f.At})
			if err == nil && change != nil {
				err = f.At("decided")
			}
			return change, err
		})
	})
}

// MoveHorizon implements tsdb.Backend.
func (f *Faults) MoveHorizon(ctx context.Context, from, to int64) error {
	return f.around("horizon", "horizon moved", func() error { return f.Backend.MoveHorizon(ctx, from, to) })
}

// Cleaned implements tsdb.Backend.
func (f *Faults) Cleaned(ctx context.Context, graves []tsdb.Grave, at time.Time) error {
	return f.around("graves", "graves changed", func() error { return f.Backend.Cleaned(ctx, graves, at) })
}

// RemoveGraves implements tsdb.Backend.
func (f *Faults) RemoveGraves(ctx context.Context, graves []tsdb.Grave) error {
	return f.around("graves", "graves changed", func() error { return f.Backend.RemoveGraves(ctx, graves) })
}

type faultySnapshot struct {
	tsdb.Snapshot
	at func(string) error
}

func (s *faultySnapshot) Tail(ctx context.Context, from, to int64) ([]tsdb.TailRow, error) {
	if err := s.at("find"); err != nil {
		return nil, err
	}
	return s.Snapshot.Tail(ctx, from, to)
}

func (s *faultySnapshot) TailData(ctx context.Context, ids []int64, fn func(int64, []byte) error) error {
	if err := s.at("find"); err != nil {
		return err
	}
	return s.Snapshot.TailData(ctx, ids, fn)
}

func (s *faultySnapshot) Find(ctx context.Context, query tsdb.Query, fn func(*tsdb.Doc) error) error {
	if err := s.at("find"); err != nil {
		return err
	}
	return s.Snapshot.Find(ctx, query, s.each(fn))
}

func (s *faultySnapshot) Get(ctx context.Context, keys []tsdb.Key, data tsdb.Fields, fn func(*tsdb.Doc) error) error {
	if err := s.at("find"); err != nil {
		return err
	}
	return s.Snapshot.Get(ctx, keys, data, s.each(fn))
}

func (s *faultySnapshot) each(fn func(*tsdb.Doc) error) func(*tsdb.Doc) error {
	return func(d *tsdb.Doc) error {
		if err := s.at("document"); err != nil {
			return err
		}
		return fn(d)
	}
}
