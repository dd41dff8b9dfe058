package hearth

import (
	"testing"
	"time"
)

func TestRecurrences(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		r    Recurrence
		now  string
		want []string // the times that follow
		last string
		from string // what the first of want covers
		to   string
	}{
		"daily": {
			Recurrence{Every: Daily, Minute: 360}, "2026-03-01T05:59:59Z",
			[]string{"2026-03-01T06:00:00Z", "2026-03-02T06:00:00Z"}, "2026-02-28T06:00:00Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z",
		},
		"a time that is now is past": {
			Recurrence{Every: Daily, Minute: 360}, "2026-03-01T06:00:00Z",
			[]string{"2026-03-02T06:00:00Z"}, "2026-03-01T06:00:00Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z",
		},
		"daily in Berlin, over the change of clocks": {
			Recurrence{Every: Daily, TimeZone: "Europe/Berlin"}, "2026-03-28T12:00:00Z",
			[]string{"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, "2026-03-27T23:00:00Z", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z",
		},
		"a time that a day leaves out is later on that day": {
			Recurrence{Every: Daily, Minute: 150, TimeZone: "Europe/Berlin"}, "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}, "2026-03-28T01:30:00Z", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z",
		},
		"of a time that a day has twice the first counts": {
			Recurrence{Every: Daily, Minute: 150, TimeZone: "Europe/Berlin"}, "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}, "2026-10-24T00:30:00Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z",
		},
		"far in the east it is tomorrow already": {
			Recurrence{Every: Daily, Minute: 60, TimeZone: "Pacific/Kiritimati"}, "2026-03-01T10:30:00Z",
			[]string{"2026-03-01T11:00:00Z"}, "2026-02-28T11:00:00Z", "2026-02-28T10:00:00Z", "2026-03-01T10:00:00Z",
		},
		"weekly on Monday": {
			Recurrence{Every: Weekly, Minute: 360, Weekday: time.Monday}, "2026-03-04T00:00:00Z", // a Wednesday
			[]string{"2026-03-09T06:00:00Z", "2026-03-16T06:00:00Z"}, "2026-03-02T06:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z",
		},
		"weekly on Sunday": {
			Recurrence{Every: Weekly, Weekday: time.Sunday}, "2026-03-04T00:00:00Z",
			[]string{"2026-03-08T00:00:00Z", "2026-03-15T00:00:00Z"}, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z",
		},
		"monthly on the first covers the month that ended": {
			Recurrence{Every: Monthly, Day: 1, Minute: 1}, "2024-02-10T00:00:00Z",
			[]string{"2024-03-01T00:01:00Z", "2024-04-01T00:01:00Z"}, "2024-02-01T00:01:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z",
		},
		"monthly on the 31st is the last day of shorter months": {
			Recurrence{Every: Monthly, Day: 31}, "2026-01-31T00:00:00Z",
			[]string{"2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"}, "2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.r.Latest(now).Format(time.RFC3339); got != tt.last {
				t.Errorf("the last time was %s, want %s", got, tt.last)
			}
			next := now
			for i, want := range tt.want {
				before := next
				next = tt.r.Next(next)
				if got := next.Format(time.RFC3339); got != want {
					t.Errorf("time %d is %s, want %s", i, got, want)
				}
				if got := tt.r.Latest(next); !got.Equal(next) {
					t.Errorf("at %v the last time was %v", next, got)
				}
				covered := tt.r.Covered(next)
				if i == 0 && (covered.From.Format(time.RFC3339) != tt.from || covered.To.Format(time.RFC3339) != tt.to) {
					t.Errorf("it covers %v to %v, want %s to %s", covered.From, covered.To, tt.from, tt.to)
				}
				if i > 0 && !covered.From.Equal(tt.r.Covered(before).To) {
					t.Errorf("from %v to %v nothing, or something twice, is covered", tt.r.Covered(before).To, covered.From)
				}
			}
		})
	}
}

func TestSchedulesAreValidated(t *testing.T) {
	t.Parallel()
	good := ExportSchedule{
		Name: "mine", Recurrence: Recurrence{Every: Weekly, Minute: 60, Weekday: time.Friday, TimeZone: "Asia/Kolkata"},
		Type: ExportLogs, Format: FormatCSV, Compression: CompressNone,
	}
	for name, tt := range map[string]struct {
		change func(*ExportSchedule)
		want   string
	}{
		"good":                          {func(*ExportSchedule) {}, ""},
		"an interval that is none":      {func(s *ExportSchedule) { s.Recurrence.Every = "hourly" }, "every"},
		"no such minute":                {func(s *ExportSchedule) { s.Recurrence.Minute = 1440 }, "at"},
		"no such weekday":               {func(s *ExportSchedule) { s.Recurrence.Weekday = 7 }, "weekday"},
		"no such day":                   {func(s *ExportSchedule) { s.Recurrence.Every = Monthly }, "day"},
		"no such time zone":             {func(s *ExportSchedule) { s.Recurrence.TimeZone = "Mars/Olympus" }, "time_zone"},
		"a path for a time zone":        {func(s *ExportSchedule) { s.Recurrence.TimeZone = "../../etc/passwd" }, "time_zone"},
		"the server's time zone":        {func(s *ExportSchedule) { s.Recurrence.TimeZone = "Local" }, "time_zone"},
		"a name of two lines":           {func(s *ExportSchedule) { s.Name = "a\nb" }, "name"},
		"what an export would not take": {func(s *ExportSchedule) { s.Format = "xml" }, "format"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schedule := good
			tt.change(&schedule)
			errs := schedule.Validate("")
			if tt.want == "" && len(errs) > 0 || tt.want != "" && (len(errs) != 1 || errs[0].Location != tt.want) {
				t.Errorf("got %v, want %q", errs, tt.want)
			}
		})
	}
}
