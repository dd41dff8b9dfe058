package tsdbtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// Backend is the suite for tsdb.Backend.
func Backend(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *processes){
		"numbers are given once, and rows are found":      backendNumbers,
		"a checkpoint and a record come with their batch": backendEffects,
		"names and homes":                   backendNames,
		"graves":                            backendGraves,
		"a device that moves":               engineMoves,
		"one at a time changes a partition": backendBusy,
		"a function's error stores nothing": backendRefusal,
		"a long document comes back whole":  backendLong,
		"scattered keys are found":          backendScattered,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := h.start(t)
			defer p.end()
			test(t, p)
		})
	}
	t.Run("snapshots equal a model", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) {
			m := &backendModel{T: rt, p: h.start(t), rows: map[int64]tsdb.Row{}, docs: map[tsdb.Key]tsdb.Doc{}, horizon: math.MinInt64}
			defer m.p.end()
			m.makeDevices()
			rt.Repeat(map[string]func(*rapid.T){
				"append":   m.append,
				"append 2": m.append,
				"update":   m.update,
				"update 2": m.update,
				"view":     m.view,
				"long":     m.longView,
				"horizon":  m.moveHorizon,
				"reopen":   m.reopen,
			})
			m.view(rt)
		})
	})
}

func must(t interface {
	Helper()
	Fatal(args ...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scopes are those of the tests' devices. There are so many that some share a partition and some do not, however many there are.
var scopes = []hearth.Scope{hearth.UserScope("u1"), hearth.UserScope("u2"), hearth.UserScope("u3")} // never written to

// deviceOf returns a new device and its scope's key.
func deviceOf(t testing.TB, db Database, scope hearth.Scope) (device, key int64) {
	t.Helper()
	device, err := db.AddDevice(t.Context(), scope)
	must(t, err)
	homes, err := db.Backend.Homes(t.Context(), []int64{device})
	must(t, err)
	if homes[device] < 1 {
		t.Fatalf("the homes of device %d are %v", device, homes)
	}
	return device, homes[device]
}

func batchOf(scope, device int64, n int) *tsdb.Batch {
	b := &tsdb.Batch{Series: []codec.Series{{Scope: scope, Device: device, Event: 1}}, Size: n}
	for i := range n {
		b.Entries = append(b.Entries, codec.Entry{At: 1000 + int64(i), Seq: uint64(i), Value: float64(i)})
	}
	return b
}

func tailOf(t testing.TB, db Database) (rows []tsdb.TailRow) {
	t.Helper()
	must(t, db.Backend.View(t.Context(), tsdb.ViewOptions{Operation: "Test"}, func(s tsdb.Snapshot) (err error) {
		rows, err = s.Tail(t.Context(), math.MinInt64, math.MaxInt64)
		return err
	}))
	return rows
}

func backendNumbers(t *testing.T, p *processes) {
	device, scope := deviceOf(t, p.all[0], scopes[0])
	batches := make([]*tsdb.Batch, 40)
	failed := make(chan error, len(batches))
	for i := range batches {
		batches[i] = batchOf(scope, device, i%4)
		go func() { failed <- p.all[i%len(p.all)].Backend.Append(context.Background(), batches[i]) }()
	}
	for range batches {
		must(t, <-failed)
	}
	seen := map[uint64]bool{}
	want := map[int64]*tsdb.Row{}
	for _, b := range batches {
		for i := range b.Size {
			if n := b.First + uint64(i); n == 0 || seen[n] {
				t.Errorf("the number %d is given twice", n)
			} else {
				seen[n] = true
			}
		}
		if b.Size > 0 {
			for _, row := range b.Rows {
				want[row.ID] = row
			}
		} else if b.Rows != nil {
			t.Error("a batch without logs has a row")
		}
	}
	for _, db := range p.all {
		got := tailOf(t, db)
		if len(got) != len(want) {
			t.Errorf("the tail has %d rows, want %d", len(got), len(want))
		}
		for _, row := range got {
			if w := want[row.ID]; w == nil || !sameRow(row, w.TailRow) {
				t.Errorf("the tail has %+v, want %+v", row, w)
			}
		}
	}
}

func sameRow(a, b tsdb.TailRow) bool {
	return a.ID == b.ID && a.Last == b.Last && a.Entries == b.Entries && a.MinAt == b.MinAt && a.MaxAt == b.MaxAt && slices.Equal(a.Partitions, b.Partitions)
}

func backendEffects(t *testing.T, p *processes) {
	device, scope := deviceOf(t, p.all[0], scopes[0])
	record := func(fingerprint string) *hearth.IdempotencyRecord {
		return &hearth.IdempotencyRecord{
			Caller: "c", Key: "k", Fingerprint: fingerprint, Operation: "o", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
		}
	}
	first := batchOf(scope, device, 2)
	first.Checkpoint = &hearth.Checkpoint{ID: "i", Rows: 2, Mark: []byte{1}}
	first.Effects.Idempotency = record("f")
	must(t, p.all[0].Backend.Append(t.Context(), first))
	for _, db := range p.all {
		again := batchOf(scope, device, 2)
		again.Checkpoint = &hearth.Checkpoint{ID: "i", Rows: 4}
		again.Effects.Idempotency = record("f")
		err := db.Backend.Append(t.Context(), again)
		replayed, ok := errors.AsType[*hearth.Replayed](err)
		if !ok || replayed.Record.FirstLog != first.First {
			t.Errorf("the second time says %v, %+v; want the first log %d", err, replayed, first.First)
		}
		again.Effects.Idempotency = record("g")
		if err := db.Backend.Append(t.Context(), again); hearth.ErrorCode(err) != hearth.CodeIdempotencyMismatch {
			t.Errorf("another request with the key says %v", err)
		}
		c, err := db.Checkpoint(t.Context(), "i")
		if err != nil || c.Rows != 2 || !bytes.Equal(c.Mark, []byte{1}) {
			t.Errorf("the checkpoint is %+v, %v", c, err)
		}
		if rows := tailOf(t, db); len(rows) != 1 || rows[0].Entries != 2 {
			t.Errorf("the tail is %+v", rows)
		}
	}
	// Also without logs, and the newest one holds; folding the rows leaves it.
	must(t, p.all[0].Backend.Append(t.Context(), &tsdb.Batch{Checkpoint: &hearth.Checkpoint{ID: "i", Rows: 9}}))
	for _, row := range tailOf(t, p.all[0]) {
		for _, partition := range row.Partitions {
			must(t, p.all[0].Backend.Update(t.Context(), "Test", partition, func(tsdb.Snapshot) (*tsdb.Change, error) {
				return &tsdb.Change{Folded: []int64{row.ID}}, nil
			}))
		}
	}
	if c, err := p.all[len(p.all)-1].Checkpoint(t.Context(), "i"); err != nil || c.Rows != 9 {
		t.Errorf("the checkpoint is %+v, %v", c, err)
	}
	if rows := tailOf(t, p.all[0]); len(rows) != 0 {
		t.Errorf("the tail is %+v", rows)
	}
}

func backendNames(t *testing.T, p *processes) {
	device, scope := deviceOf(t, p.all[0], scopes[0])
	other, otherScope := deviceOf(t, p.all[0], scopes[1])
	if scope == otherScope {
		t.Errorf("two scopes have the key %d", scope)
	}
	ctx := t.Context()
	names := map[string]int64{}
	for _, db := range p.all {
		b := db.Backend
		found, err := b.ScopeKeys(ctx, []hearth.Scope{scopes[0], "nobody's"})
		must(t, err)
		if !maps.Equal(found, map[hearth.Scope]int64{scopes[0]: scope}) {
			t.Errorf("the keys of scopes are %v", found)
		}
		homes, err := b.Homes(ctx, []int64{device, other, 1 << 40})
		must(t, err)
		if !maps.Equal(homes, map[int64]int64{device: scope, other: otherScope}) {
			t.Errorf("the homes are %v", homes)
		}
		found2, err := b.EventKeys(ctx, []string{"never"}, false)
		must(t, err)
		if len(found2) != 0 {
			t.Errorf("an event that never was has the key %v", found2)
		}
		made, err := b.EventKeys(ctx, []string{"a", "b"}, true)
		must(t, err)
		if made["a"] < 1 || made["b"] < 1 || made["a"] == made["b"] || len(names) > 0 && !maps.Equal(made, names) {
			t.Errorf("the keys of events are %v, before %v", made, names)
		}
		names = made
		var back map[int64]string
		must(t, b.View(ctx, tsdb.ViewOptions{Operation: "Test"}, func(s tsdb.Snapshot) (err error) {
			back, err = s.EventNames(ctx, []int64{made["a"], made["b"], 1 << 40})
			return err
		}))
		if !maps.Equal(back, map[int64]string{made["a"]: "a", made["b"]: "b"}) {
			t.Errorf("the names of %v are %v", made, back)
		}
		if part := b.Partition(scope); part != p.all[0].Backend.Partition(scope) || part < 0 || part >= b.Partitions() {
			t.Errorf("scope %d is in partition %d of %d", scope, part, b.Partitions())
		}
	}
}

func backendGraves(t *testing.T, p *processes) {
	ctx, db, b := t.Context(), p.all[0], p.all[len(p.all)-1].Backend
	device, scope := deviceOf(t, db, scopes[0])
	second, _ := deviceOf(t, db, scopes[0])
	third, otherScope := deviceOf(t, db, scopes[1])
	for _, key := range []int64{device, second, third} {
		must(t, db.DeleteDevice(ctx, key))
	}
	homes, err := b.Homes(ctx, []int64{device, third})
	must(t, err)
	if len(homes) > 0 {
		t.Errorf("deleted devices have the homes %v", homes)
	}
	all := []tsdb.Grave{{Device: device, Scope: scope}, {Device: second, Scope: scope}, {Device: third, Scope: otherScope}}
	graves := func(scopes []int64) (out []tsdb.Grave) {
		must(t, b.View(ctx, tsdb.ViewOptions{Operation: "Test", Scopes: scopes}, func(s tsdb.Snapshot) error {
			out = s.Graves()
			return nil
		}))
		slices.SortFunc(out, func(a, b tsdb.Grave) int { return cmp.Compare(a.Device, b.Device) })
		return out
	}
	if got := graves(nil); !slices.Equal(got, all) {
		t.Errorf("the graves are %v, want %v", got, all)
	}
	for _, g := range all {
		if !slices.Contains(graves([]int64{g.Scope}), g) {
			t.Errorf("the grave %v is not seen from its scope", g)
		}
	}
	due := func(clean time.Time, limit int) []tsdb.Grave {
		got, err := b.DueGraves(ctx, clean, limit)
		must(t, err)
		return got
	}
	if got := due(time.Time{}, 1); len(got) != 1 || !slices.Contains(all, got[0]) {
		t.Errorf("the first due grave is %v", got)
	}
	now := time.UnixMilli(1_700_000_000_000)
	for range all { // one scope at a time
		got := due(time.Time{}, 10)
		for _, g := range got {
			if g.Scope != got[0].Scope {
				t.Errorf("graves of different scopes are due at once: %v", got)
			}
		}
		must(t, b.Cleaned(ctx, got, now))
	}
	if got := due(time.Time{}, 10); len(got) > 0 {
		t.Errorf("due after cleaning: %v", got)
	}
	if got := due(now, 10); len(got) > 0 {
		t.Errorf("cleaned before the time of the cleaning: %v", got)
	}
	for range all {
		for _, g := range due(now.Add(time.Millisecond), 10) {
			must(t, b.RemoveGraves(ctx, []tsdb.Grave{g}))
		}
	}
	if got := append(graves(nil), due(now.Add(time.Hour), 10)...); len(got) > 0 {
		t.Errorf("graves after their removal: %v", got)
	}
}

func backendBusy(t *testing.T, p *processes) {
	ctx := t.Context()
	_, scope := deviceOf(t, p.all[0], scopes[0])
	last := p.all[len(p.all)-1].Backend
	part := last.Partition(scope)
	doc := func(n int64) *tsdb.Change {
		return &tsdb.Change{Put: []tsdb.Doc{{Key: tsdb.Key{Table: tsdb.Sums, Scope: scope}, Entries: n, MinAt: 1, MaxAt: 2}}}
	}
	stored := 0
	err := p.all[0].Backend.Update(ctx, "Test", part, func(tsdb.Snapshot) (*tsdb.Change, error) {
		err := last.Update(ctx, "Test", part, func(tsdb.Snapshot) (*tsdb.Change, error) { return doc(2), nil })
		if err == nil {
			stored++
		} else if !errors.Is(err, tsdb.ErrBusy) {
			return nil, err
		}
		return doc(1), nil
	})
	if err == nil {
		stored++
	} else if !errors.Is(err, tsdb.ErrBusy) {
		t.Fatal(err)
	}
	if stored != 1 {
		t.Errorf("%d of two changes at once are stored", stored)
	}
	// Another partition is free meanwhile.
	if last.Partitions() > 1 {
		must(t, p.all[0].Backend.Update(ctx, "Test", part, func(tsdb.Snapshot) (*tsdb.Change, error) {
			other := (part + 1) % last.Partitions()
			return doc(3), last.Update(ctx, "Test", other, func(tsdb.Snapshot) (*tsdb.Change, error) { return nil, nil })
		}))
	}
}

func backendRefusal(t *testing.T, p *processes) {
	device, scope := deviceOf(t, p.all[0], scopes[0])
	b := p.all[0].Backend
	batch := batchOf(scope, device, 1)
	must(t, b.Append(t.Context(), batch))
	refusal := errors.New("no")
	for _, r := range []error{refusal, tsdb.ErrStale, nil} {
		err := b.Update(t.Context(), "Test", b.Partition(scope), func(tsdb.Snapshot) (*tsdb.Change, error) {
			if r == nil {
				return nil, nil
			}
			return &tsdb.Change{Put: []tsdb.Doc{{Key: tsdb.Key{Scope: scope}}}, Folded: []int64{batch.Rows[0].ID}}, r
		})
		if !errors.Is(err, r) {
			t.Errorf("the error is %v, want %v", err, r)
		}
	}
	if rows := tailOf(t, p.all[0]); len(rows) != 1 {
		t.Errorf("the tail is %+v", rows)
	}
	must(t, b.View(t.Context(), tsdb.ViewOptions{Operation: "Test"}, func(s tsdb.Snapshot) error {
		return s.Find(t.Context(), tsdb.Query{Major: tsdb.Everything, Minor: tsdb.Everything}, func(d *tsdb.Doc) error {
			return fmt.Errorf("there is %+v", d.Key)
		})
	}))
	if err := b.View(t.Context(), tsdb.ViewOptions{Operation: "Test"}, func(tsdb.Snapshot) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("the view's error is %v", err)
	}
}

func backendScattered(t *testing.T, p *processes) {
	_, scope := deviceOf(t, p.all[0], scopes[0])
	b := p.all[0].Backend
	change := &tsdb.Change{}
	missing := map[tsdb.Key]bool{}
	var keys []tsdb.Key
	for i := range int64(80) {
		key := tsdb.Key{Table: tsdb.Days, Scope: scope, Major: i * 7 % 40, Minor: i}
		change.Put = append(change.Put, tsdb.Doc{Key: key})
		if i%3 > 0 {
			keys = append(keys, key, tsdb.Key{Table: tsdb.Days, Scope: scope, Major: key.Major + 100, Minor: i})
			missing[key] = true
		}
	}
	must(t, b.Update(t.Context(), "Test", b.Partition(scope), func(tsdb.Snapshot) (*tsdb.Change, error) { return change, nil }))
	must(t, b.View(t.Context(), tsdb.ViewOptions{Operation: "Test"}, func(s tsdb.Snapshot) error {
		return s.Get(t.Context(), keys, tsdb.NoData, func(d *tsdb.Doc) error {
			if !missing[d.Key] {
				t.Errorf("%+v was not asked for, or comes twice", d.Key)
			}
			delete(missing, d.Key)
			return nil
		})
	}))
	if len(missing) > 0 {
		t.Errorf("%d keys are not found", len(missing))
	}
}

func backendLong(t *testing.T, p *processes) {
	_, scope := deviceOf(t, p.all[0], scopes[0])
	b := p.all[0].Backend
	key := tsdb.Key{Table: tsdb.Cells, Scope: scope, Minor: 7}
	for size := 1 << 20; size <= 20<<20; size += 19 << 20 {
		doc := tsdb.Doc{Key: key, Data: [3][]byte{bytes.Repeat([]byte{1, 2}, size/4), nil, bytes.Repeat([]byte{3}, size/2)}}
		must(t, b.Update(t.Context(), "Test", b.Partition(scope), func(tsdb.Snapshot) (*tsdb.Change, error) {
			return &tsdb.Change{Put: []tsdb.Doc{doc}}, nil
		}))
		for _, fields := range []tsdb.Fields{tsdb.AllData, {false, false, true}, tsdb.NoData} {
			n := 0
			must(t, p.all[len(p.all)-1].Backend.View(t.Context(), tsdb.ViewOptions{Operation: "Test"}, func(s tsdb.Snapshot) error {
				return s.Get(t.Context(), []tsdb.Key{key}, fields, func(d *tsdb.Doc) error {
					n++
					for i := range d.Data {
						if want := doc.Data[i]; fields[i] && !bytes.Equal(d.Data[i], want) || !fields[i] && d.Data[i] != nil {
							t.Errorf("of %d bytes %d come back in part %d, asked for %v", len(want), len(d.Data[i]), i, fields)
						}
					}
					return nil
				})
			}))
			if n != 1 {
				t.Errorf("%d documents come back", n)
			}
		}
	}
}
