package tsdb

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/tsdb/codec"
)

// moveTries bounds how often a step of a move begins anew because others change the same partition.
const moveTries = 100

// maxMoveDays bounds the days that one step of Reclaim takes from a device that moved.
const maxMoveDays = 16

// Copy stores the logs that a device has in one scope in another one too, under their numbers, but for those that the other
// has; it may be done again after any failure. Of which scope readers see the device's logs is the backend's graves' business.
func (e *Engine) Copy(ctx context.Context, device, from, to int64) error {
	if err := e.foldStored(ctx, func(p int) bool { return p == e.backend.Partition(from) }); err != nil {
		return err
	}
	for next := Everything.From; ; {
		day, found, err := e.firstDay(ctx, device, from, next)
		if err != nil || !found {
			return err
		}
		if _, err := e.copyDay(ctx, device, from, to, day); err != nil {
			return err
		}
		next = day + 1
	}
}

// Move is how a backend gives a device to another scope.
type Move struct {
	Device int64
	// Begin hides what the device's new scope gets of its logs, and returns both scopes.
	Begin func(ctx context.Context) (from, to int64, err error)
	// End changes the device's scope and what is hidden, in one atomic step.
	End func(ctx context.Context, from, to int64) error
	// Drop lets Reclaim have what was copied for a move that does not come about.
	Drop func(ctx context.Context) error
}

// Move moves a device with its logs: they are copied to where nobody sees them yet, and seen there from one moment on. After an error the
// device is where it was.
func (e *Engine) Move(ctx context.Context, move Move) error {
	from, to, err := move.Begin(ctx)
	if err == nil {
		err = e.Copy(ctx, move.Device, from, to)
	}
	if err == nil {
		err = move.End(ctx, from, to)
	}
	if err != nil {
		return errors.Join(err, move.Drop(context.WithoutCancel(ctx)))
	}
	// What came in meanwhile. If this fails, Reclaim does it.
	if err := e.Copy(context.WithoutCancel(ctx), move.Device, from, to); err != nil {
		e.options.Logger.WarnContext(ctx, "the newest logs of a device are moved to its scope later", "device", move.Device, "err", err)
	}
	return nil
}

// firstDay returns the first day, from a day on, on which the device has logs in a scope.
func (e *Engine) firstDay(ctx context.Context, device, scope, from int64) (day int64, found bool, err error) {
	err = e.insist(ctx, func() (err error) {
		day, found, err = e.dayOf(ctx, scope, from, map[int64]bool{device: true})
		return err
	})
	return day, found, err
}

// insist does what others may overtake until they do not.
func (e *Engine) insist(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrStale) || try == moveTries {
			return err
		}
		if late := pause(ctx, try); late != nil {
			return errors.Join(late, err)
		}
	}
}

// dayLogs returns the logs of a device, and their series, on a day of a scope.
func (m *merge) dayLogs(device, scope, day int64) (batch codec.Chunk, err error) {
	in := timeRange{from: max(codec.BucketStart(codec.LevelDay, day), m.s.Horizon()), to: codec.BucketStart(codec.LevelDay, day+1)}
	if in.from >= in.to {
		return batch, nil
	}
	keys, err := m.chunksOf(scope, in.from, in.to)
	if err != nil {
		return batch, err
	}
	place := codec.NewSeriesMerge(&batch.Series)
	var chunk codec.Chunk
	of := func(s codec.Series) bool { return s.Device == device }
	for _, key := range keys {
		err := m.s.Get(m.ctx, []Key{key}, MainData, func(d *Doc) error { return m.decoder.Decode(&chunk, d.Data[0], of) })
		if err != nil {
			return batch, err
		}
		for _, entry := range in.of(&chunk) {
			entry.Series = place.Place(chunk.Series[entry.Series])
			batch.Entries = append(batch.Entries, entry)
		}
	}
	batch.SortSeries()
	return batch, nil
}

// numbersOf returns the numbers of logs.
func numbersOf(b *codec.Chunk) map[uint64]bool {
	out := make(map[uint64]bool, len(b.Entries))
	for i := range b.Entries {
		out[b.Entries[i].Seq] = true
	}
	return out
}

// copyDay copies the logs of a day; it returns their numbers.
func (e *Engine) copyDay(ctx context.Context, device, from, to, day int64) (copied map[uint64]bool, err error) {
	var logs codec.Chunk
	err = e.insist(ctx, func() error {
		return e.backend.View(ctx, ViewOptions{Operation: "Move", Scopes: []int64{from}}, func(s Snapshot) (err error) {
			logs, err = e.newMerge(ctx, s).dayLogs(device, from, day)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	for entries := range slices.Chunk(logs.Entries, maxRecount) {
		err := e.insist(ctx, func() error {
			return e.update(ctx, "Move", to, func(s Snapshot) (*Change, error) {
				m := e.newMerge(ctx, s)
				there, err := m.dayLogs(device, to, day)
				if err != nil {
					return nil, err
				}
				stored := numbersOf(&there)
				missing := slices.DeleteFunc(slices.Clone(entries), func(entry codec.Entry) bool { return stored[entry.Seq] })
				if len(missing) == 0 {
					return nil, nil
				}
				pieces, err := m.pieces(to, logs.Series, missing)
				if err != nil {
					return nil, err
				}
				if err := m.addRollups(to, codec.SumUp(logs.Series, missing)); err != nil {
					return nil, err
				}
				if err := m.addChunks(pieces); err != nil {
					return nil, err
				}
				return m.finish()
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return numbersOf(&logs), nil
}

// reclaimMoved takes some days of a device that moved out of the scopes that it left.
func (e *Engine) reclaimMoved(ctx context.Context, graves []Grave, clean bool) error {
	switch more, err := e.emptyGraves(ctx, graves); {
	case err != nil || more:
		return passBusy(err)
	case clean:
		return e.backend.RemoveGraves(ctx, graves)
	}
	return e.backend.Cleaned(ctx, graves, e.options.Clock.Now())
}

// emptyGraves moves some days of a device out of scopes that it left, after its own scope has them; nobody has them if the
// device was deleted since. more says that there may be others.
func (e *Engine) emptyGraves(ctx context.Context, graves []Grave) (more bool, err error) {
	device := graves[0].Device
	homes, err := e.backend.Homes(ctx, []int64{device})
	if err != nil {
		return false, err
	}
	home, days := homes[device], 0
	for _, grave := range graves {
		if err := e.foldStored(ctx, func(p int) bool { return p == e.backend.Partition(grave.Scope) }); err != nil {
			return false, err
		}
		for ; days < maxMoveDays; days++ {
			day, found, err := e.firstDay(ctx, device, grave.Scope, Everything.From)
			if err != nil {
				return false, err
			}
			if !found {
				break
			}
			var copied map[uint64]bool
			if home != 0 {
				if copied, err = e.copyDay(ctx, device, grave.Scope, home, day); err != nil {
					return false, err
				}
			}
			if err := e.removeDay(ctx, grave, day, copied); err != nil {
				return true, err
			}
		}
	}
	return days > 0, nil
}

// settleMoves has all logs of a device in its own scope, so that what is deleted there does not come back from another.
func (e *Engine) settleMoves(ctx context.Context, device int64) error {
	var graves []Grave
	err := e.backend.View(ctx, ViewOptions{Operation: "DeleteLogs"}, func(s Snapshot) error {
		graves = nil
		for _, grave := range s.Graves() {
			if grave.Moved && grave.Device == device {
				graves = append(graves, grave)
			}
		}
		return nil
	})
	for more := len(graves) > 0; more && err == nil; {
		err = e.insist(ctx, func() (err error) {
			more, err = e.emptyGraves(ctx, graves)
			return err
		})
	}
	return err
}

// removeDay removes the logs of a grave's device on a day, all of which were copied; a nil copied removes all. ErrBusy if one
// was not, or the grave is gone.
func (e *Engine) removeDay(ctx context.Context, grave Grave, day int64, copied map[uint64]bool) error {
	return e.update(ctx, "Reclaim", grave.Scope, func(s Snapshot) (*Change, error) {
		if !slices.Contains(s.Graves(), grave) {
			return nil, ErrBusy
		}
		m := e.newMerge(ctx, s)
		logs, err := m.dayLogs(grave.Device, grave.Scope, day)
		if err != nil {
			return nil, err
		}
		if copied != nil && slices.ContainsFunc(logs.Entries, func(entry codec.Entry) bool { return !copied[entry.Seq] }) {
			return nil, ErrBusy
		}
		start := codec.BucketStart(codec.LevelDay, day)
		keys, err := m.chunksOf(grave.Scope, start, start+codec.DayMillis)
		if err != nil {
			return nil, err
		}
		keep := func(s *codec.Series, at int64) bool {
			return s.Device != grave.Device || at < start || at >= start+codec.DayMillis
		}
		if _, err := m.filterChunks(keys, keep); err != nil {
			return nil, err
		}
		if err := m.replaceDay(grave.Scope, day, keep); err != nil {
			return nil, err
		}
		return m.finish()
	})
}
