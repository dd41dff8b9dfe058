package storetest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth"
)

// logsModel does random things to a store and to a list of logs, and compares their answers.
func logsModel(t *testing.T, h LogsHarness) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &model{T: rt, t: t, h: h, name: fmt.Sprintf("%s/%d", t.Name(), run), horizon: math.MinInt64}
		m.store = h.Open(t, m.name)
		defer func() {
			if err := m.store.Close(); err != nil {
				t.Error(err)
			}
			if h.Done != nil {
				h.Done(m.name)
			}
		}()
		m.addDevice(rt)
		m.addDevice(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"append":   m.append,
			"append 2": m.append,
			"device":   m.addDevice,
			"delete":   m.deleteDevice,
			"settle":   m.settle,
			"trim":     m.trim,
			"erase":    m.erase,
			"reclaim":  m.reclaim,
			"reopen":   m.reopen,
			"rollups":  m.rollups,
			"logs":     m.logs,
			"scan":     m.scan,
			"count":    m.count,
		})
		m.rollups(rt)
		m.scan(rt)
		m.count(rt)
	})
}

type model struct {
	*rapid.T
	t       *testing.T
	h       LogsHarness
	name    string
	store   LogStore
	devices []hearth.Device
	made    int
	logList []hearth.LogEntry
	horizon int64
}

func (m *model) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *model) addDevice(t *rapid.T) {
	if len(m.devices) > 6 {
		return
	}
	m.made++
	d := device(m.made)
	d.OwnerID = rapid.SampledFrom([]string{"u1", "u2"}).Draw(t, "owner")
	created, err := m.store.CreateDevices(context.Background(), []hearth.Device{d}, hearth.SideEffects{})
	m.must(err)
	m.devices = append(m.devices, created...)
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

func drawValue(t *rapid.T, typed bool) hearth.Value {
	kind := 9
	if typed {
		kind = rapid.IntRange(0, 9).Draw(t, "kind")
	}
	switch kind {
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

func (m *model) append(t *rapid.T) {
	n := rapid.IntRange(1, 25).Draw(t, "entries")
	entries := make([]hearth.LogEntry, n)
	alive := make([]bool, n)
	for i := range entries {
		e := &entries[i]
		e.Device = 1 << 40
		if at := rapid.IntRange(-1, len(m.devices)-1).Draw(t, "device"); at >= 0 {
			e.Device, alive[i] = m.devices[at].Key, true
		}
		e.Event = rapid.SampledFrom([]string{"a", "b", "c.d"}).Draw(t, "event")
		e.Value, e.At = drawValue(t, m.h.Typed), drawAt(t)
	}
	first, err := m.store.AppendLogs(context.Background(), slices.Clone(entries), nil, hearth.SideEffects{})
	m.must(err)
	for i := range entries {
		entries[i].Seq = first + uint64(i)
		if alive[i] && entries[i].At >= m.horizon {
			m.logList = append(m.logList, entries[i])
		}
	}
}

func (m *model) deleteDevice(t *rapid.T) {
	if len(m.devices) < 2 {
		return
	}
	at := rapid.IntRange(0, len(m.devices)-1).Draw(t, "device")
	d := m.devices[at]
	m.must(m.store.DeleteDevice(context.Background(), d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}))
	m.devices = slices.Delete(m.devices, at, at+1)
	m.logList = slices.DeleteFunc(m.logList, func(e hearth.LogEntry) bool { return e.Device == d.Key })
}

func (m *model) settle(*rapid.T) {
	m.must(m.h.Settle(context.Background(), m.store))
}

func (m *model) trim(t *rapid.T) {
	before := time.UnixMilli(drawAt(t))
	if before.UnixMilli() < m.horizon {
		return
	}
	if rest := before.UnixMilli() % 3_600_000; rest < 0 {
		m.horizon = before.UnixMilli() - rest - 3_600_000
	} else {
		m.horizon = before.UnixMilli() - rest
	}
	m.logList = slices.DeleteFunc(m.logList, func(e hearth.LogEntry) bool { return e.At < m.horizon })
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		_, _, err := m.store.TrimLogs(context.Background(), before)
		m.must(err)
	}
}

func (m *model) erase(t *rapid.T) {
	if len(m.devices) == 0 {
		return
	}
	deletion := hearth.LogDeletion{
		Device: rapid.SampledFrom(m.devices).Draw(t, "device").Key, Span: m.drawSpan(t), Event: rapid.SampledFrom([]string{"", "a", "zz"}).Draw(t, "event"),
	}
	goes := func(e hearth.LogEntry) bool {
		return e.Device == deletion.Device && (deletion.Event == "" || e.Event == deletion.Event) &&
			e.At >= deletion.Span.From.UnixMilli() && e.At < deletion.Span.To.UnixMilli()
	}
	deleted, err := m.store.DeleteLogs(context.Background(), deletion)
	m.must(err)
	if want := len(m.sorted(goes)); deleted != int64(want) {
		m.Fatalf("%+v: %d logs were deleted, want %d", deletion, deleted, want)
	}
	m.logList = slices.DeleteFunc(m.logList, goes)
}

func (m *model) reclaim(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		_, err := m.store.Reclaim(context.Background())
		m.must(err)
	}
}

func (m *model) reopen(*rapid.T) {
	m.must(m.store.Close())
	m.store = m.h.Open(m.t, m.name)
}

// drawReach draws a reach and says which devices are in it.
func (m *model) drawReach(t *rapid.T) (reach hearth.Reach, in func(key int64) bool) {
	owners := map[int64]string{}
	for _, d := range m.devices {
		owners[d.Key] = d.OwnerID
	}
	switch rapid.IntRange(0, 3).Draw(t, "reach") {
	case 0:
		return hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1")}}, func(key int64) bool { return owners[key] == "u1" }
	case 1:
		return hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u2")}}, func(key int64) bool { return owners[key] == "u2" }
	case 2:
		return hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u2"), hearth.UserScope("u1")}}, func(int64) bool { return true }
	}
	return hearth.Reach{All: true}, func(int64) bool { return true }
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
	for _, d := range m.devices {
		if rapid.Bool().Draw(t, "pick") {
			keys = append(keys, d.Key)
		}
	}
	return keys
}

func (m *model) rollups(t *rapid.T) {
	reach, in := m.drawReach(t)
	query := hearth.RollupQuery{
		Reach: reach, Devices: m.drawDevices(t), Span: m.drawSpan(t), Event: rapid.SampledFrom([]string{"", "", "a", "zz"}).Draw(t, "event"),
	}
	for range rapid.IntRange(1, 3).Draw(t, "groupings") {
		g := hearth.Grouping{
			ByDevice: rapid.Bool().Draw(t, "by device"), ByEvent: rapid.Bool().Draw(t, "by event"),
			Step:   rapid.SampledFrom([]hearth.Step{hearth.StepNone, hearth.StepMinute, hearth.StepHour, hearth.StepDay}).Draw(t, "step"),
			Sketch: rapid.Bool().Draw(t, "sketch"),
			// The sums are the same, whether changes are asked for or not; what these are is tested elsewhere.
			Changes: query.Event != "" && rapid.Bool().Draw(t, "changes"),
		}
		if rapid.Bool().Draw(t, "bounds") {
			g.Step, g.Bounds = hearth.StepNone, []int64{query.Span.From.UnixMilli()}
			for range rapid.IntRange(0, 3).Draw(t, "more bounds") {
				g.Bounds = append(g.Bounds, max(g.Bounds[0], drawAt(t)))
			}
			slices.Sort(g.Bounds)
			g.Bounds = slices.Compact(g.Bounds)
		}
		query.Groupings = append(query.Groupings, g)
	}
	got, err := m.store.Rollups(context.Background(), query)
	m.must(err)
	for i, g := range query.Groupings {
		m.compareRollups(query, got[i], m.expect(query, g, in), g)
	}
}

// expected is a group of the model.
type expected struct {
	hearth.Rollup
	values []float64
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
		if a.Device != b.Device || a.Event != b.Event || a.At != b.At || a.Count != b.Count || a.Texts != b.Texts || a.Min != b.Min || a.Max != b.Max ||
			math.Abs(a.Sum-b.Sum) > 1e-9*scale {
			m.Fatalf("%+v: grouping %+v: got %+v, want %+v", query, g, a, b)
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
		Device: d.Key, Span: m.drawSpan(t), Event: rapid.SampledFrom([]string{"", "a", "zz"}).Draw(t, "event"),
		Ascending: rapid.Bool().Draw(t, "ascending"), Limit: rapid.IntRange(1, 10).Draw(t, "limit"),
	}
	want := m.sorted(func(e hearth.LogEntry) bool {
		return e.Device == d.Key && (query.Event == "" || e.Event == query.Event) &&
			e.At >= query.Span.From.UnixMilli() && e.At < query.Span.To.UnixMilli()
	})
	if !query.Ascending {
		slices.Reverse(want)
	}
	for page := 0; ; page++ {
		got, err := m.store.Logs(context.Background(), query)
		m.must(err)
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
	for e, err := range m.store.ScanLogs(context.Background(), scan) {
		m.must(err)
		got = append(got, e)
	}
	if !slices.Equal(got, want) {
		m.Fatalf("%+v: got %+v, want %+v", scan, got, want)
	}
}

func (m *model) count(t *rapid.T) {
	reach, in := m.drawReach(t)
	want := len(m.sorted(func(e hearth.LogEntry) bool { return in(e.Device) }))
	got, err := m.store.CountLogs(context.Background(), reach)
	m.must(err)
	if got != int64(want) {
		m.Fatalf("%+v: %d logs are counted, want %d", reach, got, want)
	}
}
