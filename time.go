package hearth

import (
	"sync/atomic"
	"time"
)

// Clock tells the time; a test sets its own.
type Clock func() time.Time

// Now returns the clock's time as the contract writes it: UTC, whole milliseconds. A nil Clock is the system's.
func (c Clock) Now() time.Time {
	if c == nil {
		return Millis(time.Now())
	}
	return Millis(c())
}

// Since returns how long ago an earlier reading of the clock was. The system's clock may jump meanwhile: readings hold its monotonic clock too.
func (c Clock) Since(reading time.Time) time.Duration { return c.Reading().Sub(reading) }

// Reading returns the time for Since.
func (c Clock) Reading() time.Time {
	if c == nil {
		return time.Now()
	}
	return c()
}

// Millis returns t in UTC, cut to whole milliseconds and without a monotonic reading.
func Millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond).Round(0) }

// MaxSkew is how far the clocks of instances may be apart. What is of a later time was stored before the clock was put back.
const MaxSkew = time.Minute

// PutBack notices that a clock was put back. It may be used at once from many goroutines.
type PutBack struct{ last atomic.Int64 }

// maxStep is how far a clock that is only corrected goes back.
const maxStep = 10 * time.Second

// Note has the next call of Seen compare with now, if that is later than what it would compare with.
func (p *PutBack) Note(now time.Time) {
	for last := p.last.Load(); last != 0 && last < now.UnixMilli() && !p.last.CompareAndSwap(last, now.UnixMilli()); {
		last = p.last.Load()
	}
}

// Seen reports whether the clock is further back than at the call before. The first call reports true: the clock may have been put back
// while the program was stopped.
func (p *PutBack) Seen(now time.Time) bool {
	last := p.last.Swap(now.UnixMilli())
	return last == 0 || now.UnixMilli() < last-maxStep.Milliseconds()
}

// Forget has the next call of Seen report true: what was to be done about it has failed.
func (p *PutBack) Forget() { p.last.Store(0) }
