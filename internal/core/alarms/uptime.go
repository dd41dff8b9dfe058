package alarms

import (
	"slices"
	"time"

	"hearth"
)

const (
	// aliveEvery is how often the processes of a deployment note together that one of them runs.
	aliveEvery = time.Second
	// outageAfter is how old such a note is at least where none of them ran.
	outageAfter = 3 * aliveEvery
	// maxOutages bounds the outages that are kept: of more, the shortest goes.
	maxOutages = 100
)

// aliveAt returns what is known once a process notes, at the time now, that it runs. A note that is older than after means an outage; one of
// the future, that the clock was set back.
func aliveAt(u hearth.Uptime, now time.Time, after time.Duration) hearth.Uptime {
	outages := slices.Clone(u.Outages)
	switch gap := now.Sub(u.AliveAt); {
	case u.AliveAt.IsZero():
	case gap > after:
		outages = append(outages, hearth.Outage{From: u.AliveAt, To: now})
	case gap < 0:
		outages = slices.DeleteFunc(outages, func(o hearth.Outage) bool { return o.To.After(now) })
	}
	if len(outages) > maxOutages {
		shortest := slices.MinFunc(outages, func(a, b hearth.Outage) int { return int(a.To.Sub(a.From) - b.To.Sub(b.From)) })
		outages = slices.Delete(outages, slices.Index(outages, shortest), slices.Index(outages, shortest)+1)
	}
	u.AliveAt, u.Outages = now, outages
	return u
}
