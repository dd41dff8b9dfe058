package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/exports"
)

// ExportSchedule is a schedule of exports on the wire.
type ExportSchedule struct {
	ID           string        `json:"id" format:"uuid" example:"0195a1b2-8888-7e5f-8a9b-0c1d2e3f4a5b"`
	Name         string        `json:"name" example:"Monday's numbers"`
	Every        string        `json:"every" enum:"daily,weekly,monthly"`
	At           string        `json:"at" doc:"The time of day in the time zone." example:"06:00"`
	Weekday      *string       `json:"weekday" enum:"monday,tuesday,wednesday,thursday,friday,saturday,sunday" doc:"The day of the week; null unless weekly."`
	Day          *int          `json:"day" doc:"The day of the month, the last one in shorter months; null unless monthly." example:"1"`
	TimeZone     string        `json:"time_zone" example:"Europe/Berlin"`
	Type         string        `json:"type" enum:"logs,usage_report,device_report"`
	Format       string        `json:"format" enum:"csv,json,ndjson,parquet"`
	Compression  string        `json:"compression" enum:"none,gzip,zstd"`
	CSV          *ExportCSV    `json:"csv,omitempty" doc:"How a CSV file is written; absent if nothing was said."`
	Filters      ExportFilters `json:"filters"`
	Enabled      bool          `json:"enabled"`
	NextRunAt    *rest.Time    `json:"next_run_at" doc:"When the next export is ordered; null while it is not enabled."`
	LastRunAt    *rest.Time    `json:"last_run_at" doc:"The time that the latest export was ordered for; null before the first."`
	LastExportID *string       `json:"last_export_id" doc:"The latest export; it goes 7 days after its end. Null before the first."`
	LastError    *ExportError  `json:"last_error" doc:"Why there was no export the last time; null if there was."`
	CreatedAt    rest.Time     `json:"created_at"`
	UpdatedAt    rest.Time     `json:"updated_at" doc:"The latest change by a user."`
}

// weekdays are the names on the wire; time.Weekday is the index.
var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"} // never written to

func wireSchedule(s hearth.ExportSchedule) ExportSchedule {
	r := s.Recurrence
	wire := ExportSchedule{
		ID: s.ID, Name: s.Name, Every: string(r.Every), At: fmt.Sprintf("%02d:%02d", r.Minute/60, r.Minute%60), TimeZone: r.TimeZone,
		Type: string(s.Type), Format: string(s.Format), Compression: string(s.Compression), CSV: wireExportCSV(s.CSV),
		Filters: ExportFilters(s.Filters),
		Enabled: s.Enabled, NextRunAt: rest.TimeOrNull(s.NextAt), LastRunAt: rest.TimeOrNull(s.LastAt), LastExportID: rest.TextOrNull(s.LastExport),
		CreatedAt: rest.Time(s.CreatedAt), UpdatedAt: rest.Time(s.UpdatedAt),
	}
	switch r.Every {
	case hearth.Weekly:
		wire.Weekday = &weekdays[r.Weekday]
	case hearth.Monthly:
		wire.Day = &r.Day
	case hearth.Daily:
	}
	if s.Failure != nil {
		wire.LastError = &ExportError{Code: string(s.Failure.Code), Message: s.Failure.Message}
	}
	return wire
}

// NewExportSchedule is a schedule to make.
type NewExportSchedule struct {
	Name        rest.Optional[string]           `json:"name,omitempty" maxLength:"100" example:"Monday's numbers"`
	Every       string                          `json:"every" enum:"daily,weekly,monthly" example:"weekly"`
	At          rest.Optional[string]           `json:"at,omitempty" maxLength:"5" doc:"The time of day in the time zone, HH:MM; 06:00, if nothing is said." example:"06:00"`
	Weekday     rest.Optional[string]           `json:"weekday,omitempty" enum:"monday,tuesday,wednesday,thursday,friday,saturday,sunday" doc:"With weekly; monday, if nothing is said." example:"monday"`
	Day         rest.Optional[int]              `json:"day,omitempty" minimum:"1" maximum:"31" doc:"With monthly: the day of the month, the last one in shorter months; 1, if nothing is said."`
	TimeZone    rest.Optional[string]           `json:"time_zone,omitempty" maxLength:"64" doc:"An IANA name; UTC, if nothing is said." example:"Europe/Berlin"`
	Type        string                          `json:"type" enum:"logs,usage_report,device_report"`
	Format      string                          `json:"format" enum:"csv,json,ndjson,parquet"`
	Compression rest.Optional[string]           `json:"compression,omitempty" enum:"none,gzip,zstd" doc:"none, if nothing is said."`
	CSV         rest.Optional[NewExportCSV]     `json:"csv,omitempty" doc:"As of an export."`
	Filters     rest.Optional[NewExportFilters] `json:"filters,omitempty" doc:"As of an export."`
	Enabled     rest.Optional[bool]             `json:"enabled,omitempty" doc:"true, if nothing is said."`
}

func set[T any](value T) rest.Optional[T] { return rest.Optional[T]{Set: true, Value: value} }

func (n NewExportSchedule) plan() (exports.Plan, error) {
	return ExportScheduleChange{
		Name: n.Name, Every: set(n.Every), At: n.At, Weekday: n.Weekday, Day: n.Day, TimeZone: n.TimeZone, Type: set(n.Type),
		Format: set(n.Format), Compression: n.Compression, CSV: n.CSV, Filters: n.Filters, Enabled: set(n.Enabled.Or(true)),
	}.plan(exports.Plan{Recurrence: hearth.Recurrence{Minute: defaultMinute, TimeZone: "UTC"}})
}

// defaultMinute is 06:00.
const defaultMinute = 6 * 60

// ExportScheduleChange is what to change of a schedule: what is left out stays.
type ExportScheduleChange struct {
	Name        rest.Optional[string]           `json:"name,omitempty" maxLength:"100" doc:"null clears it."`
	Every       rest.Optional[string]           `json:"every,omitempty" enum:"daily,weekly,monthly"`
	At          rest.Optional[string]           `json:"at,omitempty" maxLength:"5" doc:"HH:MM; null: 06:00." example:"06:00"`
	Weekday     rest.Optional[string]           `json:"weekday,omitempty" enum:"monday,tuesday,wednesday,thursday,friday,saturday,sunday" doc:"With weekly; null: monday." example:"monday"`
	Day         rest.Optional[int]              `json:"day,omitempty" minimum:"1" maximum:"31" doc:"With monthly; null: 1."`
	TimeZone    rest.Optional[string]           `json:"time_zone,omitempty" maxLength:"64" doc:"null: UTC." example:"Europe/Berlin"`
	Type        rest.Optional[string]           `json:"type,omitempty" enum:"logs,usage_report,device_report"`
	Format      rest.Optional[string]           `json:"format,omitempty" enum:"csv,json,ndjson,parquet"`
	Compression rest.Optional[string]           `json:"compression,omitempty" enum:"none,gzip,zstd" doc:"null: none."`
	CSV         rest.Optional[NewExportCSV]     `json:"csv,omitempty" doc:"The whole object; null clears it."`
	Filters     rest.Optional[NewExportFilters] `json:"filters,omitempty" doc:"The whole object; null clears it."`
	Enabled     rest.Optional[bool]             `json:"enabled,omitempty" doc:"null: true."`
}

// plan applies the change to what was set before.
func (c ExportScheduleChange) plan(plan exports.Plan) (exports.Plan, error) {
	var problems []hearth.FieldError
	bad := func(field, message string) {
		problems = append(problems, hearth.FieldError{Location: "body." + field, Message: message})
	}
	r := &plan.Recurrence
	before := r.Every
	if every := rest.RequiredOf(c.Every, "every", &problems); every != nil {
		r.Every = hearth.Every(*every)
	}
	if kind := rest.RequiredOf(c.Type, "type", &problems); kind != nil {
		plan.Type = hearth.ExportType(*kind)
	}
	if format := rest.RequiredOf(c.Format, "format", &problems); format != nil {
		plan.Format = hearth.ExportFormat(*format)
	}
	if c.Name.Set {
		plan.Name = c.Name.Or("")
	}
	if c.At.Set {
		at, err := time.Parse("15:04", c.At.Or("06:00"))
		if err != nil {
			bad("at", "must be a time of day such as 06:00")
		}
		r.Minute = at.Hour()*60 + at.Minute()
	}
	if c.TimeZone.Set {
		r.TimeZone = c.TimeZone.Or("UTC")
	}
	if c.Weekday.Set || r.Every != before {
		r.Weekday = time.Weekday(slices.Index(weekdays, c.Weekday.Or("monday")))
	}
	if c.Day.Set || r.Every != before {
		r.Day = c.Day.Or(1)
	}
	if c.Weekday.Has() && r.Every != hearth.Weekly {
		bad("weekday", "goes with weekly alone")
	}
	if c.Day.Has() && r.Every != hearth.Monthly {
		bad("day", "goes with monthly alone")
	}
	if c.Compression.Set {
		plan.Compression = hearth.ExportCompression(c.Compression.Or(""))
	}
	if c.CSV.Set {
		plan.CSV = csvOf(c.CSV)
	}
	if c.Filters.Set {
		plan.Filters = c.Filters.Or(NewExportFilters{}).filters()
	}
	if c.Enabled.Set {
		plan.Enabled = c.Enabled.Or(true)
	}
	return plan, rest.InvalidIf(problems)
}

type scheduleInput struct {
	ID string `path:"id" maxLength:"64" doc:"The schedule." example:"0195a1b2-8888-7e5f-8a9b-0c1d2e3f4a5b"`
}

type updateScheduleInput struct {
	ID   string `path:"id" maxLength:"64" doc:"The schedule." example:"0195a1b2-8888-7e5f-8a9b-0c1d2e3f4a5b"`
	Body ExportScheduleChange
}

// registerSchedules adds the operations of export schedules.
func (a *API) registerSchedules() {
	s := a.options.Exports
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "create-export-schedule", Method: http.MethodPost, Path: "/export-schedules", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsWrite,
		Status: http.StatusCreated, Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeConflict}, Summary: "Schedule an export",
		Description: "Orders the export daily, weekly or monthly, and sends its link by e-mail when the file is complete. It covers the whole days, of the time " +
			"zone, from the day of the time before to the day of this one, which is not in it: daily is yesterday, monthly on day 1 the month " +
			"that ended. It holds what you may read at that time. Times that passed while no worker ran are made up for by the latest one only. " +
			"`conflict`: you have 50 schedules already.",
	}, func(ctx context.Context, in *struct{ Body NewExportSchedule }) (*rest.Created[ExportSchedule], error) {
		plan, err := in.Body.plan()
		if err != nil {
			return nil, err
		}
		schedule, err := s.CreateSchedule(ctx, rest.CallerOf(ctx), plan, rest.Idempotency(ctx, wireSchedule))
		return rest.NewCreated("/export-schedules/"+schedule.ID, wireSchedule(schedule)), err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-export-schedules", Method: http.MethodGet, Path: "/export-schedules", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsRead, ETag: true,
		Summary: "List schedules of exports", Description: "Your own, the newest first; those of all users for an admin.",
	}, func(ctx context.Context, in *rest.PageParams) (*rest.Body[rest.List[ExportSchedule]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		found, err := s.Schedules(ctx, rest.CallerOf(ctx), page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireSchedule)
		return &rest.Body[rest.List[ExportSchedule]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-export-schedule", Method: http.MethodGet, Path: "/export-schedules/{id}", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get a schedule of exports",
	}, func(ctx context.Context, in *scheduleInput) (*rest.Body[ExportSchedule], error) {
		schedule, err := s.Schedule(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[ExportSchedule]{Body: wireSchedule(schedule)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "update-export-schedule", Method: http.MethodPatch, Path: "/export-schedules/{id}", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Change a schedule of exports",
		Description: "What is left out stays; `null` brings an optional field back to what it is without being said.",
	}, func(ctx context.Context, in *updateScheduleInput) (*rest.Body[ExportSchedule], error) {
		check := func(schedule hearth.ExportSchedule) error { return rest.Unchanged(ctx, wireSchedule(schedule)) }
		schedule, err := s.UpdateSchedule(ctx, rest.CallerOf(ctx), in.ID, check, in.Body.plan)
		return &rest.Body[ExportSchedule]{Body: wireSchedule(schedule)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-export-schedule", Method: http.MethodDelete, Path: "/export-schedules/{id}", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsWrite,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete a schedule of exports",
		Description: "The exports that it ordered stay until they expire.",
	}, func(ctx context.Context, in *scheduleInput) (*struct{}, error) {
		return nil, s.DeleteSchedule(ctx, rest.CallerOf(ctx), in.ID)
	})
}
