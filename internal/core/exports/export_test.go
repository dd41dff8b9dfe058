package exports

import (
	"time"

	"hearth"
)

// NextTime is nextTime.
func NextTime(r hearth.Recurrence, t time.Time) time.Time { return nextTime(r, t) }
