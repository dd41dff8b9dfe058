package cleanup

import (
	"context"
	"log/slog"
	"time"

	"hearth"
)

const (
	// maxGap is how far the clock may be after the last clean-up. A clock that is further ahead is confirmed by one that shows confirmAfter
	// more.
	maxGap       = 24 * time.Hour
	confirmAfter = 24 * time.Hour
	// noteEvery is how old the note of the last clean-up may be while the clock is believed.
	noteEvery = time.Hour
)

// Clock tells whether what removes old records may go by the time. A clock that is far ahead, and put right later, removes nothing.
type Clock struct {
	Store interface {
		Uptime(ctx context.Context) (hearth.Uptime, error)
		UpdateUptime(ctx context.Context, change func(hearth.Uptime) hearth.Uptime) (hearth.Uptime, error)
	}
	Clock hearth.Clock
	Log   *slog.Logger
}

// Believed reports whether old records may be removed by the time that the clock shows.
func (c Clock) Believed(ctx context.Context) (bool, error) {
	up, err := c.Store.Uptime(ctx)
	if err != nil {
		return false, err
	}
	now := c.Clock.Now()
	if age := now.Sub(up.BelievedAt); age >= 0 && age < noteEvery && up.DoubtedAt.IsZero() {
		return true, nil
	}
	doubted := up.DoubtedAt
	up, err = c.Store.UpdateUptime(ctx, func(u hearth.Uptime) hearth.Uptime { return judged(u, now) })
	if err != nil {
		return false, err
	}
	if up.DoubtedAt.IsZero() {
		return true, nil
	}
	if !up.DoubtedAt.Equal(doubted) {
		c.Log.WarnContext(ctx, "the clock is far ahead of the last clean-up: nothing old is removed for a day, in case it is wrong",
			"clock", now, "last_clean_up", up.BelievedAt)
	}
	return false, nil
}

// judged returns what is known once the clock shows now: that it is believed, or since which time it is doubted.
func judged(u hearth.Uptime, now time.Time) hearth.Uptime {
	confirmed := !u.DoubtedAt.IsZero() && now.Sub(u.DoubtedAt) >= confirmAfter
	switch {
	case u.BelievedAt.IsZero(), now.Sub(u.BelievedAt) <= maxGap, confirmed:
		u.BelievedAt, u.DoubtedAt = now, time.Time{}
	case u.DoubtedAt.IsZero() || now.Before(u.DoubtedAt):
		u.DoubtedAt = now
	}
	return u
}
