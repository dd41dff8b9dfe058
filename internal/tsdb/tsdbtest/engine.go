package tsdbtest

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// Engine is the suite for tsdb.Engine over a backend.
func Engine(t *testing.T, h Harness) {
	t.Run("answers equal a model, whatever happens", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(rt, h.start(t))
			defer func() {
				m.stop()
				m.p.end()
			}()
			m.addDevice(rt)
			m.addDevice(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"append":   m.append,
				"append 2": m.append,
				"new":      m.appendNew,
				"device":   m.addDevice,
				"delete":   m.deleteDevice,
				"move":     m.moveDevice,
				"fold":     m.fold,
				"trim":     m.trim,
				"reclaim":  m.reclaim,
				"erase":    m.erase,
				"reopen":   m.reopen,
				"crash":    m.crash,
				"overtake": m.overtake,
				"rollups":  m.rollups,
				"logs":     m.logs,
				"scan":     m.scan,
				"latest":   m.latest,
				"states":   m.states,
				"count":    m.count,
			})
			m.rollups(rt)
			m.scan(rt)
			m.count(rt)
			m.latest(rt)
			m.reconcile()
			m.latest(rt)
		})
	})
	t.Run("a crash at any call loses and doubles nothing", func(t *testing.T) {
		t.Parallel()
		engineCrashes(t, h)
	})
	t.Run("reconciling mends damaged rollups", func(t *testing.T) {
		t.Parallel()
		p := h.start(t)
		defer p.end()
		engineReconciles(t, p)
	})
	t.Run("changes of more devices than are looked at together", func(t *testing.T) {
		t.Parallel()
		p := h.start(t)
		defer p.end()
		engineChanges(t, p)
	})
	t.Run("a device and a scope have as many events as they may", func(t *testing.T) {
		t.Parallel()
		p := h.start(t)
		defer p.end()
		engineEvents(t, p)
	})
	t.Run("a scope has as many bytes as it may", func(t *testing.T) {
		t.Parallel()
		p := h.start(t)
		defer p.end()
		engineBytes(t, p)
	})
}

// engineChanges asks for the rises of many devices: each one's is 1, of which some are in the tail.
func engineChanges(t *testing.T, p *processes) {
	const n = 64*codec.GroupSize + 100
	ctx, db := t.Context(), p.all[0]
	e, err := tsdb.New(db.Backend, quiet(512, nil))
	must(t, err)
	var folded, tail []hearth.LogEntry
	for i := range n {
		device, err := db.AddDevice(ctx, scopes[i%2])
		must(t, err)
		log := hearth.LogEntry{Device: device, Event: "a", Value: hearth.Number(float64(i)), At: noon.UnixMilli()}
		folded = append(folded, log)
		log.Value, log.At = hearth.Number(float64(i+1)), noon.Add(90*time.Minute).UnixMilli()
		if i%10 == 0 {
			tail = append(tail, log)
		} else {
			folded = append(folded, log)
		}
	}
	_, err = e.AppendLogs(ctx, folded, nil, hearth.SideEffects{})
	must(t, err)
	must(t, e.FoldAll(ctx))
	_, err = e.AppendLogs(ctx, tail, nil, hearth.SideEffects{})
	must(t, err)
	for _, step := range []hearth.Step{hearth.StepMinute, hearth.StepHour, hearth.StepDay} {
		for _, from := range []time.Time{noon, noon.Add(time.Minute), noon.Add(12 * time.Hour)} {
			got, err := e.Rollups(ctx, hearth.RollupQuery{
				Reach: hearth.Reach{All: true}, Event: "a", Span: hearth.Span{From: from, To: noon.Add(24 * time.Hour)},
				Groupings: []hearth.Grouping{{Step: step, Changes: true}},
			})
			must(t, err)
			increase := 0.0
			for _, group := range got[0] {
				increase += group.Change.Increase
			}
			want := float64(n)
			if from.After(noon.Add(2 * time.Hour)) {
				want = 0
			}
			if increase != want {
				t.Errorf("from %s by %s the increase is %v, want %v", from, time.Duration(step), increase, want)
			}
		}
	}
}

// errDead is the error of everything that a dead process does.
var errDead = errors.New("the process died")

// quiet folds only when a test says so.
func quiet(chunkRows int, clock hearth.Clock) tsdb.Options {
	return tsdb.Options{FoldRows: 1 << 20, FoldIdle: time.Hour, FoldAge: time.Hour, ChunkRows: chunkRows, Clock: clock}
}

// everything is a span that holds all logs.
var everything = hearth.Span{From: time.UnixMilli(-62135596800000), To: time.UnixMilli(253402300800000)} // never written to

// noon is the time around which the suite's logs are: a day that months and hours are far from.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) // never written to

func scanned(t interface {
	Helper()
	Fatal(args ...any)
}, e *tsdb.Engine, scan hearth.LogScan) (out []hearth.LogEntry) {
	t.Helper()
	for entry, err := range e.ScanLogs(context.Background(), scan) {
		must(t, err)
		out = append(out, entry)
	}
	return out
}

// countedInEveryWay counts all logs in every way that there is, and fails unless all agree; it returns the number.
func countedInEveryWay(t testing.TB, e *tsdb.Engine) int64 {
	t.Helper()
	all := hearth.Reach{All: true}
	n := int64(len(scanned(t, e, hearth.LogScan{Reach: all, Span: everything})))
	groupings := []hearth.Grouping{
		{Sketch: true}, {ByDevice: true}, {ByEvent: true, Step: hearth.StepDay, Sketch: true}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour},
		{Step: hearth.StepMinute}, {ByDevice: true, Sketch: true, Step: hearth.StepDay},
	}
	out, err := e.Rollups(t.Context(), hearth.RollupQuery{Reach: all, Span: everything, Groupings: groupings})
	must(t, err)
	for i, groups := range out {
		sum, inSketch := int64(0), int64(0)
		for _, g := range groups {
			sum += g.Count
			if g.Sketch != nil {
				inSketch += g.Sketch.Count()
			}
		}
		if sum != n || groupings[i].Sketch && inSketch != n {
			t.Errorf("grouping %+v has %d logs (%d in sketches), the scan %d", groupings[i], sum, inSketch, n)
		}
	}
	if counted, err := e.CountLogs(t.Context(), all); err != nil || counted != n {
		t.Errorf("%d logs are counted (%v), the scan has %d", counted, err, n)
	}
	return n
}

// logsOfDays returns n logs that go through the devices, the hours of some days, and two events.
func logsOfDays(devices []int64, n int) []hearth.LogEntry {
	entries := make([]hearth.LogEntry, n)
	for i := range entries {
		entries[i] = hearth.LogEntry{
			Device: devices[i%len(devices)], Event: []string{"a", "b"}[i/2%2], Value: hearth.Number(float64(i%7) / 2),
			At: time.Date(2026, 3, 14, 22, 0, 0, 0, time.UTC).Add(time.Duration(i) * 7 * time.Minute).UnixMilli(),
		}
	}
	return entries
}

// engineCrashes ends a process at each of its calls in turn, of appending, folding, trimming, and reclaiming what a deleted device had;
// later ones more and more rarely. Another process goes on.
func engineCrashes(t *testing.T, h Harness) {
	for left := 0; crashesAt(t, h, left); left += 1 + left/20 {
		if t.Failed() {
			return
		}
	}
}

// crashesAt reports whether the process died.
func crashesAt(t *testing.T, h Harness, left int) bool {
	const atOnce = 9
	p := h.start(t)
	defer p.end()
	ctx, db := t.Context(), p.all[0]
	now := time.Now()
	var devices []int64
	for i := range 5 {
		device, err := db.AddDevice(ctx, scopes[i%len(scopes)])
		must(t, err)
		devices = append(devices, device)
	}
	doomed := devices[4]
	devices = devices[:4]
	calls, last := 0, ""
	dying, err := tsdb.New(&Faults{Backend: db.Backend, At: func(point string) error {
		if calls++; calls > left {
			return errDead
		}
		last = point
		return nil
	}}, quiet(4, func() time.Time { return now }))
	must(t, err)
	life := &lifeOfLogs{e: dying, db: db, devices: devices, doomed: doomed, atOnce: atOnce}
	err = life.run(ctx)
	if err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	crashed := err != nil
	goingOn, err := tsdb.New(p.all[len(p.all)-1].Backend, quiet(4, func() time.Time { return now.Add(time.Minute) }))
	must(t, err)
	// What was trimmed, and a deleted device's logs, are gone at once; what was not acknowledged is there whole or not at all.
	possible := []int64{life.kept}
	if crashed {
		possible = append(possible, life.kept+atOnce, life.kept-int64(life.trimmed), life.kept-int64(life.erased))
	}
	check := func(when string) int64 {
		t.Helper()
		n := countedInEveryWay(t, goingOn)
		if !slices.Contains(possible, n) {
			t.Fatalf("stopped after call %d, %s: %d logs are there %s, want one of %d", left, last, n, when, possible)
		}
		return n
	}
	before := check("at once")
	must(t, goingOn.FoldAll(ctx))
	for more, steps := true, 0; more; steps++ {
		if more, err = goingOn.Reclaim(ctx); err != nil || steps > 1000 {
			t.Fatalf("stopped after %q: reclaiming does not end: %v", last, err)
		}
	}
	if after := check("after folding"); after != before {
		t.Fatalf("stopped after %q: %d logs before folding, %d after", last, before, after)
	}
	horizon, err := db.Backend.Horizon(ctx)
	must(t, err)
	for more, steps := true, 0; more && horizon > everything.From.UnixMilli(); steps++ {
		if _, more, err = goingOn.TrimLogs(ctx, time.UnixMilli(horizon)); err != nil || steps > 1000 {
			t.Fatalf("stopped after %q: trimming does not end: %v", last, err)
		}
	}
	check("after trimming")
	if mended, err := goingOn.Reconcile(ctx, time.Unix(0, 0)); err != nil || mended != 0 {
		t.Fatalf("stopped after %q: %d days did not equal the logs, %v", last, mended, err)
	}
	if !crashed && left < 100 {
		t.Errorf("only %d calls were seen", left)
	}
	return crashed
}

// lifeOfLogs is what logs go through.
type lifeOfLogs struct {
	e       *tsdb.Engine
	db      Database
	devices []int64
	doomed  int64
	atOnce  int
	// kept counts the logs that were acknowledged and are not trimmed or deleted, trimmed and erased those that trimming or deleting takes.
	kept            int64
	trimmed, erased int
}

func (l *lifeOfLogs) run(ctx context.Context) error {
	for i := range 3 {
		device, checkpoint := l.devices, (*hearth.Checkpoint)(nil)
		switch i {
		case 1:
			checkpoint = &hearth.Checkpoint{ID: "i", Rows: 1, Mark: []byte{1}}
		case 2:
			device = []int64{l.doomed}
		}
		logs := logsOfDays(device, l.atOnce)
		if _, err := l.e.AppendLogs(ctx, logs, checkpoint, hearth.SideEffects{}); err != nil {
			return err
		}
		l.kept += int64(l.atOnce)
		if err := l.e.FoldAll(ctx); err != nil {
			return err
		}
	}
	erased := hearth.LogDeletion{Device: l.devices[1], Span: everything, Event: "b"}
	isErased := func(e hearth.LogEntry) bool { return e.Device == erased.Device && e.Event == erased.Event }
	for range 2 {
		for _, e := range logsOfDays(l.devices, l.atOnce) {
			if isErased(e) {
				l.erased++
			}
		}
	}
	if _, err := l.e.DeleteLogs(ctx, erased); err != nil {
		return err
	}
	l.kept -= int64(l.erased)
	l.erased = 0
	// The device goes at once, whoever dies then.
	if err := l.db.DeleteDevice(ctx, l.doomed); err != nil {
		return err
	}
	l.e.Forget(l.doomed)
	l.kept -= int64(l.atOnce)
	for range 3 {
		if _, err := l.e.Reclaim(ctx); err != nil {
			return err
		}
	}
	horizon := time.Date(2026, 3, 14, 23, 0, 0, 0, time.UTC)
	l.trimmed = 0
	for range 2 {
		for _, e := range logsOfDays(l.devices, l.atOnce) {
			if e.At < horizon.UnixMilli() && !isErased(e) {
				l.trimmed++
			}
		}
	}
	for more := true; more; {
		var err error
		if _, more, err = l.e.TrimLogs(ctx, horizon); err != nil {
			return err
		}
	}
	l.kept -= int64(l.trimmed)
	l.trimmed = 0
	return nil
}

func engineReconciles(t *testing.T, p *processes) {
	ctx, db := t.Context(), p.all[0]
	e, err := tsdb.New(db.Backend, quiet(4, nil))
	must(t, err)
	var devices []int64
	for i := range 3 {
		device, err := db.AddDevice(ctx, scopes[i%2])
		must(t, err)
		devices = append(devices, device)
	}
	_, err = e.AppendLogs(ctx, logsOfDays(devices, 200), nil, hearth.SideEffects{})
	must(t, err)
	must(t, e.FoldAll(ctx))
	homes, err := db.Backend.Homes(ctx, devices)
	must(t, err)
	scope := homes[devices[0]]
	// damage changes every document of a table that matches.
	damage := func(table tsdb.Table, level int64, change func(d *tsdb.Doc) bool) {
		t.Helper()
		must(t, db.Backend.Update(ctx, "Test", db.Backend.Partition(scope), func(s tsdb.Snapshot) (*tsdb.Change, error) {
			out := &tsdb.Change{}
			q := tsdb.Query{Table: table, Scopes: []int64{scope}, Major: tsdb.Everything, Minor: tsdb.Everything, Data: tsdb.AllData}
			if level >= 0 {
				q.Major = tsdb.Range{From: level, To: level}
			}
			return out, s.Find(ctx, q, func(d *tsdb.Doc) error {
				if c := clone(d); change(&c) {
					out.Put = append(out.Put, c)
				} else {
					out.Delete = append(out.Delete, c.Key)
				}
				return nil
			})
		}))
	}
	countedInEveryWay(t, e)
	for name, do := range map[string]func(){
		"a day counts more": func() {
			damage(tsdb.Sums, codec.LevelDay, func(d *tsdb.Doc) bool { d.Entries += 5; return true })
		},
		"hours are gone":  func() { damage(tsdb.Sums, codec.LevelHour, func(*tsdb.Doc) bool { return false }) },
		"a month is gone": func() { damage(tsdb.Sums, codec.LevelMonth, func(*tsdb.Doc) bool { return false }) },
		"a sum is cut off": func() {
			damage(tsdb.Sums, codec.LevelHour, func(d *tsdb.Doc) bool { d.Data[0] = []byte{1}; return true })
		},
		"cells are gone":           func() { damage(tsdb.Cells, codec.LevelHour, func(*tsdb.Doc) bool { return false }) },
		"days of devices are gone": func() { damage(tsdb.Days, -1, func(*tsdb.Doc) bool { return false }) },
	} {
		do()
		if mended, err := e.Reconcile(ctx, time.Unix(0, 0)); err != nil || mended == 0 {
			t.Errorf("%s: %d days were mended, %v", name, mended, err)
		}
		if n := countedInEveryWay(t, e); n != 200 {
			t.Errorf("%s: %d logs after mending, want 200", name, n)
		}
		if mended, err := e.Reconcile(ctx, time.Unix(0, 0)); err != nil || mended != 0 {
			t.Errorf("%s: %d days were mended again, %v", name, mended, err)
		}
	}
}

// horizonOf is what trimming to before makes the horizon.
func horizonOf(before time.Time) int64 {
	const hour = 3_600_000
	at := before.UnixMilli()
	return at - ((at%hour)+hour)%hour
}

// near reports whether sums are equal but for the order in which they were added up.
func near(a, b, scale float64) bool { return math.Abs(a-b) <= 1e-9*scale }
