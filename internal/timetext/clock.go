package timetext

import (
	"fmt"
	"time"
)

// ClockTime writes a minute of a day, 0 to 1439, as "HH:MM".
func ClockTime(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// MinuteOfDay reads what [ClockTime] writes.
func MinuteOfDay(text string) int {
	at, _ := time.Parse("15:04", text) // it has the pattern
	return at.Hour()*60 + at.Minute()
}
