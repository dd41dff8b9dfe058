// Package timetext reads and writes durations and timestamps as the API, the settings and imports spell them: 7d, 1h30m,
// 2026-11-29T10:00:00.000Z.
package timetext

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxDuration is the longest duration that ParseDuration takes: 36,525 days, a hundred years.
const MaxDuration = 36525 * day

const day = 24 * time.Hour

// durationUnits are the units of ParseDuration, the largest first.
var durationUnits = [...]struct { // never written to
	name string
	size time.Duration
}{
	{"d", day},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

// ParseDuration reads a duration as the contract writes it: a whole number and a unit, such as 15m, 24h or 7d, or several
// with falling units, such as 1h30m. Units are d (24 hours), h, m, s and ms. The result is positive and at most
// MaxDuration; anything else is an error whose text can be shown to people and does not repeat the input.
func ParseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, errDuration()
	}
	var total time.Duration
	units := durationUnits[:]
	for s != "" {
		number, rest := leadingDigits(s)
		if number == "" || len(number) > 18 { // 18 digits always fit an int64
			return 0, errDuration()
		}
		name, rest := leadingLetters(rest)
		for len(units) > 0 && units[0].name != name {
			units = units[1:]
		}
		if len(units) == 0 {
			return 0, errDuration()
		}
		size := units[0].size
		units = units[1:]

		var count int64
		for _, digit := range []byte(number) {
			count = count*10 + int64(digit-'0')
		}
		// Compared by division, so that nothing overflows.
		if count > int64((MaxDuration-total)/size) {
			return 0, fmt.Errorf("must be at most %dd", MaxDuration/day)
		}
		total += time.Duration(count) * size
		s = rest
	}
	if total == 0 {
		return 0, errors.New("must be longer than zero")
	}
	return total, nil
}

// FormatDuration writes d as ParseDuration reads it, with the largest units that fit. Parts below a millisecond are left
// out, and a duration without a whole millisecond is "0ms", which ParseDuration refuses.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, unit := range durationUnits {
		if count := int64(d / unit.size); count > 0 {
			fmt.Fprintf(&b, "%d%s", count, unit.name)
			d %= unit.size
		}
	}
	if b.Len() == 0 {
		return "0ms"
	}
	return b.String()
}

func errDuration() error {
	return errors.New("must be a duration such as 15m, 24h or 7d")
}

func leadingDigits(s string) (digits, rest string) {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	return s[:end], s[end:]
}

func leadingLetters(s string) (letters, rest string) {
	end := 0
	for end < len(s) && s[end] >= 'a' && s[end] <= 'z' {
		end++
	}
	return s[:end], s[end:]
}
