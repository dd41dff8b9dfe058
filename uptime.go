package hearth

import (
	"slices"
	"time"
)

const (
	// AliveEvery is how often the processes of a deployment note together that one of them runs.
	AliveEvery = time.Second
	// OutageAfter is how old such a note is at least where none of them ran.
	OutageAfter = 3 * AliveEvery
	// MaxOutages bounds the outages that are kept: of more, the shortest goes.
	MaxOutages = 100
)

// Uptime says when hearth ran, as far as rules that watch for silence have to know.
type Uptime struct {
	// AliveAt is when a process noted last that it runs; zero while no rule watches for silence.
	AliveAt time.Time
	// Outages are when none ran, in order.
	Outages []Outage
}

// Outage is a time in which hearth was down, or could not store anything.
type Outage struct{ From, To time.Time }

// Alive returns what is known once a process notes, at the time now, that it runs. A note that is older than after means an outage; one of
// the future, that the clock was set back.
func (u Uptime) Alive(now time.Time, after time.Duration) Uptime {
	outages := slices.Clone(u.Outages)
	switch gap := now.Sub(u.AliveAt); {
	case u.AliveAt.IsZero():
	case gap > after:
		outages = append(outages, Outage{u.AliveAt, now})
	case gap < 0:
		outages = slices.DeleteFunc(outages, func(o Outage) bool { return o.To.After(now) })
	}
	if len(outages) > MaxOutages {
		shortest := slices.MinFunc(outages, func(a, b Outage) int { return int(a.To.Sub(a.From) - b.To.Sub(b.From)) })
		outages = slices.Delete(outages, slices.Index(outages, shortest), slices.Index(outages, shortest)+1)
	}
	return Uptime{AliveAt: now, Outages: outages}
}
