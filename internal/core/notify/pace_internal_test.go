package notify

import (
	"testing"
	"time"

	"hearth"
)

func TestQuietHoursGoByTheClockOfTheUser(t *testing.T) {
	t.Parallel()
	night, noon := &hearth.QuietHours{Start: 22 * 60, End: 7 * 60}, &hearth.QuietHours{Start: 12 * 60, End: 14 * 60}
	for _, tt := range []struct {
		quiet    *hearth.QuietHours
		zone     string
		at, want string
	}{
		{nil, "UTC", "2026-03-01T23:00:00Z", "2026-03-01T23:00:00Z"},
		{night, "UTC", "2026-03-01T21:59:59Z", "2026-03-01T21:59:59Z"},
		{night, "UTC", "2026-03-01T22:00:00Z", "2026-03-02T07:00:00Z"},
		{night, "UTC", "2026-03-02T06:59:59Z", "2026-03-02T07:00:00Z"},
		{night, "UTC", "2026-03-02T07:00:00Z", "2026-03-02T07:00:00Z"},
		{night, "Asia/Kolkata", "2026-03-01T16:30:00Z", "2026-03-02T01:30:00Z"},
		{night, "America/New_York", "2026-03-01T22:00:00Z", "2026-03-01T22:00:00Z"},
		{noon, "UTC", "2026-03-01T13:00:00Z", "2026-03-01T14:00:00Z"},
		{noon, "UTC", "2026-03-01T23:00:00Z", "2026-03-01T23:00:00Z"},
		{night, "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"}, // clocks are put forward: an hour less
		{night, "Europe/Berlin", "2026-10-24T21:00:00Z", "2026-10-25T06:00:00Z"}, // and back
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		p := paceOf(hearth.User{TimeZone: tt.zone}, hearth.NotificationSettings{Quiet: tt.quiet}, 0)
		if got := p.quietUntil(at).UTC().Format(time.RFC3339); got != tt.want {
			t.Errorf("%+v in %s at %s: %s, want %s", tt.quiet, tt.zone, tt.at, got, tt.want)
		}
	}
}

func TestWhatIsShownOfAURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://example.com/": "https://example.com/", "https://example.com": "https://example.com/", "https://ntfy.sh/home": "https://ntfy.sh/…",
		"https://h.example/a?key=0123456789abcdefgh": "https://h.example/…efgh",
	} {
		if got := addressOf(url); got != want {
			t.Errorf("%s is shown as %s", url, got)
		}
	}
}
