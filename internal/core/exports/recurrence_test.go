package exports

import (
	"testing"
	"time"

	"hearth"
)

func TestRecurrences(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		r    hearth.Recurrence
		now  string
		want []string // the times that follow
		last string
		from string // what the first of want covers
		to   string
	}{
		"daily": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 360}, "2026-03-01T05:59:59Z",
			[]string{"2026-03-01T06:00:00Z", "2026-03-02T06:00:00Z"}, "2026-02-28T06:00:00Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z",
		},
		"a time that is now is past": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 360}, "2026-03-01T06:00:00Z",
			[]string{"2026-03-02T06:00:00Z"}, "2026-03-01T06:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z",
		},
		"daily in Berlin, over the change of clocks": {
			hearth.Recurrence{Every: hearth.Daily, TimeZone: "Europe/Berlin"}, "2026-03-28T12:00:00Z",
			[]string{"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, "2026-03-27T23:00:00Z", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z",
		},
		"a time that a day leaves out is later on that day": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 150, TimeZone: "Europe/Berlin"}, "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}, "2026-03-28T01:30:00Z", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z",
		},
		"of a time that a day has twice the first counts": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 150, TimeZone: "Europe/Berlin"}, "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}, "2026-10-24T00:30:00Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z",
		},
		"a time that New York leaves out is later": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 150, TimeZone: "America/New_York"}, "2027-03-13T12:00:00Z",
			[]string{"2027-03-14T07:30:00Z", "2027-03-15T06:30:00Z"}, "2027-03-13T07:30:00Z", "2027-03-13T05:00:00Z", "2027-03-14T05:00:00Z",
		},
		"a day of Santiago without a midnight": {
			hearth.Recurrence{Every: hearth.Daily, TimeZone: "America/Santiago"}, "2026-09-05T12:00:00Z",
			[]string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}, "2026-09-05T04:00:00Z", "2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z",
		},
		"a time that ends a day of Nuuk, which leaves it out": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 1410, TimeZone: "America/Nuuk"}, "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T00:59:00Z", "2026-03-30T00:30:00Z"}, "2026-03-28T01:30:00Z", "2026-03-27T02:00:00Z", "2026-03-28T02:00:00Z",
		},
		"far in the east it is tomorrow already": {
			hearth.Recurrence{Every: hearth.Daily, Minute: 60, TimeZone: "Pacific/Kiritimati"}, "2026-03-01T10:30:00Z",
			[]string{"2026-03-01T11:00:00Z"}, "2026-02-28T11:00:00Z", "2026-02-28T10:00:00Z", "2026-03-01T10:00:00Z",
		},
		"weekly on Monday": {
			hearth.Recurrence{Every: hearth.Weekly, Minute: 360, Weekday: time.Monday}, "2026-03-04T00:00:00Z", // a Wednesday
			[]string{"2026-03-09T06:00:00Z", "2026-03-16T06:00:00Z"}, "2026-03-02T06:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z",
		},
		"weekly on Sunday": {
			hearth.Recurrence{Every: hearth.Weekly, Weekday: time.Sunday}, "2026-03-04T00:00:00Z",
			[]string{"2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"}, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z",
		},
		"monthly on the first covers the month that ended": {
			hearth.Recurrence{Every: hearth.Monthly, Day: 1, Minute: 1}, "2024-02-10T00:00:00Z",
			[]string{"2024-03-01T00:01:00Z", "2024-04-01T00:01:00Z"}, "2024-02-01T00:01:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z",
		},
		"monthly on the 31st is the last day of shorter months": {
			hearth.Recurrence{Every: hearth.Monthly, Day: 31}, "2026-01-31T00:00:00Z",
			[]string{"2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"}, "2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			if got := latestTime(tt.r, now).Format(time.RFC3339); got != tt.last {
				t.Errorf("the last time was %s, want %s", got, tt.last)
			}
			next := now
			for i, want := range tt.want {
				before := next
				next = nextTime(tt.r, next)
				if got := next.Format(time.RFC3339); got != want {
					t.Errorf("time %d is %s, want %s", i, got, want)
				}
				if got := latestTime(tt.r, next); !got.Equal(next) {
					t.Errorf("at %v the last time was %v", next, got)
				}
				span := covered(tt.r, next)
				if i == 0 && (span.From.Format(time.RFC3339) != tt.from || span.To.Format(time.RFC3339) != tt.to) {
					t.Errorf("it covers %v to %v, want %s to %s", span.From, span.To, tt.from, tt.to)
				}
				if i > 0 && !span.From.Equal(covered(tt.r, before).To) {
					t.Errorf("from %v to %v nothing, or something twice, is covered", covered(tt.r, before).To, span.From)
				}
			}
		})
	}
}
