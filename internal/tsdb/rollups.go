package tsdb

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
	"hearth/internal/tsdb/grouping"
)

// Rollups implements hearth.LogStore.
func (e *Engine) Rollups(ctx context.Context, query hearth.RollupQuery) (out [][]hearth.Rollup, err error) {
	changes := slices.ContainsFunc(query.Groupings, func(g hearth.Grouping) bool { return g.Changes })
	if changes && query.Event == "" {
		return nil, hearth.Errorf(hearth.CodeInternal, "changes are of one event")
	}
	of := subject{operation: "Rollups", reach: query.Reach, devices: query.Devices, span: query.Span, past: changes}
	if query.Event != "" {
		of.events = []string{query.Event}
	}
	err = e.view(ctx, of, func(v *view) error {
		q := newRollupQuery(v, query.Groupings)
		changes := newChangeQuery(v, q.groupers)
		if changes != nil && changes.readsDays() {
			q.changes = changes
		}
		if err := q.run(); err != nil {
			return err
		}
		if changes != nil {
			if err := changes.run(); err != nil {
				return err
			}
		}
		out = make([][]hearth.Rollup, len(q.groupers))
		for i, g := range q.groupers {
			var err error
			if out[i], err = g.Result(v.eventName); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = make([][]hearth.Rollup, len(query.Groupings))
	}
	return out, nil
}

// CountLogs implements hearth.LogStore: it adds up months.
func (e *Engine) CountLogs(ctx context.Context, reach hearth.Reach) (count int64, err error) {
	err = e.view(ctx, subject{operation: "CountLogs", reach: reach, span: Ever()}, func(v *view) error {
		q := newRollupQuery(v, []hearth.Grouping{{}})
		for _, class := range v.classes() {
			if class.dead {
				// What is stored is not all visible.
				if err := q.runPlan(q.planFor(class, q.groupers[0]), q.groupers); err != nil {
					return err
				}
				continue
			}
			c, err := q.coverOf(codec.LevelMonth, class.dead, nil, coverCounts)
			if err != nil {
				return err
			}
			for level := range c.levels {
				for i := range c.levels[level] {
					q.groupers[0].Add(0, 0, 0, hearth.Stats{Count: c.levels[level][i].entries})
				}
			}
			if err := q.addCuts(c, plan{top: codec.LevelMonth}, q.groupers); err != nil {
				return err
			}
		}
		q.addTail()
		count = q.groupers[0].Count()
		return nil
	})
	return count, err
}

// rollupQuery answers groupings from one view.
type rollupQuery struct {
	view     *view
	groupers []*grouping.Grouper
	// covers remembers how the range is put together, by top level and class of scopes.
	covers map[coverKey]*cover
	// cuts remembers the sums of parts of hours, which covers share.
	cuts map[cutKey][]codec.Cell
	// changes, if not nil, goes through all Days of the range after this query: it adds the sums of Days, and of parts of hours, on the way.
	changes *changeQuery
}

func newRollupQuery(v *view, groupings []hearth.Grouping) *rollupQuery {
	q := &rollupQuery{view: v, covers: map[coverKey]*cover{}, cuts: map[cutKey][]codec.Cell{}}
	for _, g := range groupings {
		q.groupers = append(q.groupers, grouping.New(g))
	}
	return q
}

// class is the scopes that are answered alike: those with deleted devices whose logs are still stored, and the others.
type class struct {
	dead   bool
	scopes []int64 // nil is all
}

func (v *view) classes() (out []class) {
	clean, dead := class{}, class{dead: true}
	for _, scope := range v.scopes {
		if v.deadScopes[scope] > 0 {
			dead.scopes = append(dead.scopes, scope)
		} else {
			clean.scopes = append(clean.scopes, scope)
		}
	}
	if v.scopes == nil {
		for scope := range v.deadScopes {
			dead.scopes = append(dead.scopes, scope)
		}
	}
	if v.scopes == nil || len(clean.scopes) > 0 {
		out = append(out, clean)
	}
	if len(dead.scopes) > 0 {
		out = append(out, dead)
	}
	return out
}

func (q *rollupQuery) run() error {
	for _, class := range q.view.classes() {
		// Groupings that can be answered from the same documents are.
		plans := map[plan][]*grouping.Grouper{}
		var order []plan
		for _, g := range q.groupers {
			p := q.planFor(class, g)
			if plans[p] == nil {
				order = append(order, p)
			}
			plans[p] = append(plans[p], g)
		}
		for _, p := range order {
			if err := q.runPlan(p, plans[p]); err != nil {
				return err
			}
		}
	}
	q.addTail()
	return nil
}

func (q *rollupQuery) addTail() {
	q.view.tailEntries(func(series []codec.Series, e *codec.Entry) {
		for _, g := range q.groupers {
			g.AddEntry(&series[e.Series], e)
		}
	})
}

// plan says which documents answer a grouping.
type plan struct {
	// top is the coarsest level that is fine enough; -1 is the logs alone.
	top    int
	source planSource
	sketch bool
	dead   bool
	bounds *int64
}

type planSource int

const (
	// fromTotals: sums of the whole scope, at every level.
	fromTotals planSource = iota
	// fromCells: sums by device, of months and days, and hours from Days.
	fromCells
	// fromDays: Days alone, of the devices that are asked for; its sketches are of whole days.
	fromDays
)

func (q *rollupQuery) planFor(of class, g *grouping.Grouper) plan {
	p := plan{sketch: g.Sketch, dead: of.dead, bounds: firstOf(g.Bounds), top: topOf(&g.Grouping)}
	switch {
	case q.view.devices != nil:
		p.source = fromDays
	case g.ByDevice || of.dead:
		p.source = fromCells
		if p.sketch {
			p.source = fromDays
		}
	}
	if p.source == fromDays {
		p.top = min(p.top, codec.LevelDay)
		if p.sketch && p.top == codec.LevelHour {
			p.top = -1
		}
	}
	return p
}

// topOf returns the coarsest level of which some sums lie within one bucket.
func topOf(g *hearth.Grouping) int {
	width := time.Duration(g.Step)
	if g.Bounds != nil {
		width = 0 // of one bucket
		for i := 1; i < len(g.Bounds); i++ {
			width = max(width, time.Duration(g.Bounds[i]-g.Bounds[i-1])*time.Millisecond)
		}
	}
	switch {
	case width == 0 || width >= 28*24*time.Hour:
		return codec.LevelMonth
	case width >= 24*time.Hour && (g.Bounds == nil || width > 48*time.Hour):
		return codec.LevelDay
	case width >= time.Hour:
		return codec.LevelHour
	}
	return -1
}

func (q *rollupQuery) runPlan(p plan, groupers []*grouping.Grouper) error {
	detail := coverTotals
	if q.view.devices != nil {
		detail = coverEdges // Days alone answer
	}
	c, err := q.coverOf(p.top, p.dead, groupers[0].Bounds, detail)
	if err != nil {
		return err
	}
	switch p.source {
	case fromTotals:
		err = q.addTotals(c, p, groupers)
	case fromCells:
		for _, level := range []int{codec.LevelMonth, codec.LevelDay} {
			if err == nil {
				err = q.addCells(c, level, groupers)
			}
		}
		if err == nil {
			err = q.addDays(c, p, groupers)
		}
	case fromDays:
		err = q.addDays(c, p, groupers)
	}
	if err != nil {
		return err
	}
	return q.addCuts(c, p, groupers)
}

// addTotals adds sums of whole scopes.
func (q *rollupQuery) addTotals(c *cover, p plan, groupers []*grouping.Grouper) error {
	for level := range c.levels {
		for i := range c.levels[level] {
			row := &c.levels[level][i]
			at := codec.BucketStart(level, row.bucket)
			for j := range row.totals {
				cell := &row.totals[j]
				if !q.view.wantsEvent(cell.Event) {
					continue
				}
				for _, g := range groupers {
					g.Add(0, cell.Event, at, cell.Stats)
				}
			}
		}
		if !p.sketch {
			continue
		}
		err := q.eachUsed(c, level, Fields{true}, func(d *Doc) error {
			sketches, err := codec.DecodeSketches(d.Data[0])
			if err != nil {
				return err
			}
			for i, event := range sketches.Events {
				if !q.view.wantsEvent(event) {
					continue
				}
				for _, g := range groupers {
					g.AddSketch(0, event, codec.BucketStart(level, d.Minor), &sketches.Sketches[i])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachUsed calls fn with the Cells of the used rows of a level.
func (q *rollupQuery) eachUsed(c *cover, level int, fields Fields, fn func(*Doc) error) error {
	used := c.used(level)
	return c.runs(level, func(first, last int64) error {
		query := Query{Table: Cells, Scopes: c.scopes, Major: Range{int64(level), int64(level)}, Minor: Range{first, last}, Data: fields}
		return q.view.s.Find(q.view.ctx, query, func(d *Doc) error {
			if used != nil && !used[scopeBucket{d.Scope, d.Minor}] {
				return nil
			}
			return fn(d)
		})
	})
}

// addCells adds sums by device of whole days or months.
func (q *rollupQuery) addCells(c *cover, level int, groupers []*grouping.Grouper) error {
	v := q.view
	add := func(d *Doc, data []byte) (err error) {
		if v.cells, err = codec.DecodeCells(v.cells[:0], data); err != nil {
			return err
		}
		at := codec.BucketStart(level, d.Minor)
		picky := v.picky(d.Scope)
		for i := range v.cells {
			cell := &v.cells[i]
			if picky && !v.wants(d.Scope, cell.Device, cell.Event) {
				continue
			}
			for _, g := range groupers {
				g.Add(cell.Device, cell.Event, at, cell.Stats)
			}
		}
		return nil
	}
	if v.events != nil || slices.ContainsFunc(groupers, func(g *grouping.Grouper) bool { return g.ByEvent }) {
		return q.eachUsed(c, level, Fields{2: true}, func(d *Doc) error { return add(d, d.Data[2]) })
	}
	// Sums by device will do, which are shorter; they are left out where each device has one event.
	var byEvent []Key
	err := q.eachUsed(c, level, Fields{1: true}, func(d *Doc) error {
		if len(d.Data[1]) == 0 {
			byEvent = append(byEvent, d.Key)
			return nil
		}
		return add(d, d.Data[1])
	})
	if err != nil || len(byEvent) == 0 {
		return err
	}
	return v.s.Get(v.ctx, byEvent, Fields{2: true}, func(d *Doc) error { return add(d, d.Data[2]) })
}

// addDays adds what Days have of the cover's hours and, if nothing else returns them, its days.
func (q *rollupQuery) addDays(c *cover, p plan, groupers []*grouping.Grouper) error {
	sums := daySums{hours: map[scopeBucket]uint32{}, sketch: p.sketch, groupers: groupers}
	var days []Range
	if p.source == fromDays {
		for _, row := range c.levels[codec.LevelDay] {
			sums.hours[scopeBucket{row.scope, row.bucket}] = codec.WholeDay
			days = append(days, Range{row.bucket, row.bucket})
		}
		sums.whole = append(sums.whole, c.whole[codec.LevelDay]...)
	}
	if !p.sketch || p.source != fromDays {
		for _, row := range c.levels[codec.LevelHour] {
			day := codec.FloorDiv(row.bucket, 24)
			sums.hours[scopeBucket{row.scope, day}] |= 1 << (row.bucket - day*24)
			days = append(days, Range{day, day})
		}
		sums.whole = append(sums.whole, c.whole[codec.LevelHour]...)
	}
	slices.SortFunc(sums.whole, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	if q.changes != nil {
		q.changes.sums = append(q.changes.sums, sums)
		return nil
	}
	for _, of := range sums.whole {
		days = append(days, Range{codec.BucketOf(codec.LevelDay, of.from), codec.BucketOf(codec.LevelDay, of.to-1)})
	}
	for _, run := range joinRanges(days) {
		if err := q.addDayRuns(c, run, &sums); err != nil {
			return err
		}
	}
	return nil
}

// daySums are what groupers want of Days.
type daySums struct {
	// hours are the wanted ones by scope and day; whole are ranges, by their start, of which all hours are wanted as well.
	hours    map[scopeBucket]uint32
	whole    []cut
	sketch   bool
	groupers []*grouping.Grouper
}

// of returns the wanted hours of a document.
func (s *daySums) of(d *Doc) uint32 {
	hours := s.hours[scopeBucket{d.Scope, d.Major}]
	start := codec.BucketStart(codec.LevelDay, d.Major)
	first := sort.Search(len(s.whole), func(i int) bool { return s.whole[i].to > start })
	for _, of := range s.whole[first:] {
		if of.from >= start+codec.DayMillis {
			break
		}
		if _, ok := slices.BinarySearch(of.scopes, d.Scope); ok {
			low, high := max(0, of.from-start)/codec.HourMillis, min(codec.DayMillis, of.to-start)/codec.HourMillis
			hours |= 1<<high - 1<<low
		}
	}
	return hours
}

// add adds a document, which is decoded in day, with sketches if they are wanted.
func (s *daySums) add(day *codec.Day, d *Doc) {
	hours := s.of(d)
	if hours == 0 {
		return
	}
	for i := range day.Lines {
		line := &day.Lines[i]
		for _, g := range s.groupers {
			g.AddLine(day, line, d.Major, hours)
			if s.sketch {
				g.AddSketch(line.Device, line.Event, codec.BucketStart(codec.LevelDay, d.Major), &line.Sketch)
			}
		}
	}
}

// groupRanges returns the ranges of groups that the wanted devices are in.
func (v *view) groupRanges() []Range {
	if v.devices == nil {
		return []Range{{0, math.MaxInt64}}
	}
	groups := make([]int64, 0, len(v.devices))
	for device := range v.devices {
		groups = append(groups, device/codec.GroupSize)
	}
	slices.Sort(groups)
	var out []Range
	for _, g := range groups {
		if n := len(out); n > 0 && g <= out[n-1].To+2 {
			out[n-1].To = g
			continue
		}
		out = append(out, Range{g, g})
	}
	return out
}

func (q *rollupQuery) addDayRuns(c *cover, days Range, sums *daySums) error {
	v := q.view
	day := &v.day
	for _, groups := range v.groupRanges() {
		query := Query{Table: Days, Scopes: c.scopes, Major: days, Minor: groups, Data: MainData}
		err := v.s.Find(v.ctx, query, func(d *Doc) error {
			parts := codec.DayParts{Sketches: sums.sketch, Hours: sums.of(d)}
			if parts.Hours == 0 {
				return nil
			}
			if v.picky(d.Scope) {
				parts.Keep = v.wantsIn(d.Scope)
			}
			if err := codec.DecodeDay(day, d.Data[0], parts); err != nil {
				return err
			}
			sums.add(day, d)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addCuts adds the logs of the ranges that no sum covers: of parts of hours, or of any range where steps are minutes.
func (q *rollupQuery) addCuts(c *cover, p plan, groupers []*grouping.Grouper) error {
	for i := range c.cuts {
		cut := &c.cuts[i]
		if hour := codec.BucketOf(codec.LevelHour, cut.from); q.changes != nil && codec.BucketOf(codec.LevelHour, cut.to-1) == hour {
			q.changes.cuts[hour] = append(q.changes.cuts[hour], func() error { return q.addCut(c, cut, p, groupers) })
			continue
		}
		if err := q.addCut(c, cut, p, groupers); err != nil {
			return err
		}
	}
	if !p.sketch || p.source != fromDays {
		return nil
	}
	// Days have no sketches of hours.
	for i := range c.whole[codec.LevelHour] {
		if err := q.addCut(c, &c.whole[codec.LevelHour][i], p, groupers); err != nil {
			return err
		}
	}
	byScope := map[int64][]int64{}
	for _, row := range c.levels[codec.LevelHour] {
		byScope[row.scope] = append(byScope[row.scope], row.bucket)
	}
	for scope, buckets := range byScope {
		err := runsOf(buckets, func(first, last int64) error {
			hours := cut{scopes: []int64{scope}, timeRange: timeRange{from: codec.BucketStart(codec.LevelHour, first), to: codec.BucketStart(codec.LevelHour, last+1)}}
			return q.addCut(c, &hours, p, groupers)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *rollupQuery) addCut(c *cover, cut *cut, p plan, groupers []*grouping.Grouper) error {
	if p.sketch || p.top < codec.LevelHour || p.bounds != nil {
		return q.view.eachChunk(cut.scopes, cut.timeRange, func(scope int64, series []codec.Series, entries []codec.Entry) error {
			if c.skips(q.view, scope) {
				return nil
			}
			for i := range entries {
				for _, g := range groupers {
					g.AddEntry(&series[entries[i].Series], &entries[i])
				}
			}
			return nil
		})
	}
	// A part of an hour: its sums serve all groupings.
	key := cutKey{cut.from, cut.to, p.dead}
	cells, ok := q.cuts[key]
	if !ok {
		var err error
		if cells, err = q.sumCut(c, cut); err != nil {
			return err
		}
		q.cuts[key] = cells
	}
	for i := range cells {
		for _, g := range groupers {
			g.Add(cells[i].Device, cells[i].Event, cut.from, cells[i].Stats)
		}
	}
	return nil
}

// sumCut sums up a part of an hour.
func (q *rollupQuery) sumCut(c *cover, cut *cut) ([]codec.Cell, error) {
	var stats []hearth.Stats
	parts := [][]codec.Cell{{}}
	err := q.view.eachChunk(cut.scopes, cut.timeRange, func(scope int64, series []codec.Series, entries []codec.Entry) error {
		if c.skips(q.view, scope) {
			return nil
		}
		stats = append(stats[:0], make([]hearth.Stats, len(series))...)
		for i := range entries {
			series[entries[i].Series].Add(&stats[entries[i].Series], &entries[i])
		}
		part := make([]codec.Cell, 0, len(stats))
		for i := range stats {
			if n := len(part); stats[i].Count > 0 && n > 0 && part[n-1].Device == series[i].Device && part[n-1].Event == series[i].Event {
				part[n-1].Merge(stats[i]) // another kind of value
			} else if stats[i].Count > 0 {
				part = append(part, codec.Cell{Device: series[i].Device, Event: series[i].Event, Stats: stats[i]})
			}
		}
		parts = append(parts, part)
		return nil
	})
	for len(parts) > 1 {
		for i := range len(parts) / 2 {
			parts[i] = codec.MergeCells(parts[i], parts[len(parts)-1-i])
		}
		parts = parts[:(len(parts)+1)/2]
	}
	return parts[0], err
}
