package tsdbtest

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"pgregory.net/rapid"

	"hearth"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// model does random things to engines over one database and to a list of logs, and compares their answers.
type model struct {
	*rapid.T
	p       *processes
	engines []*tsdb.Engine
	chunks  int
	now     time.Time
	// background says that the engines fold whenever they like.
	background bool

	mu sync.Mutex
	// fault, if not nil, is asked at every call of an engine to its backend. Engines of earlier lives are dead.
	fault func(point string) error
	life  int

	devices []int64
	owners  map[int64]hearth.Scope
	logList []hearth.LogEntry
	horizon int64
}

func newModel(t *rapid.T, p *processes) *model {
	m := &model{T: t, p: p, owners: map[int64]hearth.Scope{}, horizon: math.MinInt64, now: noon.AddDate(0, 1, 0)}
	m.chunks = rapid.SampledFrom([]int{3, 8, 64}).Draw(t, "chunk")
	m.background = rapid.IntRange(0, 3).Draw(t, "background") == 0
	m.start()
	return m
}

func (m *model) engine(t *rapid.T) *tsdb.Engine {
	return m.engines[rapid.IntRange(0, len(m.engines)-1).Draw(t, "process")]
}

func (m *model) reopen(*rapid.T) {
	m.stop()
	m.p.close()
	m.p.open()
	m.start()
}

func (m *model) addDevice(t *rapid.T) {
	if len(m.devices) > 6 {
		return
	}
	scope := rapid.SampledFrom(scopes).Draw(t, "owner")
	device, err := m.p.all[0].AddDevice(context.Background(), scope)
	must(m, err)
	m.devices = append(m.devices, device)
	m.owners[device] = scope
}

func (m *model) deleteDevice(t *rapid.T) {
	if len(m.devices) < 2 {
		return
	}
	at := rapid.IntRange(0, len(m.devices)-1).Draw(t, "device")
	device := m.devices[at]
	must(m, m.p.all[0].DeleteDevice(context.Background(), device))
	m.engines[0].Forget(device) // the other process believes in it for a while
	m.devices = slices.Delete(m.devices, at, at+1)
	m.logList = slices.DeleteFunc(m.logList, func(e hearth.LogEntry) bool { return e.Device == device })
}

func (m *model) moveDevice(t *rapid.T) {
	device := rapid.SampledFrom(m.devices).Draw(t, "device")
	scope := rapid.SampledFrom(scopes).Draw(t, "owner")
	if scope == m.owners[device] {
		return
	}
	must(m, m.p.all[0].MoveDevice(context.Background(), m.engines[0], device, scope))
	for _, e := range m.engines { // what one of them still appends to the old scope shows after Reclaim alone: see engineMoves
		e.Forget(device)
	}
	m.owners[device] = scope
}

func (m *model) append(t *rapid.T) {
	must(m, m.appendTo(t, m.engine(t)))
}

// appendTo appends a random batch. When the process dies, it finds out whether the batch is stored.
func (m *model) appendTo(t *rapid.T, e *tsdb.Engine) error {
	n := rapid.IntRange(1, 25).Draw(t, "entries")
	entries := make([]hearth.LogEntry, n)
	alive := make([]bool, n)
	for i := range entries {
		e := &entries[i]
		e.Device = 1 << 40
		if at := rapid.IntRange(-1, len(m.devices)-1).Draw(t, "device"); at >= 0 {
			e.Device, alive[i] = m.devices[at], true
		}
		e.Event = rapid.SampledFrom([]string{"a", "b", "c.d"}).Draw(t, "event")
		e.Value, e.At = drawValue(t), drawAt(t)
	}
	first, err := e.AppendLogs(context.Background(), slices.Clone(entries), nil, hearth.SideEffects{})
	if errors.Is(err, errDead) {
		if first = m.firstOf(entries, alive); first == 0 {
			return err
		}
	} else if err != nil {
		return err
	}
	for i := range entries {
		entries[i].Seq = first + uint64(i)
		if alive[i] && entries[i].At >= m.horizon {
			m.logList = append(m.logList, entries[i])
		}
	}
	return err
}

// firstOf returns the number of the first log of a batch that was not acknowledged; 0 if nothing of it is stored.
func (m *model) firstOf(entries []hearth.LogEntry, alive []bool) uint64 {
	m.setFault(nil)
	m.start()
	known := map[uint64]bool{}
	for _, e := range m.logList {
		known[e.Seq] = true
	}
	for _, e := range scanned(m, m.engines[0], hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}) {
		if known[e.Seq] {
			continue
		}
		// The scan after this compares all of the batch.
		for i := range entries {
			want := entries[i]
			if want.Seq = e.Seq; alive[i] && want == e && m.batchAt(entries, alive, e.Seq-uint64(i)) {
				return e.Seq - uint64(i)
			}
		}
		m.Fatalf("%+v is stored, which nobody wrote", e)
	}
	return 0
}

// batchAt reports whether all of a batch's logs are stored, numbered from first.
func (m *model) batchAt(entries []hearth.LogEntry, alive []bool, first uint64) bool {
	stored := map[uint64]hearth.LogEntry{}
	for _, e := range scanned(m, m.engines[0], hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}) {
		stored[e.Seq] = e
	}
	for i, e := range entries {
		e.Seq = first + uint64(i)
		if alive[i] && e.At >= m.horizon && stored[e.Seq] != e {
			return false
		}
	}
	return true
}

func (m *model) fold(t *rapid.T) {
	e := m.engine(t)
	if rapid.Bool().Draw(t, "all") {
		must(m, e.FoldAll(context.Background()))
		return
	}
	_, err := e.Fold(context.Background(), rapid.IntRange(0, m.p.all[0].Backend.Partitions()-1).Draw(t, "partition"))
	if !m.background || !errors.Is(err, tsdb.ErrBusy) {
		must(m, err)
	}
}

func (m *model) trim(t *rapid.T) {
	must(m, m.trimWith(t, m.engine(t)))
}

func (m *model) trimWith(t *rapid.T, e *tsdb.Engine) (err error) {
	before := time.UnixMilli(drawAt(t))
	if before.UnixMilli() < m.horizon {
		return nil
	}
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		if _, _, err = e.TrimLogs(context.Background(), before); err != nil {
			break
		}
	}
	horizon, failed := m.p.all[0].Backend.Horizon(context.Background())
	must(m, failed)
	if want := horizonOf(before); horizon != want && (err == nil || horizon != m.horizon) {
		m.Fatalf("the horizon is %d, want %d", horizon, want)
	}
	m.horizon = horizon
	m.logList = slices.DeleteFunc(m.logList, func(e hearth.LogEntry) bool { return e.At < m.horizon })
	return err
}

func (m *model) reclaim(t *rapid.T) {
	must(m, m.reclaimWith(t, m.engine(t)))
}

func (m *model) reclaimWith(t *rapid.T, e *tsdb.Engine) error {
	if rapid.Bool().Draw(t, "later") {
		m.now = m.now.Add(11 * time.Minute) // so long are deleted devices remembered
	}
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		if _, err := e.Reclaim(context.Background()); err != nil {
			return err
		}
	}
	return nil
}

// crash lets a process die in the middle of something, at one of its next calls, and start again.
func (m *model) crash(t *rapid.T) {
	left := rapid.IntRange(0, 40).Draw(t, "calls")
	m.setFault(func(string) error {
		if left--; left < 0 {
			return errDead
		}
		return nil
	})
	e := m.engine(t)
	do := rapid.SampledFrom([]func(*rapid.T, *tsdb.Engine) error{
		m.appendTo, m.trimWith, m.reclaimWith, m.eraseWith, func(_ *rapid.T, e *tsdb.Engine) error { return e.FoldAll(context.Background()) },
	}).Draw(t, "what")
	if err := do(t, e); err != nil && !errors.Is(err, errDead) {
		m.Fatal(err)
	}
	m.setFault(nil)
	m.start()
}

// overtake lets questions find that their snapshot is gone, and changes that another process is at it.
func (m *model) overtake(t *rapid.T) {
	every := rapid.IntRange(1, 3).Draw(t, "every")
	defer m.setFault(nil)
	for _, ask := range []func(*rapid.T){m.rollups, m.logs, m.count, m.appendNew} {
		n := 0
		m.setFault(func(point string) error {
			if point != "find" && point != "document" {
				return nil
			}
			if n++; n <= 4*every && n%every == 0 {
				return tsdb.ErrStale
			}
			return nil
		})
		ask(t)
	}
	busy, n := rapid.IntRange(1, 4).Draw(t, "busy"), 0
	m.setFault(func(point string) error {
		if point != "update" || busy == 0 {
			return nil
		}
		if n++; n%every > 0 {
			return nil
		}
		busy-- // those that wait are let through in the end
		return tsdb.ErrBusy
	})
	for _, do := range []func(*rapid.T){m.append, m.trim, m.reclaim, m.erase} {
		do(t)
	}
}

// reconcile checks that the rollups equal the logs, by the engine's own comparison.
func (m *model) reconcile() {
	m.background = false
	m.start()
	ctx, e := context.Background(), m.engines[0]
	must(m, e.FoldAll(ctx))
	for more := true; more; {
		var err error
		more, err = e.Reclaim(ctx)
		must(m, err)
	}
	for more := m.horizon != math.MinInt64; more; {
		var err error
		_, more, err = e.TrimLogs(ctx, time.UnixMilli(m.horizon))
		must(m, err)
	}
	if mended, err := m.engines[0].Reconcile(context.Background(), time.Unix(0, 0)); err != nil || mended != 0 {
		m.Fatalf("%d days did not equal the logs, %v", mended, err)
	}
}

// drawAt draws times that crowd around a few moments: hours and days that are dense, a month's end, other years.
func drawAt(t *rapid.T) int64 {
	base := rapid.SampledFrom([]time.Time{
		noon, noon, noon, time.Date(2026, 3, 31, 23, 50, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC),
		time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC),
	}).Draw(t, "base")
	offset := rapid.OneOf(
		rapid.Int64Range(0, 3),
		rapid.Map(rapid.Int64Range(0, 90), func(m int64) int64 { return m * 60_000 }),
		rapid.Int64Range(-2*86_400_000, 2*86_400_000),
	).Draw(t, "offset")
	return base.UnixMilli() + offset
}

func drawValue(t *rapid.T) hearth.Value {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return hearth.Boolean(rapid.Bool().Draw(t, "value"))
	case 1:
		return hearth.Text(rapid.SampledFrom([]string{"open", "shut", "é", "1", "true"}).Draw(t, "value"))
	}
	return hearth.Number(rapid.OneOf(
		rapid.Map(rapid.IntRange(-5000, 5000), func(i int) float64 { return float64(i) / 100 }),
		rapid.Map(rapid.IntRange(0, 30), func(i int) float64 { return float64(i) }),
		rapid.SampledFrom([]float64{0, 1e300, -1e300, 5e-324, -0.1, 1e-7, 123456789.123}),
		rapid.Float64Range(-1e6, 1e6),
	).Draw(t, "value"))
}

// drawReach draws a reach and says which devices are in it.
func (m *model) drawReach(t *rapid.T) (reach hearth.Reach, in func(key int64) bool) {
	if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
		return hearth.Reach{All: true}, func(int64) bool { return true }
	}
	for _, scope := range scopes {
		if rapid.Bool().Draw(t, "scope") {
			reach.Scopes = append(reach.Scopes, scope)
		}
	}
	return reach, func(key int64) bool { return slices.Contains(reach.Scopes, m.owners[key]) }
}

func (m *model) drawSpan(t *rapid.T) hearth.Span {
	if rapid.Bool().Draw(t, "everything") {
		return everything
	}
	from, to := drawAt(t), drawAt(t)
	return hearth.Span{From: time.UnixMilli(min(from, to)), To: time.UnixMilli(max(from, to))}
}

func (m *model) drawDevices(t *rapid.T) []int64 {
	if rapid.Bool().Draw(t, "all devices") {
		return nil
	}
	keys := []int64{}
	for _, key := range m.devices {
		if rapid.Bool().Draw(t, "pick") {
			keys = append(keys, key)
		}
	}
	return keys
}

// drawBounds draws buckets that begin no later than from; nil are none.
func drawBounds(t *rapid.T, from int64) []int64 {
	if rapid.IntRange(0, 2).Draw(t, "bounds") > 0 {
		return nil
	}
	unit := rapid.SampledFrom([]int64{1, 60_000, 1_800_000, 3_600_000, 86_400_000, 31 * 86_400_000}).Draw(t, "unit")
	bounds := []int64{from - rapid.Int64Range(0, 2).Draw(t, "before")*unit}
	if at := codec.FloorDiv(drawAt(t), 900_000) * 900_000; rapid.Bool().Draw(t, "among the logs") && at > from {
		bounds = append(bounds, at)
	}
	for range rapid.IntRange(0, 20).Draw(t, "buckets") {
		bounds = append(bounds, bounds[len(bounds)-1]+unit*rapid.Int64Range(1, 7).Draw(t, "width"))
	}
	return bounds
}

func (m *model) rollups(t *rapid.T) {
	reach, in := m.drawReach(t)
	query := hearth.RollupQuery{
		Reach: reach, Devices: m.drawDevices(t), Span: m.drawSpan(t), Event: rapid.SampledFrom([]string{"", "", "a", "zz"}).Draw(t, "event"),
	}
	for range rapid.IntRange(1, 3).Draw(t, "groupings") {
		query.Groupings = append(query.Groupings, hearth.Grouping{
			ByDevice: rapid.Bool().Draw(t, "by device"), ByEvent: rapid.Bool().Draw(t, "by event"),
			Step:   rapid.SampledFrom([]hearth.Step{hearth.StepNone, hearth.StepMinute, hearth.StepHour, hearth.StepDay}).Draw(t, "step"),
			Bounds: drawBounds(t, query.Span.From.UnixMilli()), Sketch: rapid.Bool().Draw(t, "sketch"),
			Changes: query.Event != "" && rapid.Bool().Draw(t, "changes"),
		})
	}
	got, err := m.engine(t).Rollups(context.Background(), query)
	must(m, err)
	for i, g := range query.Groupings {
		m.compareRollups(query, got[i], m.expect(query, g, in), g)
	}
}

// expected is a group of the model.
type expected struct {
	hearth.Rollup
	values []float64
	// rises is the sum of the sizes of what Increase adds up.
	rises float64
}

func (m *model) expect(query hearth.RollupQuery, g hearth.Grouping, in func(int64) bool) []expected {
	type key struct {
		device int64
		event  string
		at     int64
	}
	groups := map[key]*expected{}
	for _, e := range m.logList {
		if !in(e.Device) || query.Devices != nil && !slices.Contains(query.Devices, e.Device) ||
			query.Event != "" && query.Event != e.Event || e.At < query.Span.From.UnixMilli() || e.At >= query.Span.To.UnixMilli() {
			continue
		}
		var k key
		if g.ByDevice {
			k.device = e.Device
		}
		if g.ByEvent {
			k.event = e.Event
		}
		k.at = g.Floor(e.At)
		if groups[k] == nil {
			groups[k] = &expected{Rollup: hearth.Rollup{Device: k.device, Event: k.event, At: k.at}}
		}
		if e.Value.Kind() == hearth.TextKind {
			groups[k].AddText()
			continue
		}
		groups[k].Add(e.Value.Number())
		groups[k].values = append(groups[k].values, e.Value.Number())
	}
	if g.Changes {
		before := map[int64]float64{}
		for _, e := range m.sorted(func(e hearth.LogEntry) bool { return e.Event == query.Event }) {
			number := e.Value.Kind() != hearth.TextKind
			rise := 0.0
			if number {
				if last, ok := before[e.Device]; ok {
					rise = hearth.Rise(last, e.Value.Number())
				}
				before[e.Device] = e.Value.Number()
			}
			var k key
			if g.ByDevice {
				k.device = e.Device
			}
			if g.ByEvent {
				k.event = e.Event
			}
			k.at = g.Floor(e.At)
			group := groups[k]
			if group == nil || !in(e.Device) || query.Devices != nil && !slices.Contains(query.Devices, e.Device) ||
				e.At < query.Span.From.UnixMilli() || e.At >= query.Span.To.UnixMilli() {
				continue
			}
			if group.Change == nil {
				group.Change = &hearth.ValueChange{First: e.Value}
			}
			group.Change.Last = e.Value
			group.Change.Increase += rise
			group.rises += math.Abs(rise)
		}
	}
	var out []expected
	for _, group := range groups {
		slices.Sort(group.values)
		out = append(out, *group)
	}
	slices.SortFunc(out, func(a, b expected) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Event, b.Event))
	})
	return out
}

func (m *model) compareRollups(query hearth.RollupQuery, got []hearth.Rollup, want []expected, g hearth.Grouping) {
	if len(got) != len(want) {
		m.Fatalf("%+v: %d groups, want %d\ngot %+v\nwant %+v", query, len(got), len(want), got, want)
	}
	for i := range got {
		a, b := got[i], want[i]
		scale := 0.0
		for _, v := range b.values {
			scale += math.Abs(v)
		}
		if a.Device != b.Device || a.Event != b.Event || a.At != b.At || a.Count != b.Count || a.Min != b.Min || a.Max != b.Max ||
			!near(a.Sum, b.Sum, scale) {
			m.Fatalf("%+v: grouping %+v: got %+v, want %+v", query, g, a, b)
		}
		if (a.Change != nil) != g.Changes || g.Changes && (!near(a.Change.Increase, b.Change.Increase, b.rises+scale) ||
			g.ByDevice && (a.Change.First != b.Change.First || a.Change.Last != b.Change.Last)) {
			m.Fatalf("%+v: grouping %+v: the change of %+v is %+v, want %+v", query, g, b.Rollup, a.Change, b.Change)
		}
		if !g.Sketch {
			continue
		}
		if a.Sketch == nil || a.Sketch.Count() != b.Numbers() {
			m.Fatalf("%+v: grouping %+v: the sketch %+v of %+v", query, g, a.Sketch, b)
		}
		if len(b.values) == 0 {
			continue // strings alone
		}
		for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
			exact := b.values[max(0, int(math.Ceil(q*float64(len(b.values))-1e-6))-1)]
			if v := a.Sketch.Quantile(q); math.Abs(v-exact) > 0.01*math.Abs(exact)+1e-322 {
				m.Fatalf("%+v: quantile %v is %v, want %v of %v", query, q, v, exact, b.values)
			}
		}
	}
}

func (m *model) sorted(keep func(hearth.LogEntry) bool) []hearth.LogEntry {
	var out []hearth.LogEntry
	for _, e := range m.logList {
		if keep(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b hearth.LogEntry) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	return out
}

func (m *model) logs(t *rapid.T) {
	if len(m.devices) == 0 {
		return
	}
	d := rapid.SampledFrom(m.devices).Draw(t, "device")
	query := hearth.LogQuery{
		Device: d, Span: m.drawSpan(t), Event: rapid.SampledFrom([]string{"", "a", "zz"}).Draw(t, "event"),
		Ascending: rapid.Bool().Draw(t, "ascending"), Limit: rapid.IntRange(1, 10).Draw(t, "limit"),
	}
	want := m.sorted(func(e hearth.LogEntry) bool {
		return e.Device == d && (query.Event == "" || e.Event == query.Event) &&
			e.At >= query.Span.From.UnixMilli() && e.At < query.Span.To.UnixMilli()
	})
	if !query.Ascending {
		slices.Reverse(want)
	}
	e := m.engine(t)
	for page := 0; ; page++ {
		got, err := e.Logs(context.Background(), query)
		must(m, err)
		if expect := want[:min(len(want), query.Limit+1)]; !slices.Equal(got, expect) {
			m.Fatalf("%+v: page %d: got %+v, want %+v", query, page, got, expect)
		}
		if len(got) <= query.Limit {
			return
		}
		query.After = &got[query.Limit-1]
		want = want[query.Limit:]
	}
}

func (m *model) scan(t *rapid.T) {
	reach, in := m.drawReach(t)
	scan := hearth.LogScan{Reach: reach, Devices: m.drawDevices(t), Span: m.drawSpan(t)}
	if rapid.Bool().Draw(t, "some events") {
		scan.Events = []string{"b", "zz", "c.d"}
	}
	want := m.sorted(func(e hearth.LogEntry) bool {
		return in(e.Device) && (scan.Devices == nil || slices.Contains(scan.Devices, e.Device)) &&
			(scan.Events == nil || slices.Contains(scan.Events, e.Event)) && e.At >= scan.Span.From.UnixMilli() && e.At < scan.Span.To.UnixMilli()
	})
	var got []hearth.LogEntry
	for e, err := range m.engine(t).ScanLogs(context.Background(), scan) {
		must(m, err)
		got = append(got, e)
	}
	if !slices.Equal(got, want) {
		m.Fatalf("%+v: got %+v, want %+v", scan, got, want)
	}
}

func (m *model) count(t *rapid.T) {
	reach, in := m.drawReach(t)
	want := len(m.sorted(func(e hearth.LogEntry) bool { return in(e.Device) }))
	got, err := m.engine(t).CountLogs(context.Background(), reach)
	must(m, err)
	if got != int64(want) {
		m.Fatalf("%+v: %d logs are counted, want %d", reach, got, want)
	}
}
