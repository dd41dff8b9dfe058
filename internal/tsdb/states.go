package tsdb

import (
	"cmp"
	"context"
	"sort"
	"strings"
	"time"

	"hearth"
)

// statePage is how many logs are read at once.
const statePage = 1 << 12

// States implements hearth.LogStore.
func (e *Engine) States(ctx context.Context, query hearth.StateQuery) (out hearth.States, err error) {
	from := max(firstMilli, query.Span.From.UnixMilli())
	of := subject{
		operation: "States", reach: hearth.Reach{All: true}, devices: []int64{query.Device}, events: []string{query.Event},
		span: hearth.Span{From: time.UnixMilli(firstMilli), To: query.Span.To},
	}
	err = e.view(ctx, of, func(v *view) error {
		m := &stateMeter{held: map[hearth.Value]*hearth.StateTotal{}}
		page := &logPage{LogQuery: hearth.LogQuery{Device: query.Device}, view: v.within(firstMilli, from)}
		carried, err := page.collect()
		if err != nil {
			return err
		}
		if len(carried) > 0 {
			m.some, m.value, m.since = true, carried[0].Value, from
		}
		page = &logPage{LogQuery: hearth.LogQuery{Device: query.Device, Ascending: true, Limit: statePage}, view: v.within(from, endMilli)}
		for read := 0; ; read += statePage {
			if read >= hearth.MaxStateLogs {
				return hearth.Errorf(hearth.CodeValidationFailed, "the range has more than %d logs of the event: ask for a shorter one", hearth.MaxStateLogs)
			}
			page.out = nil
			logs, err := page.collect()
			if err != nil {
				return err
			}
			for _, log := range logs[:min(len(logs), statePage)] {
				if err := m.add(log.At, log.Value); err != nil {
					return err
				}
			}
			if len(logs) <= statePage {
				break
			}
			page.After = &logs[statePage-1]
		}
		out, err = m.result(v.to)
		return err
	})
	return out, err
}

// within returns the part of the view in [from, to).
func (v *view) within(from, to int64) *view {
	part := *v
	part.from, part.to, part.lastKey = max(v.from, from), min(v.to, to), Key{}
	return &part
}

// stateMeter measures how long values hold, from logs in order.
type stateMeter struct {
	hearth.States
	held map[hearth.Value]*hearth.StateTotal
	// some says that value holds since a time.
	some  bool
	value hearth.Value
	since int64
	// waits says that a log at next has the value then, unless another one of the same time follows.
	waits bool
	next  int64
	then  hearth.Value
}

// add takes the next log.
func (m *stateMeter) add(at int64, value hearth.Value) error {
	var err error
	if m.waits && m.next != at {
		err = m.turn()
	}
	m.waits, m.next, m.then = true, at, value
	return err
}

// turn lets the waiting value hold from its time on.
func (m *stateMeter) turn() error {
	m.waits = false
	if m.some && m.then == m.value {
		return nil
	}
	m.end(m.next)
	m.some, m.value, m.since = true, m.then, m.next
	total, err := m.total()
	if err == nil {
		total.Count++
	}
	return err
}

// total returns the total of the value that holds.
func (m *stateMeter) total() (*hearth.StateTotal, error) {
	total := m.held[m.value]
	if total == nil {
		if len(m.held) == hearth.MaxStateValues {
			return nil, hearth.Errorf(hearth.CodeValidationFailed, "the event has more than %d different values in the range", hearth.MaxStateValues)
		}
		total = &hearth.StateTotal{Value: m.value}
		m.held[m.value] = total
	}
	return total, nil
}

// end ends the value that holds.
func (m *stateMeter) end(at int64) {
	if !m.some || at <= m.since {
		return
	}
	if total, err := m.total(); err == nil {
		total.Held += at - m.since
	}
	if len(m.Segments) == hearth.MaxStateSegments {
		m.Truncated = true
		return
	}
	m.Segments = append(m.Segments, hearth.StateSegment{Value: m.value, From: m.since, To: at})
}

// result ends the measuring.
func (m *stateMeter) result(to int64) (hearth.States, error) {
	if m.waits {
		if err := m.turn(); err != nil {
			return hearth.States{}, err
		}
	}
	m.end(to)
	for _, total := range m.held {
		m.Totals = append(m.Totals, *total)
	}
	sort.Slice(m.Totals, func(i, j int) bool {
		a, b := &m.Totals[i], &m.Totals[j]
		return cmp.Or(cmp.Compare(b.Held, a.Held), cmp.Compare(a.Value.Kind(), b.Value.Kind()),
			cmp.Compare(a.Value.Number(), b.Value.Number()), strings.Compare(a.Value.Text(), b.Value.Text())) < 0
	})
	return m.States, nil
}
