package storetest

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/realdata"
)

// realDataCheck is a store with a data set in it.
type realDataCheck struct {
	*testing.T
	store LogStore
	facts realdata.Facts
	keys  map[string]int64
	types map[int64]string
	reach hearth.Reach
}

// RealData checks that a store, which is empty, returns the facts of a data set that is stored in it, before and after
// fold has folded all of it.
func RealData(t *testing.T, s LogStore, name string, fold func(context.Context) error) {
	t.Helper()
	set := realdata.Read(t, name)
	c := &realDataCheck{
		T: t, store: s, facts: set.Facts, keys: map[string]int64{}, types: map[int64]string{},
		reach: hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u")}},
	}
	c.add(set)
	c.check()
	if err := fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.check()
}

func (c *realDataCheck) check() {
	c.Helper()
	c.checkTotals()
	c.checkDays()
	c.checkHours()
}

// add stores all rows of a set.
func (c *realDataCheck) add(set *realdata.Set) {
	c.Helper()
	var batch []hearth.LogEntry
	flush := func() {
		if _, err := c.store.AppendLogs(c.Context(), batch, nil, hearth.SideEffects{}); err != nil {
			c.Fatal(err)
		}
		batch = batch[:0]
	}
	set.EachRow(c, func(row realdata.Row) {
		if len(batch) == hearth.MaxLogBatch {
			flush()
		}
		batch = append(batch, hearth.LogEntry{Device: c.key(row), Event: strings.Clone(row.Event), Value: hearth.Number(row.Value), At: row.At.UnixMilli()})
	})
	flush()
}

// key returns the key of the row's device, which it creates if there is none.
func (c *realDataCheck) key(row realdata.Row) int64 {
	c.Helper()
	if key, ok := c.keys[row.Device]; ok {
		return key
	}
	name := strings.Clone(row.Device)
	created, err := c.store.CreateDevices(c.Context(), []hearth.Device{{
		ID: name, Name: name, Type: strings.Clone(row.Type), Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: noon, UpdatedAt: noon,
	}}, hearth.SideEffects{})
	if err != nil {
		c.Fatal(err)
	}
	c.keys[name], c.types[created[0].Key] = created[0].Key, created[0].Type
	return created[0].Key
}

func (c *realDataCheck) rollups(query hearth.RollupQuery) [][]hearth.Rollup {
	c.Helper()
	query.Reach = c.reach
	return rolledUp(c, c.store, query)
}

// sameSum reports whether two sums differ by no more than the last digit that the facts have.
func sameSum(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

func (c *realDataCheck) checkTotals() {
	c.Helper()
	counted(c, c.store, c.reach, c.facts.Rows)
	if int64(len(c.keys)) != c.facts.Devices {
		c.Errorf("%d devices, want %d", len(c.keys), c.facts.Devices)
	}
	span := hearth.Span{From: time.Unix(0, 0), To: time.Unix(2e9, 0)}
	out := c.rollups(hearth.RollupQuery{Span: span, Groupings: []hearth.Grouping{{}, {ByEvent: true}, {ByDevice: true}, {Step: hearth.StepDay}}})
	if out[0][0].Count != c.facts.Rows {
		c.Errorf("%d logs are summed up, want %d", out[0][0].Count, c.facts.Rows)
	}
	if len(out[1]) != len(c.facts.ValuesPerEvent) {
		c.Errorf("%d events, want %d", len(out[1]), len(c.facts.ValuesPerEvent))
	}
	for _, r := range out[1] {
		want := c.facts.ValuesPerEvent[r.Event]
		if r.Count != c.facts.RowsPerEvent[r.Event] || r.Min != want.Min || r.Max != want.Max || !sameSum(r.Sum, want.Sum) ||
			!sameSum(r.Sum/float64(r.Count), want.Mean) {
			c.Errorf("event %s: %+v, want %d logs, %+v", r.Event, r.Stats, c.facts.RowsPerEvent[r.Event], want)
		}
	}
	c.checkDevices(out[2])
	byDay := map[string]int64{}
	for _, r := range out[3] {
		byDay[time.UnixMilli(r.At).UTC().Format(time.DateOnly)] = r.Count
	}
	for day, want := range c.facts.RowsPerDay {
		if byDay[day] != want.Total {
			c.Errorf("%s has %d logs, want %d", day, byDay[day], want.Total)
		}
	}
}

// checkDevices checks the groups of a query by device.
func (c *realDataCheck) checkDevices(groups []hearth.Rollup) {
	c.Helper()
	types, counts := map[string]int64{}, map[int64]int64{}
	for _, r := range groups {
		types[c.types[r.Device]] += r.Count
		counts[r.Device] = r.Count
	}
	for name, want := range c.facts.RowsPerType {
		if types[name] != want {
			c.Errorf("type %s: %d logs, want %d", name, types[name], want)
		}
	}
	slices.SortFunc(groups, func(a, b hearth.Rollup) int { return int(b.Count - a.Count) })
	for i, top := range c.facts.Top {
		if counts[c.keys[top.Device]] != top.Rows || groups[i].Count != top.Rows {
			c.Errorf("%s has %d logs, want %d in place %d", top.Device, counts[c.keys[top.Device]], top.Rows, i)
		}
	}
}

func (c *realDataCheck) checkDays() {
	c.Helper()
	for day, want := range c.facts.RowsPerDay {
		start, err := time.Parse(time.DateOnly, day)
		if err != nil {
			c.Fatal(err)
		}
		out := c.rollups(hearth.RollupQuery{
			Span:      hearth.Span{From: start, To: start.AddDate(0, 0, 1)},
			Groupings: []hearth.Grouping{{ByEvent: true}, {Step: hearth.StepMinute}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour}},
		})
		for _, r := range out[0] {
			if r.Count != want.PerEvent[r.Event] {
				c.Errorf("%s %s: %d logs, want %d", day, r.Event, r.Count, want.PerEvent[r.Event])
			}
		}
		for i, groups := range out {
			var total int64
			for _, r := range groups {
				total += r.Count
			}
			if total != want.Total {
				c.Errorf("%s, grouping %d: %d logs, want %d", day, i, total, want.Total)
			}
		}
	}
}

// checkHours checks the hours of a day, all in one query and each alone.
func (c *realDataCheck) checkHours() {
	c.Helper()
	start, err := time.Parse(time.DateOnly, c.facts.RowsPerHour.Day)
	if err != nil {
		c.Fatal(err)
	}
	for name, want := range c.facts.RowsPerHour.Devices {
		devices := []int64{c.keys[name]}
		out := c.rollups(hearth.RollupQuery{
			Devices: devices, Span: hearth.Span{From: start, To: start.AddDate(0, 0, 1)}, Groupings: []hearth.Grouping{{Step: hearth.StepHour}},
		})[0]
		n := 0
		for hour, count := range want.Counts {
			from := start.Add(time.Duration(hour) * time.Hour)
			alone := c.rollups(hearth.RollupQuery{
				Devices: devices, Span: hearth.Span{From: from, To: from.Add(time.Hour)}, Groupings: []hearth.Grouping{{Sketch: true}},
			})[0]
			if count == 0 {
				if len(alone) > 0 {
					c.Errorf("%s, hour %d: %+v, want nothing", name, hour, alone)
				}
				continue
			}
			for _, got := range []hearth.Rollup{out[n], alone[0]} {
				if got.Count != count || !sameSum(got.Sum, want.Sums[hour]) {
					c.Errorf("%s, hour %d: %+v, want %d logs of %v", name, hour, got.Stats, count, want.Sums[hour])
				}
			}
			n++
		}
		if n != len(out) {
			c.Errorf("%s: %d hours, want %d", name, len(out), n)
		}
	}
}
