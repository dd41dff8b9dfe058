package timetext

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	good := map[string]time.Duration{
		"15m":         15 * time.Minute,
		"24h":         day,
		"7d":          7 * day,
		"30d":         30 * day,
		"1h30m":       90 * time.Minute,
		"1d1h1m1s1ms": day + time.Hour + time.Minute + time.Second + time.Millisecond,
		"250ms":       250 * time.Millisecond,
		"36525d":      MaxDuration,
		"007d":        7 * day,
		"0h5m":        5 * time.Minute,
	}
	for in, want := range good {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	bad := []string{
		"", " ", "15", "m", "15 m", " 15m", "15m ", "-15m", "+15m", "1.5h", "15M", "15min", "1w", "1y", "1µs", "1ns",
		"0m", "0d0h", "5m1h", "5m5m", "36526d", "36525d1ms", "9223372036854775807ms", "99999999999999999999d",
		"106751991167300d", "1h\x00", "١m",
	}
	for _, in := range bad {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v; want an error", in, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"15m", "7d", "1h30m", "36525d", "9223372036854775807ms", "", "-1s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseDuration(in)
		if err != nil {
			if got != 0 {
				t.Fatalf("ParseDuration(%q) gives %v beside an error", in, got)
			}
			return
		}
		if got <= 0 || got > MaxDuration {
			t.Fatalf("ParseDuration(%q) = %v, out of bounds", in, got)
		}
		again, err := ParseDuration(FormatDuration(got))
		if err != nil || again != got {
			t.Fatalf("FormatDuration(%v) = %q, which reads as %v, %v", got, FormatDuration(got), again, err)
		}
	})
}
