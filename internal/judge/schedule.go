package judge

import (
	"slices"
	"time"

	"hearth"
	"hearth/internal/calendar"
)

// schedule is a hearth.RuleSchedule with its zone; nil is always.
type schedule struct {
	hearth.RuleSchedule
	zone *time.Location
}

// met returns when something that began at a time has lasted as long as d, counted from then or from where the schedule begins later. ok
// is false if no window of the schedule is that long.
func (s *schedule) met(since time.Time, d time.Duration) (at time.Time, ok bool) {
	if s == nil {
		return since.Add(d), true
	}
	const week = 7
	date := calendar.DateOf(since.In(s.zone)).AddDate(0, 0, -1) // a window of yesterday may go on
	last := date.AddDate(0, 0, int(hearth.MaxRuleTime.Hours())/24+2*week)
	var from, to time.Time // a window, with those that follow it without a gap
	for ; date.Before(last); date = date.AddDate(0, 0, 1) {
		if !slices.Contains(s.Days, date.Weekday()) {
			continue
		}
		start, end := s.window(date)
		if !end.After(since) || !end.After(start) {
			continue
		}
		if start.After(to) {
			from = start
		}
		to = end
		begin := from
		if since.After(from) {
			begin = since
		}
		if at = begin.Add(d); at.Before(to) {
			return at, true
		}
	}
	return time.Time{}, false
}

// window returns the window that begins on a date.
func (s *schedule) window(date time.Time) (start, end time.Time) {
	last := date
	if s.End <= s.Start {
		last = date.AddDate(0, 0, 1)
	}
	return calendar.At(date, s.Start, s.zone), calendar.At(last, s.End, s.zone)
}
