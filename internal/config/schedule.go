package config

import (
	"errors"
	"strings"
	"time"

	"hearth/internal/timetext"
)

// Schedule says when something happens by itself: every so often, counted from midnight UTC and Offset. The zero Schedule is
// never.
type Schedule struct {
	Every  time.Duration
	Offset time.Duration
}

// The bounds of Schedule.Every.
const (
	day      = 24 * time.Hour
	minEvery = time.Minute
	maxEvery = 366 * day
)

// ParseSchedule reads a duration, such as 6h, or one with a time of day in UTC, such as 24h@03:30.
func ParseSchedule(text string) (Schedule, error) {
	wrong := errors.New("must be a duration such as 6h, or one with a time of day in UTC such as 24h@03:30")
	every, at, timed := strings.Cut(text, "@")
	var s Schedule
	var err error
	if s.Every, err = timetext.ParseDuration(every); err != nil {
		return Schedule{}, wrong
	}
	if timed {
		clock, err := time.Parse("15:04", at)
		if err != nil {
			return Schedule{}, wrong
		}
		s.Offset = time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute
	}
	switch {
	case s.Every < minEvery || s.Every > maxEvery:
		return Schedule{}, errors.New("must come every 1m to 366d")
	case timed && s.Every%day != 0 && day%s.Every != 0:
		return Schedule{}, errors.New("must come several times a day or every few days, at even intervals, where it has a time of day: such as 6h@03:30 or 48h@03:30")
	case s.Offset >= s.Every:
		return Schedule{}, errors.New("must not come more often than its time of day")
	}
	return s, nil
}
