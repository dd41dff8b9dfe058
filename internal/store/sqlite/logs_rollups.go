package sqlite

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"hearth"
	"hearth/internal/tsdb"
)

// Rollups implements hearth.LogStore.
func (s *Store) Rollups(ctx context.Context, query hearth.RollupQuery) ([][]hearth.Rollup, error) {
	out := make([][]hearth.Rollup, len(query.Groupings))
	err := s.read(ctx, "Rollups", func(r *reader) error {
		of := logScope{reach: query.Reach, devices: query.Devices, span: query.Span}
		if query.Event != "" {
			of.events = []string{query.Event}
		}
		v, err := s.openView(r, of)
		if err != nil {
			return err
		}
		defer v.returnMemory()
		q := newRollupQuery(v)
		for _, g := range query.Groupings {
			q.groupers = append(q.groupers, tsdb.NewGrouper(g))
		}
		if v.from < v.to {
			if err := q.run(); err != nil {
				return err
			}
		}
		for i, g := range q.groupers {
			if out[i], err = g.Result(func(event int64) (string, error) { return s.names.name(r, event) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// rollupQuery answers groupings from one view.
type rollupQuery struct {
	view     *logView
	groupers []*tsdb.Grouper
	// cuts remembers the sums of cut hours, which all groupings need, by scope and range.
	cuts map[[3]int64][]tsdb.Cell
	// covers remembers how a scope's range is put together, by scope and top level.
	covers map[[2]int64]*cover
}

func newRollupQuery(v *logView) *rollupQuery {
	return &rollupQuery{view: v, cuts: map[[3]int64][]tsdb.Cell{}, covers: map[[2]int64]*cover{}}
}

func (q *rollupQuery) run() error {
	for _, scope := range q.view.scopes {
		// Groupings that can be answered from the same rows are.
		plans := map[plan][]*tsdb.Grouper{}
		var order []plan
		for _, g := range q.groupers {
			p := q.planFor(scope, g)
			if plans[p] == nil {
				order = append(order, p)
			}
			plans[p] = append(plans[p], g)
		}
		for _, p := range order {
			if err := q.runPlan(scope, p, plans[p]); err != nil {
				return err
			}
		}
	}
	q.view.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) {
		for _, g := range q.groupers {
			g.AddEntry(&series[e.Series], e)
		}
	})
	return nil
}

// plan says which rows answer a grouping.
type plan struct {
	// top is the coarsest level that is fine enough; -1 is the logs alone.
	top int
	// source is what is read of those levels.
	source planSource
	sketch bool
}

type planSource int

const (
	// fromTotals: sums of the whole scope, at every level.
	fromTotals planSource = iota
	// fromCells: sums by device, of months and days, and hours from log_days.
	fromCells
	// fromDays: log_days alone, of the devices that are asked for; its sketches are of whole days.
	fromDays
)

func (q *rollupQuery) planFor(scope int64, g *tsdb.Grouper) plan {
	p := plan{sketch: g.Sketch}
	switch g.Step {
	case hearth.StepNone:
		p.top = tsdb.LevelMonth
	case hearth.StepDay:
		p.top = tsdb.LevelDay
	case hearth.StepHour:
		p.top = tsdb.LevelHour
	default:
		p.top = -1
	}
	switch {
	case q.view.devices != nil:
		p.source = fromDays
	case g.ByDevice || q.view.deadScopes[scope] > 0:
		p.source = fromCells
		if p.sketch {
			p.source = fromDays
		}
	}
	if p.source == fromDays {
		p.top = min(p.top, tsdb.LevelDay)
		if p.sketch && p.top == tsdb.LevelHour {
			p.top = -1
		}
	}
	return p
}

func (q *rollupQuery) runPlan(scope int64, p plan, groupers []*tsdb.Grouper) error {
	v := q.view
	key := [2]int64{scope, int64(p.top)}
	c := q.covers[key]
	if c == nil {
		var err error
		if c, err = v.coverRange(scope, p.top); err != nil {
			return err
		}
		q.covers[key] = c
	}
	var err error
	switch p.source {
	case fromTotals:
		err = q.addTotals(scope, c, p, groupers)
	case fromCells:
		for _, level := range []int{tsdb.LevelMonth, tsdb.LevelDay} {
			if err == nil {
				err = q.addCells(scope, c, level, groupers)
			}
		}
		if err == nil {
			err = q.addDays(scope, c, p, groupers)
		}
	case fromDays:
		err = q.addDays(scope, c, p, groupers)
	}
	if err != nil {
		return err
	}
	cuts := slices.Clone(c.cuts)
	if p.sketch && p.source == fromDays {
		// log_days has no sketches of hours.
		err = c.runs(tsdb.LevelHour, func(first, last int64) error {
			cuts = append(cuts, [2]int64{tsdb.BucketStart(tsdb.LevelHour, first), tsdb.BucketStart(tsdb.LevelHour, last+1)})
			return nil
		})
	}
	if err != nil {
		return err
	}
	for _, cut := range cuts {
		if err := q.addCut(scope, cut, p, groupers); err != nil {
			return err
		}
	}
	return nil
}

// addTotals adds sums of the whole scope.
func (q *rollupQuery) addTotals(scope int64, c *cover, p plan, groupers []*tsdb.Grouper) error {
	for level := range c.levels {
		for _, row := range c.levels[level] {
			at := tsdb.BucketStart(level, row.bucket)
			for i := range row.totals {
				cell := &row.totals[i]
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
		err := c.runs(level, func(first, last int64) error { return q.addSketches(scope, level, first, last, groupers) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *logView) wantsEvent(event int64) bool { return v.events == nil || v.events[event] }

func (q *rollupQuery) addSketches(scope int64, level int, first, last int64, groupers []*tsdb.Grouper) error {
	rows, err := q.view.q.query(`SELECT bucket, sketches FROM log_cells WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`,
		scope, level, first, last)
	if err != nil {
		return err
	}
	for rows.Next() {
		var bucket int64
		var data []byte
		if err := rows.Scan(&bucket, &data); err != nil {
			return closed(rows, err)
		}
		sketches, err := tsdb.DecodeSketches(data)
		if err != nil {
			return closed(rows, err)
		}
		for i, event := range sketches.Events {
			if !q.view.wantsEvent(event) {
				continue
			}
			for _, g := range groupers {
				g.AddSketch(0, event, tsdb.BucketStart(level, bucket), &sketches.Sketches[i])
			}
		}
	}
	return closed(rows, nil)
}

// addCells adds sums by device of whole days or months.
func (q *rollupQuery) addCells(scope int64, c *cover, level int, groupers []*tsdb.Grouper) error {
	var data sql.RawBytes
	picky := q.view.picky(scope)
	// By primary key.
	query := `SELECT bucket, iif(length(devices), devices, cells) FROM log_cells WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`
	if q.view.events != nil || slices.ContainsFunc(groupers, func(g *tsdb.Grouper) bool { return g.ByEvent }) {
		query = `SELECT bucket, cells FROM log_cells WHERE scope=? AND level=? AND bucket BETWEEN ? AND ?`
	}
	return c.runs(level, func(first, last int64) error {
		rows, err := q.view.q.query(query, scope, level, first, last)
		if err != nil {
			return err
		}
		for rows.Next() {
			var bucket int64
			if err := rows.Scan(&bucket, &data); err != nil {
				return closed(rows, err)
			}
			if q.view.cells, err = tsdb.DecodeCells(q.view.cells[:0], data); err != nil {
				return closed(rows, err)
			}
			at := tsdb.BucketStart(level, bucket)
			for i := range q.view.cells {
				cell := &q.view.cells[i]
				if picky && !q.view.wants(scope, cell.Device, cell.Event) {
					continue
				}
				for _, g := range groupers {
					g.Add(cell.Device, cell.Event, at, cell.Stats)
				}
			}
		}
		return closed(rows, nil)
	})
}

// addDays adds what log_days has of the cover's hours and, if nothing else returns them, its days.
func (q *rollupQuery) addDays(scope int64, c *cover, p plan, groupers []*tsdb.Grouper) error {
	hours := map[int64]uint32{}
	var days []int64
	mark := func(day int64, mask uint32) {
		if hours[day] == 0 {
			days = append(days, day)
		}
		hours[day] |= mask
	}
	if p.source == fromDays {
		for _, row := range c.levels[tsdb.LevelDay] {
			mark(row.bucket, 1<<24-1)
		}
	}
	if !p.sketch || p.source != fromDays {
		for _, row := range c.levels[tsdb.LevelHour] {
			day := tsdb.FloorDiv(row.bucket, 24)
			mark(day, 1<<(row.bucket-day*24))
		}
	}
	slices.Sort(days)
	for start := 0; start < len(days); {
		end := start + 1
		for end < len(days) && days[end] == days[end-1]+1 {
			end++
		}
		if err := q.addDayRows(scope, days[start], days[end-1], hours, p.sketch, groupers); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// allGroups is the range of groups where no devices are asked for.
var allGroups = [2]int64{0, math.MaxInt64}

// groupRanges returns the ranges of groups that the wanted devices are in.
func (v *logView) groupRanges(scope int64) [][2]int64 {
	if v.devices == nil {
		return [][2]int64{allGroups}
	}
	var groups []int64
	for device := range v.devices[scope] {
		groups = append(groups, device/tsdb.GroupSize)
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	var out [][2]int64
	for _, g := range groups {
		if n := len(out); n > 0 && g <= out[n-1][1]+2 {
			out[n-1][1] = g
			continue
		}
		out = append(out, [2]int64{g, g})
	}
	return out
}

func (q *rollupQuery) addDayRows(scope, first, last int64, hours map[int64]uint32, sketch bool, groupers []*tsdb.Grouper) error {
	day := &q.view.day
	var data sql.RawBytes
	parts := tsdb.DayParts{Sketches: sketch}
	if q.view.picky(scope) {
		parts.Keep = func(device, event int64) bool { return q.view.wants(scope, device, event) }
	}
	for _, groups := range q.view.groupRanges(scope) {
		rows, err := q.view.q.query(`SELECT day, data FROM log_days WHERE scope=? AND day BETWEEN ? AND ? AND grp BETWEEN ? AND ?`,
			scope, first, last, groups[0], groups[1])
		if err != nil {
			return err
		}
		for rows.Next() {
			var bucket int64
			if err := rows.Scan(&bucket, &data); err != nil {
				return closed(rows, err)
			}
			parts.Hours = hours[bucket]
			if err := tsdb.DecodeDay(day, data, parts); err != nil {
				return closed(rows, err)
			}
			for i := range day.Lines {
				line := &day.Lines[i]
				for _, g := range groupers {
					g.AddLine(day, line, bucket)
					if sketch {
						g.AddSketch(line.Device, line.Event, tsdb.BucketStart(tsdb.LevelDay, bucket), &line.Sketch)
					}
				}
			}
		}
		if err := closed(rows, nil); err != nil {
			return err
		}
	}
	return nil
}

// addCut adds the logs of a range: of a part of an hour, or of any range where steps are minutes.
func (q *rollupQuery) addCut(scope int64, cut [2]int64, p plan, groupers []*tsdb.Grouper) error {
	in := timeRange{from: cut[0], to: cut[1]}
	if p.sketch || p.top < tsdb.LevelHour {
		return q.view.chunkEntries(scope, in, func(series []tsdb.Series, e *tsdb.Entry) bool {
			for _, g := range groupers {
				g.AddEntry(&series[e.Series], e)
			}
			return true
		})
	}
	// A part of an hour: its sums serve all groupings.
	key := [3]int64{scope, cut[0], cut[1]}
	cells, ok := q.cuts[key]
	if !ok {
		var err error
		if cells, err = q.cutCells(scope, in); err != nil {
			return err
		}
		q.cuts[key] = cells
	}
	for i := range cells {
		for _, g := range groupers {
			g.Add(cells[i].Device, cells[i].Event, in.from, cells[i].Stats)
		}
	}
	return nil
}

// cutCells sums up a part of an hour.
func (q *rollupQuery) cutCells(scope int64, in timeRange) (cells []tsdb.Cell, err error) {
	var stats []hearth.Stats
	err = q.view.chunksIn(scope, in, func(chunk *tsdb.Chunk) bool {
		stats = append(stats[:0], make([]hearth.Stats, len(chunk.Series))...)
		entries := in.of(chunk)
		for i := range entries {
			stats[entries[i].Series].Add(entries[i].Value)
		}
		part := make([]tsdb.Cell, 0, len(stats))
		for i := range stats {
			if stats[i].Count > 0 {
				part = append(part, tsdb.Cell{Device: chunk.Series[i].Device, Event: chunk.Series[i].Event, Stats: stats[i]})
			}
		}
		cells = tsdb.MergeCells(cells, part)
		return true
	})
	return cells, err
}
