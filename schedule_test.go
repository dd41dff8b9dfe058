package hearth

import (
	"testing"
	"time"
)

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
		"the machine's time zone":       {func(s *ExportSchedule) { s.Recurrence.TimeZone = "localtime" }, "time_zone"},
		"a zone of leap seconds":        {func(s *ExportSchedule) { s.Recurrence.TimeZone = "right/Europe/Berlin" }, "time_zone"},
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
