// Package calendar computes with dates and times of day in time zones: through changes of clocks, in zones with odd offsets, and where a
// day has no midnight.
package calendar

import (
	"slices"
	"time"
)

// At returns the moment of a date (of which the time of day and the location do not count) in a zone, minute minutes after midnight by the
// clock on the wall. Of a time that the day has twice the first counts; one that the day leaves out, because clocks are put forward, is as
// much later, or the last minute of the day.
func At(date time.Time, minute int, zone *time.Location) time.Time {
	year, month, day := date.Date()
	wall := time.Date(year, month, day, 0, minute, 0, 0, time.UTC)
	guess := time.Date(year, month, day, 0, minute, 0, 0, zone)
	start, end := guess.ZoneBounds()
	around := []time.Time{guess}
	if !start.IsZero() {
		around = append(around, start.Add(-time.Nanosecond))
	}
	if !end.IsZero() {
		around = append(around, end)
	}
	var first time.Time
	for _, t := range around {
		moment := wall.Add(-offset(t))
		if offset(moment.In(zone)) == offset(t) && (first.IsZero() || moment.Before(first)) {
			first = moment
		}
	}
	if !first.IsZero() {
		return first
	}
	// With the offset of before the change.
	later := guess.UTC()
	if !guess.Add(offset(guess)).UTC().After(wall) {
		later = wall.Add(-offset(guess))
	}
	change, _ := later.In(zone).ZoneBounds()
	if last := change.Add(-time.Minute); !sameDate(later.In(zone), date) && sameDate(last.In(zone), date) {
		return last.UTC()
	}
	return later
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// Start returns the first moment of a date in a zone. A date that the zone leaves out starts with the next one.
func Start(date time.Time, zone *time.Location) time.Time {
	t := At(date, 0, zone)
	start, _ := t.In(zone).ZoneBounds()
	if start.Before(t) && sameDate(start.In(zone), date) {
		return start.UTC() // clocks were put forward over midnight
	}
	return t
}

func sameDate(a, b time.Time) bool { return DateOf(a).Equal(DateOf(b)) }

// DateOf returns the date of a moment in its location, as midnight in UTC.
func DateOf(t time.Time) time.Time {
	year, month, day := t.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// Unit is a unit of the calendar.
type Unit string

// The units. Weeks begin on Monday.
const (
	Minute Unit = "minute"
	Hour   Unit = "hour"
	Day    Unit = "day"
	Week   Unit = "week"
	Month  Unit = "month"
)

// Shortest returns how long the shortest period of the unit is, changes of clocks aside.
func (u Unit) Shortest() time.Duration {
	switch u {
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	case Week:
		return 7 * 24 * time.Hour
	case Month:
		return 28 * 24 * time.Hour
	}
	return 24 * time.Hour
}

// first returns the first date of the period of a unit that a date is in.
func (u Unit) first(date time.Time) time.Time {
	switch u {
	case Week:
		return date.AddDate(0, 0, -(int(date.Weekday())+6)%7)
	case Month:
		return date.AddDate(0, 0, 1-date.Day())
	}
	return date
}

func (u Unit) next(date time.Time) time.Time {
	switch u {
	case Week:
		return date.AddDate(0, 0, 7)
	case Month:
		return date.AddDate(0, 1, 0)
	}
	return date.AddDate(0, 0, 1)
}

// Starts returns when the periods of a unit that touch [from, to) start in a zone, in Unix milliseconds, ascending: the first one is at or
// before from.
func Starts(from, to time.Time, unit Unit, zone *time.Location) []int64 {
	if unit == Minute || unit == Hour {
		return clockStarts(from, to, unit.Shortest(), zone)
	}
	// One period earlier: a date may begin anew, where clocks are put back over midnight.
	date := unit.first(unit.first(DateOf(from.In(zone))).AddDate(0, 0, -1))
	var out []int64
	for {
		start := Start(date, zone)
		if !start.Before(to) && len(out) > 0 {
			break
		}
		at := start.UnixMilli()
		if n := len(out); n > 0 && !start.After(from) {
			out[n-1] = at
		} else if n == 0 || at > out[n-1] {
			out = append(out, at)
		}
		date = unit.next(date)
	}
	return slices.Clip(out)
}

// clockStarts is Starts for what the clock shows.
func clockStarts(from, to time.Time, width time.Duration, zone *time.Location) []int64 {
	floor := func(t time.Time) time.Time {
		local := t.In(zone)
		floored := t.Add(offset(local)).Truncate(width).Add(-offset(local))
		if change, _ := local.ZoneBounds(); floored.Before(change) {
			return change
		}
		return floored
	}
	t := floor(from)
	out := []int64{t.UnixMilli()}
	for {
		next := floor(t.Add(width))
		if !next.After(t) {
			next = t.Add(width)
		}
		if t = next; !t.Before(to) {
			return out
		}
		out = append(out, t.UnixMilli())
	}
}

// Aligned reports whether every period of a unit that touches [from, to) starts, in a zone, at a whole one of UTC.
func Aligned(from, to time.Time, unit Unit, zone *time.Location) bool {
	if unit == Week || unit == Month {
		return false
	}
	for t := from.In(zone); ; {
		if offset(t)%unit.Shortest() != 0 || unit == Day && offset(t) != 0 {
			return false
		}
		_, end := t.ZoneBounds()
		if end.IsZero() || !end.Before(to) {
			return true
		}
		t = end
	}
}
