package hearth

import "time"

// Clock tells the time; a test sets its own.
type Clock func() time.Time

// Now returns the clock's time as the contract writes it: UTC, whole milliseconds. A nil Clock is the system's.
func (c Clock) Now() time.Time {
	if c == nil {
		return Millis(time.Now())
	}
	return Millis(c())
}

// Millis returns t in UTC, cut to whole milliseconds and without a monotonic reading.
func Millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond).Round(0) }
