package record

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.ExportScheduleStore = (*Aggregates)(nil)

// schedule is the stored form of hearth.ExportSchedule.
type schedule struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id" bson:"user"`
	OnlyOrg     string                   `json:"only_org,omitempty"`
	Name        string                   `json:"name"`
	Recurrence  recurrence               `json:"recurrence" db:",inline"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	CSV         *exportCSV               `json:"csv,omitempty"`
	Filters     exportFilters            `json:"filters"`
	Enabled     bool                     `json:"enabled,omitempty"`
	NextAt      time.Time                `json:"next_at,omitzero" bson:"next"`
	LastAt      time.Time                `json:"last_at,omitzero" bson:"last"`
	LastExport  string                   `json:"last_export,omitempty"`
	Failure     *exportFailure           `json:"failure,omitempty" db:",inline"`
	CreatedAt   time.Time                `json:"created_at,omitzero" bson:"created"`
	UpdatedAt   time.Time                `json:"updated_at,omitzero" bson:"updated"`
}

type recurrence struct {
	Every    hearth.Every `json:"every"`
	Minute   int          `json:"minute"`
	Weekday  time.Weekday `json:"weekday"`
	Day      int          `json:"day"`
	TimeZone string       `json:"time_zone"`
}

var schedules = describe(&Kind[schedule]{Schema: Schema{
	Name: "export_schedules", Noun: "export schedule",
	Indexes: []Index{
		{Fields: []string{"created_at", "id"}},
		{Fields: []string{"user_id", "created_at", "id"}},
		{Fields: []string{"next_at"}},
	},
	Limit: &Limit{By: "user_id", Most: hearth.MaxExportSchedules, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "you have %d schedules of exports: that is the most", hearth.MaxExportSchedules)
	}},
}})

func storedSchedule(s hearth.ExportSchedule) schedule {
	return schedule{
		s.ID, s.UserID, s.OnlyOrg, s.Name, recurrence(s.Recurrence), s.Type, s.Format, s.Compression, (*exportCSV)(s.CSV), exportFilters(s.Filters), s.Enabled,
		s.NextAt, s.LastAt, s.LastExport, (*exportFailure)(s.Failure), s.CreatedAt, s.UpdatedAt,
	}
}

func (r schedule) schedule() hearth.ExportSchedule {
	return hearth.ExportSchedule{
		ID: r.ID, UserID: r.UserID, OnlyOrg: r.OnlyOrg, Name: r.Name, Recurrence: hearth.Recurrence(r.Recurrence), Type: r.Type, Format: r.Format,
		Compression: r.Compression, CSV: (*hearth.ExportCSV)(r.CSV), Filters: hearth.ExportFilters(r.Filters), Enabled: r.Enabled, NextAt: r.NextAt, LastAt: r.LastAt,
		LastExport: r.LastExport, Failure: (*hearth.ExportFailure)(r.Failure), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

// CreateExportSchedule implements hearth.ExportScheduleStore.
func (a *Aggregates) CreateExportSchedule(ctx context.Context, s hearth.ExportSchedule, effects hearth.SideEffects) error {
	w := Write{Name: "CreateExportSchedule", Key: "export_schedules/" + s.UserID, Effects: effects}
	return create(ctx, a.b, w, schedules, storedSchedule(s), "")
}

// ExportSchedule implements hearth.ExportScheduleStore.
func (a *Aggregates) ExportSchedule(ctx context.Context, id string) (hearth.ExportSchedule, error) {
	return get(ctx, a.b, "ExportSchedule", schedules, schedule.schedule, id)
}

// ExportSchedules implements hearth.ExportScheduleStore.
func (a *Aggregates) ExportSchedules(
	ctx context.Context, userID, onlyOrg string, page hearth.Page,
) (hearth.List[hearth.ExportSchedule], error) {
	where := given(Eq("user_id", userID), Eq("only_org", onlyOrg))
	list := listing[schedule, hearth.ExportSchedule]{"ExportSchedules", schedules, where, newestFirst, schedule.schedule}
	return list.page(ctx, a.b, page)
}

// UpdateExportSchedule implements hearth.ExportScheduleStore.
func (a *Aggregates) UpdateExportSchedule(
	ctx context.Context, id string, change func(hearth.ExportSchedule) (hearth.ExportSchedule, error), effects hearth.SideEffects,
) (hearth.ExportSchedule, error) {
	w := Write{Name: "UpdateExportSchedule", Key: "schedule/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, schedules, id, schedule.schedule, storedSchedule, change)
}

// DeleteExportSchedule implements hearth.ExportScheduleStore.
func (a *Aggregates) DeleteExportSchedule(ctx context.Context, id string, effects hearth.SideEffects) error {
	return deleteOne(ctx, a.b, Write{Name: "DeleteExportSchedule", Key: "schedule/" + id, Effects: effects}, schedules, id, schedule.schedule, anyOf)
}

// DueExportSchedules implements hearth.ExportScheduleStore.
func (a *Aggregates) DueExportSchedules(ctx context.Context, now time.Time, after string, limit int) ([]hearth.ExportSchedule, error) {
	return find(ctx, a.b, "DueExportSchedules", schedules, schedule.schedule, Query{
		Where: Filter{Gt("next_at", 0), Lte("next_at", now), Gt("id", after)}, Order: Order{By: "id"}, Limit: limit,
	})
}
