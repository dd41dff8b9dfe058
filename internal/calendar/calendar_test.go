package calendar_test

import (
	"archive/zip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/calendar"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestTimesOfDay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ zone, date, clock, want string }{
		{"UTC", "2026-03-01", "06:00", "2026-03-01T06:00:00Z"},
		{"America/New_York", "2027-03-14", "02:30", "2027-03-14T07:30:00Z"}, // left out: 03:30 EDT
		{"America/New_York", "2026-11-01", "01:30", "2026-11-01T05:30:00Z"}, // twice: the first, in EDT
		{"Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:30:00Z"},
		{"Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30:00Z"},
		{"America/Santiago", "2026-09-06", "00:00", "2026-09-06T04:00:00Z"}, // no midnight: 01:00
		{"America/Santiago", "2026-09-06", "00:30", "2026-09-06T04:30:00Z"},
		{"Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:45:00Z"}, // half an hour is left out
		{"Asia/Kolkata", "2026-01-01", "00:00", "2025-12-31T18:30:00Z"},
		{"Pacific/Apia", "2011-12-30", "12:00", "2011-12-30T22:00:00Z"}, // a date that never was
	} {
		date, err := time.Parse(time.DateOnly, tt.date)
		if err != nil {
			t.Fatal(err)
		}
		clock, err := time.Parse("15:04", tt.clock)
		if err != nil {
			t.Fatal(err)
		}
		got := calendar.At(date, clock.Hour()*60+clock.Minute(), zone(t, tt.zone))
		if got.Format(time.RFC3339) != tt.want {
			t.Errorf("%s %s in %s is %s, want %s", tt.date, tt.clock, tt.zone, got.Format(time.RFC3339), tt.want)
		}
	}
}

// zones returns the names of all time zones that differ: of those that share a clock under several names, one.
func zones(t *testing.T) (names []string) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	clocks := map[uint32]bool{}
	for _, file := range r.File {
		if !strings.HasSuffix(file.Name, "/") && !clocks[file.CRC32] {
			clocks[file.CRC32] = true
			names = append(names, file.Name)
		}
	}
	if len(names) < 300 {
		t.Fatalf("there are only %d zones", len(names))
	}
	return names
}

// The table is the clock itself: every quarter of an hour is looked at, and the first at which a date is shown is where the date starts.
func TestDatesStartWithTheFirstMomentThatShowsThem(t *testing.T) {
	t.Parallel()
	for _, name := range zones(t) {
		z := zone(t, name)
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		to := from.AddDate(10, 0, 0)
		before := from.In(z)
		for t0 := before; ; {
			_, change := t0.ZoneBounds()
			if change.IsZero() || change.After(to) {
				break
			}
			checkAround(t, z, change)
			t0 = change
		}
		// And some days without a change.
		for d := range 20 {
			checkAround(t, z, from.AddDate(0, d, d))
		}
	}
}

func checkAround(t *testing.T, z *time.Location, change time.Time) {
	t.Helper()
	firsts := map[time.Time]time.Time{}
	start := change.Add(-49 * time.Hour).Truncate(15 * time.Minute)
	for at := start; at.Before(change.Add(49 * time.Hour)); at = at.Add(15 * time.Minute) {
		date := calendar.DateOf(at.In(z))
		if _, ok := firsts[date]; !ok {
			firsts[date] = at
		}
	}
	for date, first := range firsts {
		if date.Equal(calendar.DateOf(start.In(z))) {
			continue // it began before
		}
		if got := calendar.Start(date, z); !got.Equal(first) {
			t.Errorf("%s in %s starts at %s, want %s", date.Format(time.DateOnly), z, got, first)
		}
		for _, minute := range []int{0, 30, 59, 90, 150, 185, 1439} {
			at := calendar.At(date, minute, z)
			if shown := calendar.DateOf(at.In(z)); !shown.Equal(date) {
				t.Errorf("minute %d of %s in %s is on %s", minute, date.Format(time.DateOnly), z, shown.Format(time.DateOnly))
			}
		}
	}
}

func TestPeriodsFollowOneAnother(t *testing.T) {
	t.Parallel()
	moment := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, tt := range []struct {
		zone     string
		unit     calendar.Unit
		from, to string
		want     []string
	}{
		{"UTC", calendar.Week, "2026-03-04T10:00:00Z", "2026-03-16T00:00:00Z", []string{"2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"}},
		{"Europe/Berlin", calendar.Day, "2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z", []string{"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}},
		{"Asia/Kolkata", calendar.Month, "2026-01-31T18:29:59Z", "2026-03-01T00:00:00Z", []string{"2025-12-31T18:30:00Z", "2026-01-31T18:30:00Z", "2026-02-28T18:30:00Z"}},
		{"Asia/Kolkata", calendar.Hour, "2026-01-01T10:00:00Z", "2026-01-01T11:30:01Z", []string{"2026-01-01T09:30:00Z", "2026-01-01T10:30:00Z", "2026-01-01T11:30:00Z"}},
		{"America/Santiago", calendar.Day, "2026-09-05T12:00:00Z", "2026-09-07T00:00:00Z", []string{"2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z"}},
		{"Pacific/Apia", calendar.Day, "2011-12-30T09:00:00Z", "2012-01-01T00:00:00Z", []string{"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"}},
		{"Australia/Lord_Howe", calendar.Hour, "2026-10-03T15:00:00Z", "2026-10-03T17:00:00Z", []string{"2026-10-03T14:30:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"}},
	} {
		got := calendar.Starts(moment(tt.from), moment(tt.to), tt.unit, zone(t, tt.zone))
		var texts []string
		for _, at := range got {
			texts = append(texts, time.UnixMilli(at).UTC().Format(time.RFC3339))
		}
		if strings.Join(texts, " ") != strings.Join(tt.want, " ") {
			t.Errorf("%ss in %s from %s: %v, want %v", tt.unit, tt.zone, tt.from, texts, tt.want)
		}
	}
	for _, name := range zones(t) {
		z := zone(t, name)
		for _, unit := range []calendar.Unit{calendar.Hour, calendar.Day, calendar.Week, calendar.Month} {
			from, to := time.Date(2026, 1, 15, 13, 7, 0, 0, time.UTC), time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
			starts := calendar.Starts(from, to, unit, z)
			if starts[0] > from.UnixMilli() || starts[len(starts)-1] >= to.UnixMilli() || starts[1] <= from.UnixMilli() {
				t.Errorf("%ss in %s are from %v to %v", unit, z, time.UnixMilli(starts[0]).UTC(), time.UnixMilli(starts[len(starts)-1]).UTC())
			}
			for i := 1; i < len(starts); i++ {
				width := time.Duration(starts[i]-starts[i-1]) * time.Millisecond
				if width <= 0 || width < unit.Shortest()-24*time.Hour || unit == calendar.Day && (width < 22*time.Hour || width > 26*time.Hour) {
					t.Errorf("a %s in %s has %v", unit, z, width)
				}
			}
		}
	}
}

func TestAligned(t *testing.T) {
	t.Parallel()
	from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		zone string
		unit calendar.Unit
		want bool
	}{
		{"UTC", calendar.Day, true}, {"UTC", calendar.Week, false}, {"Europe/Berlin", calendar.Hour, true}, {"Europe/Berlin", calendar.Day, false},
		{"Asia/Kolkata", calendar.Hour, false}, {"Asia/Kolkata", calendar.Minute, true}, {"Europe/London", calendar.Day, false},
		{"Africa/Abidjan", calendar.Day, true}, {"Australia/Lord_Howe", calendar.Hour, false},
	} {
		if got := calendar.Aligned(from, to, tt.unit, zone(t, tt.zone)); got != tt.want {
			t.Errorf("%ss in %s: %v", tt.unit, tt.zone, got)
		}
	}
}
