package mongodb

import (
	"context"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/tsdb"
)

// Rollups implements hearth.LogStore.
func (s *Store) Rollups(ctx context.Context, query hearth.RollupQuery) (out [][]hearth.Rollup, err error) {
	of := logScope{reach: query.Reach, devices: query.Devices, span: query.Span}
	if query.Event != "" {
		of.events = []string{query.Event}
	}
	err = s.do(ctx, "Rollups", func(ctx context.Context) error {
		var groupers []*tsdb.Grouper
		start := func() {
			groupers = groupers[:0]
			for _, g := range query.Groupings {
				groupers = append(groupers, tsdb.NewGrouper(g))
			}
		}
		start()
		err := s.logs.view(ctx, of, func(v *logView) error {
			start() // it may not be the first try
			return v.rollups(ctx, groupers)
		})
		if err != nil {
			return err
		}
		out = make([][]hearth.Rollup, len(groupers))
		for i, g := range groupers {
			out[i], err = g.Result(func(event int64) (string, error) { return s.logs.eventOf(ctx, event) })
			if err != nil {
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

// CountLogs implements hearth.LogStore: it adds up months.
func (s *Store) CountLogs(ctx context.Context, reach hearth.Reach) (n int64, err error) {
	err = s.do(ctx, "CountLogs", func(ctx context.Context) error {
		n = 0
		return s.logs.view(ctx, logScope{reach: reach, span: everSpan()}, func(v *logView) error {
			g := tsdb.NewGrouper(hearth.Grouping{})
			err := v.rollups(ctx, []*tsdb.Grouper{g})
			n = g.Count()
			return err
		})
	})
	return n, err
}

// rollupPlan says which documents answer a grouping.
type rollupPlan struct {
	// top is the coarsest level that is fine enough; -1 is the logs alone.
	top    int
	source planSource
	sketch bool
}

type planSource int

const (
	// fromTotals: sums of whole blocks, at every level.
	fromTotals planSource = iota
	// fromCells: sums by device, of months and days; hours from days.
	fromCells
	// fromDays: days of the devices that are asked for; their sketches are of whole days.
	fromDays
)

func (v *logView) plan(g *tsdb.Grouper) rollupPlan {
	p := rollupPlan{sketch: g.Sketch, top: -1}
	switch g.Step {
	case hearth.StepNone:
		p.top = tsdb.LevelMonth
	case hearth.StepDay:
		p.top = tsdb.LevelDay
	case hearth.StepHour:
		p.top = tsdb.LevelHour
	}
	switch {
	case v.devices != nil:
		p.source = fromDays
	case g.ByDevice || len(v.dead) > 0:
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

// rollups adds the view's logs to the groupers.
func (v *logView) rollups(ctx context.Context, groupers []*tsdb.Grouper) error {
	// Groupings that the same documents answer share them.
	plans := map[rollupPlan][]*tsdb.Grouper{}
	var order []rollupPlan
	for _, g := range groupers {
		p := v.plan(g)
		if plans[p] == nil {
			order = append(order, p)
		}
		plans[p] = append(plans[p], g)
	}
	for _, p := range order {
		if err := v.runPlan(ctx, p, plans[p]); err != nil {
			return err
		}
	}
	v.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) {
		for _, g := range groupers {
			g.AddEntry(&series[e.Series], e)
		}
	})
	return nil
}

// stretch is a range of a block's time that is still to be put together.
type stretch struct{ from, to int64 }

// run is the carrying out of a plan.
type planRun struct {
	*logView
	rollupPlan
	groupers []*tsdb.Grouper
	// left are the stretches of blocks that coarser levels cut; all is the one of all blocks, at the coarsest level.
	left map[int64][]stretch
	cuts []cut
	// hours are, by scope and day, the hours that days have to give, and whole the days whose everything is wanted.
	hours map[[2]int64]map[int64]uint32
}

func (v *logView) runPlan(ctx context.Context, p rollupPlan, groupers []*tsdb.Grouper) error {
	r := &planRun{logView: v, rollupPlan: p, groupers: groupers, hours: map[[2]int64]map[int64]uint32{}}
	// Levels that a range is too short for are left out.
	top := max(p.top, tsdb.LevelHour)
	switch width := v.to - v.from; {
	case width < tsdb.DayMillis:
		top = tsdb.LevelHour
	case width < 28*tsdb.DayMillis:
		top = min(top, tsdb.LevelDay)
	}
	for level := top; level >= tsdb.LevelHour; level-- {
		if err := r.level(ctx, level, level == top); err != nil {
			return err
		}
	}
	if err := r.addDays(ctx); err != nil {
		return err
	}
	return v.eachChunk(ctx, r.cuts, func(series []tsdb.Series, entries []tsdb.Entry) error {
		for i := range entries {
			for _, g := range groupers {
				g.AddEntry(&series[entries[i].Series], &entries[i])
			}
		}
		return nil
	})
}

// level takes the sums of a level that lie in what is left, whole; those that are cut are left to the next level. A sum is
// whole when all its logs are in the range, so that one that ends now takes the hour that is going on.
func (r *planRun) level(ctx context.Context, level int, first bool) error {
	filter := bson.M{"level": level}
	switch {
	case first:
		filter["bucket"] = bson.M{"$gte": tsdb.BucketOf(level, r.from), "$lte": tsdb.BucketOf(level, r.to-1)}
		if r.devices != nil {
			filter["block"] = in(r.blocks())
		}
		r.scopeFilter(filter) // by (scope, level, bucket, block), or (level, bucket)
	case len(r.left) == 0:
		return nil
	default:
		// Blocks are cut at the same places, so that they share the buckets.
		low, high, blocks := buckets(level, r.left)
		filter["bucket"] = bson.M{"$in": low}
		if high != nil {
			filter["bucket"] = bson.M{"$gte": high[0], "$lte": high[1]}
		}
		filter["block"] = in(blocks)
		r.scopeFilter(filter)
	}
	left := r.left
	r.left = map[int64][]stretch{}
	fields := []string{"scope", "block", "bucket", "now.ver", "now.n", "now.lo", "now.hi", "old.ver", "old.n", "old.lo", "old.hi"}
	for _, version := range []string{"now.", "old."} {
		switch {
		case r.source == fromTotals:
			fields = append(fields, version+"totals")
			if r.sketch {
				fields = append(fields, version+"sketches")
			}
		case r.source == fromCells && level > tsdb.LevelHour:
			fields = append(fields, version+"cells")
		}
		if level == tsdb.LevelHour {
			fields = append(fields, version+"parts")
		}
	}
	return r.eachSum(ctx, filter, projecting(fields...), func(d *sumDoc, s *sumState) error {
		stretches := []stretch{{r.from, r.to}}
		if !first {
			stretches = left[d.Block]
		}
		for _, part := range stretches {
			from, to := max(part.from, tsdb.BucketStart(level, d.Bucket)), min(part.to, tsdb.BucketStart(level, d.Bucket+1))
			if from >= to || s.Hi < from || s.Lo >= to {
				continue
			}
			if s.Lo >= from && s.Hi < to && r.usable(level) {
				if err := r.take(level, d, s); err != nil {
					return err
				}
				continue
			}
			if level == tsdb.LevelHour {
				r.cuts = append(r.cuts, cut{s.Parts, from, to})
				continue
			}
			r.left[d.Block] = append(r.left[d.Block], stretch{from, to})
		}
		return nil
	})
}

// usable reports whether whole sums of a level answer the plan.
func (r *planRun) usable(level int) bool {
	return level <= r.top && (level != tsdb.LevelHour || r.source != fromDays || !r.sketch)
}

// buckets returns the buckets of a level that the stretches touch: a list, or, where that would be long, a range.
func buckets(level int, left map[int64][]stretch) (list []int64, bounds []int64, blocks []int64) {
	seen := map[int64]bool{}
	for block, stretches := range left {
		blocks = append(blocks, block)
		for _, s := range stretches {
			for b := tsdb.BucketOf(level, s.from); b <= tsdb.BucketOf(level, s.to-1); b++ {
				if !seen[b] {
					seen[b] = true
					list = append(list, b)
				}
			}
		}
	}
	slices.Sort(list)
	slices.Sort(blocks)
	if len(list) > idsAtOnce {
		return nil, []int64{list[0], list[len(list)-1]}, blocks
	}
	return list, nil, blocks
}

// take adds a whole sum.
func (r *planRun) take(level int, d *sumDoc, s *sumState) error {
	at := tsdb.BucketStart(level, d.Bucket)
	switch {
	case r.source == fromDays, r.source == fromCells && level == tsdb.LevelHour:
		day, mask := d.Bucket, uint32(tsdb.WholeDay)
		if level == tsdb.LevelHour {
			day = tsdb.FloorDiv(d.Bucket, 24)
			mask = 1 << (d.Bucket - day*24)
		}
		key := [2]int64{d.Scope, day}
		if r.hours[key] == nil {
			r.hours[key] = map[int64]uint32{}
		}
		r.hours[key][d.Block] |= mask
		return nil
	case r.source == fromCells:
		return r.addCells(s.Cells, at)
	}
	if err := r.addCells(s.Totals, at); err != nil {
		return err
	}
	if !r.sketch {
		return nil
	}
	sketches, err := tsdb.DecodeSketches(s.Sketches)
	if err != nil {
		return err
	}
	for i, event := range sketches.Events {
		if r.events != nil && !r.events[event] {
			continue
		}
		for _, g := range r.groupers {
			g.AddSketch(0, event, at, &sketches.Sketches[i])
		}
	}
	return nil
}

// addCells adds cells, by device (fromCells) or of whole blocks.
func (r *planRun) addCells(data []byte, at int64) error {
	cells, err := tsdb.DecodeCells(nil, data)
	if err != nil {
		return err
	}
	for i := range cells {
		cell := &cells[i]
		if r.source == fromCells && !r.wants(cell.Device, cell.Event) || r.events != nil && !r.events[cell.Event] {
			continue
		}
		for _, g := range r.groupers {
			g.Add(cell.Device, cell.Event, at, cell.Stats)
		}
	}
	return nil
}

// addDays adds the hours and days that days of groups have to give.
func (r *planRun) addDays(ctx context.Context) error {
	if len(r.hours) == 0 {
		return nil
	}
	seen := map[int64]bool{}
	var days []int64
	for key := range r.hours {
		if !seen[key[1]] {
			seen[key[1]] = true
			days = append(days, key[1])
		}
	}
	slices.Sort(days)
	filter := bson.M{"day": in(days)} // by (day, scope)
	if r.devices != nil {
		filter["group"] = in(r.groups()) // by (scope, group, day)
	}
	parts := tsdb.DayParts{Sketches: r.sketch}
	if r.picky() {
		parts.Keep = r.wants
	}
	return r.eachDay(ctx, filter, projecting("scope", "group", "day", "now", "old"), func(d *dayDoc, s *dayState) error {
		parts.Hours = r.hours[[2]int64{d.Scope, d.Day}][blockOf(d.Scope, d.Group*tsdb.GroupSize)]
		if parts.Hours == 0 || s == nil {
			return nil
		}
		if err := s.decode(&r.days, parts); err != nil {
			return err
		}
		for i := range r.days.Lines {
			line := &r.days.Lines[i]
			for _, g := range r.groupers {
				g.AddLine(&r.days, line, d.Day)
				if r.sketch {
					g.AddSketch(line.Device, line.Event, tsdb.BucketStart(tsdb.LevelDay, d.Day), &line.Sketch)
				}
			}
		}
		return nil
	})
}
