package hearth

import (
	"context"
	"errors"
	"slices"
	"time"
	"unicode/utf8"
)

// Limits of schedules of exports.
const (
	// MaxExportSchedules is how many schedules one person may have.
	MaxExportSchedules = 50
	MaxScheduleName    = 100
	maxTimeZone        = 64
)

// Every is how often something comes round.
type Every string

// The intervals of schedules.
const (
	Daily   Every = "daily"
	Weekly  Every = "weekly"
	Monthly Every = "monthly"
)

// Valid reports whether e is one of the intervals.
func (e Every) Valid() bool { return e == Daily || e == Weekly || e == Monthly }

// Recurrence is a time that comes round on the calendar of a place.
type Recurrence struct {
	Every Every
	// Minute is the time of day in that place, 0 to 1439. A time that a day leaves out (clocks put forward) is as much later
	// on that day, or its last minute; of one that a day has twice, the first counts.
	Minute int
	// Weekday counts if Every is Weekly; Day, 1 to 31, if it is Monthly: in a shorter month it is the last day.
	Weekday time.Weekday
	Day     int
	// TimeZone is an IANA name such as "Europe/Berlin"; "" is UTC.
	TimeZone string
}

// TimeZone returns the time zone of an IANA name; "" is UTC. An error for another name, and for "Local", which is the server's own: so is
// localtime, and right/Europe/Berlin counts leap seconds. IANA's names begin with a capital.
func TimeZone(name string) (*time.Location, error) {
	if len(name) > maxTimeZone || name == "Local" || name != "" && (name[0] < 'A' || name[0] > 'Z') {
		return nil, errors.New("must be the name of a time zone, such as Europe/Berlin")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("must be the name of a time zone, such as Europe/Berlin")
	}
	return zone, nil
}

// validate checks what people set.
func (r Recurrence) validate(bad func(field, message string)) {
	if !r.Every.Valid() {
		bad("every", "must be daily, weekly or monthly")
	}
	if r.Minute < 0 || r.Minute > 1439 {
		bad("at", "must be a time of day")
	}
	if r.Every == Weekly && (r.Weekday < time.Sunday || r.Weekday > time.Saturday) {
		bad("weekday", "must be a day of the week")
	}
	if r.Every == Monthly && (r.Day < 1 || r.Day > 31) {
		bad("day", "must be 1 to 31")
	}
	if _, err := TimeZone(r.TimeZone); err != nil {
		bad("time_zone", err.Error())
	}
}

// ExportSchedule orders an export again and again, and mails its link.
type ExportSchedule struct {
	ID string
	// UserID is who made it: its exports are theirs, and hold what they may read at that time. OnlyOrg is as in Export.
	UserID  string
	OnlyOrg string
	// Name is for people, up to MaxScheduleName characters; it may be empty.
	Name        string
	Recurrence  Recurrence
	Type        ExportType
	Format      ExportFormat
	Compression ExportCompression
	CSV         *ExportCSV // as in Export
	Filters     ExportFilters
	Enabled     bool
	// NextAt is when the next export is due: zero exactly when it is not enabled.
	NextAt time.Time
	// LastAt is the time that the latest export was made for, LastExport its id; zero and "" before the first.
	LastAt     time.Time
	LastExport string
	// Failure says why there was no export the last time; nil if there was.
	Failure   *ExportFailure
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Validate checks what people set; locations start with prefix, such as "body.". Whether the devices exist, it cannot know.
func (s ExportSchedule) Validate(prefix string) []FieldError {
	errs := Export{Type: s.Type, Format: s.Format, Compression: s.Compression, CSV: s.CSV, Filters: s.Filters}.Validate(prefix)
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if utf8.RuneCountInString(s.Name) > MaxScheduleName || !utf8.ValidString(s.Name) {
		bad("name", "must be text of at most 100 characters")
	}
	if slices.ContainsFunc([]rune(s.Name), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		bad("name", "must not hold control characters")
	}
	s.Recurrence.validate(bad)
	return errs
}

// AllowExportSchedule is the rule of who may see and change a schedule: its owner and admins; to others it does not exist.
func (c Caller) AllowExportSchedule(s ExportSchedule) error {
	if c.IsAdmin() || c.ordered(s.UserID, s.OnlyOrg) {
		return nil
	}
	return NotFound("export schedule")
}

// ExportScheduleStore keeps schedules of exports. Every write is atomic and durable when it returns; errors are of the codes
// named here, or CodeUnavailable and CodeStorageFull.
type ExportScheduleStore interface {
	// CreateExportSchedule stores a schedule; CodeConflict if its owner has MaxExportSchedules.
	CreateExportSchedule(ctx context.Context, schedule ExportSchedule, effects SideEffects) error
	// ExportSchedule returns one schedule; CodeNotFound.
	ExportSchedule(ctx context.Context, id string) (ExportSchedule, error)
	// ExportSchedules lists a person's, everybody's if userID is "", of an organization's API keys if onlyOrg is not ""; the order
	// is by created_at, newest first, and the page's sort is "".
	ExportSchedules(ctx context.Context, userID, onlyOrg string, page Page) (List[ExportSchedule], error)
	// UpdateExportSchedule reads, changes and writes one schedule in one atomic step. An error of change is returned and
	// nothing is written, along neither. change must not touch ID, UserID or CreatedAt, may run more than once, and may
	// complete along's entries, which are read after it. CodeNotFound.
	UpdateExportSchedule(ctx context.Context, id string, change func(ExportSchedule) (ExportSchedule, error), effects SideEffects) (ExportSchedule, error)
	// DeleteExportSchedule removes a schedule; CodeNotFound.
	DeleteExportSchedule(ctx context.Context, id string, effects SideEffects) error
	// DueExportSchedules returns up to limit schedules whose NextAt is not zero and not after now, behind the id after (""
	// begins), by id.
	DueExportSchedules(ctx context.Context, now time.Time, after string, limit int) ([]ExportSchedule, error)
}
