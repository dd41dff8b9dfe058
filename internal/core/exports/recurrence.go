package exports

import (
	"time"

	"hearth"
	"hearth/internal/calendar"
)

// period returns the start of the period that day is in: that day, the Monday of its week, the first of its month.
func period(r hearth.Recurrence, day time.Time) time.Time {
	switch r.Every {
	case hearth.Weekly:
		return day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
	case hearth.Monthly:
		return day.AddDate(0, 0, 1-day.Day())
	}
	return day
}

// dayOf returns the day of the period n after the one that starts then on which the time of the recurrence comes.
func dayOf(r hearth.Recurrence, start time.Time, n int) time.Time {
	switch r.Every {
	case hearth.Weekly:
		return start.AddDate(0, 0, 7*n+(int(r.Weekday)+6)%7)
	case hearth.Monthly:
		start = start.AddDate(0, n, 0)
		last := start.AddDate(0, 1, -1).Day()
		return start.AddDate(0, 0, min(r.Day, last)-1)
	}
	return start.AddDate(0, 0, n)
}

// zoneOf returns the time zone of a recurrence, which is valid.
func zoneOf(r hearth.Recurrence) *time.Location {
	zone, err := hearth.TimeZone(r.TimeZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

// nextTime returns the first time of a recurrence after t.
func nextTime(r hearth.Recurrence, t time.Time) time.Time {
	zone := zoneOf(r)
	for n, start := -1, period(r, calendar.DateOf(t.In(zone))); ; n++ {
		if next := calendar.At(dayOf(r, start, n), r.Minute, zone); next.After(t) {
			return next
		}
	}
}

// latestTime returns the last time of a recurrence that is not after t.
func latestTime(r hearth.Recurrence, t time.Time) time.Time {
	zone := zoneOf(r)
	for n, start := 1, period(r, calendar.DateOf(t.In(zone))); ; n-- {
		if latest := calendar.At(dayOf(r, start, n), r.Minute, zone); !latest.After(t) {
			return latest
		}
	}
}

// covered returns what the time slot, one of the recurrence, looks back on: whole days of the place, from the day of the time before to the
// day of this one, which is not in it. So one after another they cover every moment once.
func covered(r hearth.Recurrence, slot time.Time) hearth.Span {
	zone := zoneOf(r)
	start := period(r, calendar.DateOf(slot.In(zone)))
	return hearth.Span{From: calendar.Start(dayOf(r, start, -1), zone), To: calendar.Start(dayOf(r, start, 0), zone)}
}
