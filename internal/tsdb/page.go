package tsdb

import (
	"context"
	"slices"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// Logs implements hearth.LogStore.
func (e *Engine) Logs(ctx context.Context, query hearth.LogQuery) (out []hearth.LogEntry, err error) {
	of := subject{operation: "Logs", reach: hearth.Reach{All: true}, devices: []int64{query.Device}, span: query.Span}
	if query.Event != "" {
		of.events = []string{query.Event}
	}
	err = e.view(ctx, of, func(v *view) (err error) {
		p := &logPage{LogQuery: query, view: v}
		out, err = p.collect()
		return err
	})
	return out, err
}

// logPage gathers one page of a device's logs.
type logPage struct {
	hearth.LogQuery
	*view
	out []hearth.LogEntry
}

// order compares as the page is sorted.
func (p *logPage) order(a, b hearth.LogEntry) int {
	if p.Ascending {
		return compareLogs(a, b)
	}
	return compareLogs(b, a)
}

// collect returns the first Limit+1 entries, from the chunks and the tail.
func (p *logPage) collect() ([]hearth.LogEntry, error) {
	if p.After != nil {
		if p.Ascending {
			p.from = max(p.from, p.After.At)
		} else {
			p.to = min(p.to, p.After.At+1)
		}
	}
	if p.from >= p.to {
		return nil, nil
	}
	// The tail is small and in order of arrival: take all, then sort.
	var failed error
	p.tailEntries(func(series []codec.Series, e *codec.Entry) {
		if failed == nil {
			failed = p.add(series, e)
		}
	})
	if failed != nil {
		return nil, failed
	}
	fromTail := p.out
	p.out = nil
	if err := p.fromChunks(); err != nil {
		return nil, err
	}
	all := append(p.out, fromTail...)
	slices.SortFunc(all, p.order)
	return all[:min(len(all), p.Limit+1)], nil
}

// add takes an entry if it is past the place where the page starts.
func (p *logPage) add(series []codec.Series, e *codec.Entry) error {
	entry := hearth.LogEntry{Device: p.Device, At: e.At, Seq: e.Seq}
	if p.After != nil && p.order(entry, *p.After) <= 0 {
		return nil
	}
	entry, err := p.logOf(series, e)
	p.out = append(p.out, entry)
	return err
}

// fromChunks goes through the hours in which the device has such logs, so that a rare event is found without decoding
// what lies between.
func (p *logPage) fromChunks() error {
	first, last := codec.BucketOf(codec.LevelDay, p.from), codec.BucketOf(codec.LevelDay, p.to-1)
	for batch := 2; first <= last; batch = min(2*batch, 64) {
		days, err := p.daysOf(first, last, batch)
		if err != nil {
			return err
		}
		for _, run := range days.hourRuns(!p.Ascending) {
			in := timeRange{from: max(p.from, run[0]), to: min(p.to, run[1]), backward: !p.Ascending}
			if in.from >= in.to {
				continue
			}
			if err := p.fromHours(in); err != nil || len(p.out) > p.Limit {
				return err
			}
		}
		if len(days) < batch {
			return nil
		}
		if p.Ascending {
			first = days[len(days)-1].day + 1
		} else {
			last = days[len(days)-1].day - 1
		}
	}
	return nil
}

// fromHours takes entries of the range in the page's order, until the page is full.
func (p *logPage) fromHours(in timeRange) error {
	keys, err := p.chunkKeys(p.scopes, in)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := p.loadChunk(key, in); err != nil {
			return err
		}
		entries := in.of(&p.lastChunk)
		for i := range entries {
			e := &entries[i]
			if in.backward {
				e = &entries[len(entries)-1-i]
			}
			if err := p.add(p.lastChunk.Series, e); err != nil || len(p.out) > p.Limit {
				return err
			}
		}
	}
	return nil
}

// dayHours says in which hours of a day there are logs.
type dayHours struct {
	day   int64
	hours uint32
}

type dayList []dayHours

// daysOf returns up to limit days of the range (of days, both ends inclusive) with the hours in which the device has wanted
// logs; days without any are among them.
func (p *logPage) daysOf(first, last int64, limit int) (out dayList, err error) {
	group := p.Device / codec.GroupSize
	query := Query{
		Table: Days, Scopes: p.scopes, Major: Range{first, last}, Minor: Range{group, group},
		Backward: !p.Ascending, Limit: limit, Data: MainData,
	}
	err = p.s.Find(p.ctx, query, func(d *Doc) error {
		if err := codec.DecodeDay(&p.day, d.Data[0], codec.DayParts{Keep: p.wantsIn(d.Scope)}); err != nil {
			return err
		}
		one := dayHours{day: d.Major}
		for i := range p.day.Lines {
			one.hours |= p.day.Lines[i].All
		}
		out = append(out, one)
		return nil
	})
	return out, err
}

// hourRuns returns ranges of milliseconds that hold all the hours, in the list's order; hours that lie close together share
// one.
func (l dayList) hourRuns(backward bool) [][2]int64 {
	const near = 2 * codec.HourMillis
	var out [][2]int64
	for _, d := range l {
		for i := range 24 {
			hour := i
			if backward {
				hour = 23 - i
			}
			if d.hours>>hour&1 == 0 {
				continue
			}
			start := codec.BucketStart(codec.LevelDay, d.day) + int64(hour)*codec.HourMillis
			end := start + codec.HourMillis
			if n := len(out); n > 0 && start-out[n-1][1] <= near && out[n-1][0]-end <= near {
				out[n-1][0], out[n-1][1] = min(out[n-1][0], start), max(out[n-1][1], end)
				continue
			}
			out = append(out, [2]int64{start, end})
		}
	}
	return out
}
