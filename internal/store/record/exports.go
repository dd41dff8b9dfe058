package record

import (
	"context"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
)

var _ hearth.ExportStore = (*Aggregates)(nil)

// Aggregates keeps every aggregate in a Backend.
type Aggregates struct {
	b Backend
	// twins are those that were written last: most are patched again before another writes them.
	twins *boundedcache.Cache[string, hearth.Twin]
}

// New returns the aggregates of a backend.
func New(b Backend) *Aggregates {
	return &Aggregates{b, boundedcache.New(boundedcache.Options[string, hearth.Twin]{Bytes: rememberedTwins, Size: sizeOfTwin})}
}

// export is the stored form of hearth.Export.
type export struct {
	ID          string                   `json:"id"`
	UserID      string                   `json:"user_id" bson:"user"`
	OnlyOrg     string                   `json:"only_org,omitempty"`
	Type        hearth.ExportType        `json:"type"`
	Format      hearth.ExportFormat      `json:"format"`
	Compression hearth.ExportCompression `json:"compression"`
	CSV         *exportCSV               `json:"csv,omitempty"`
	Status      hearth.ExportStatus      `json:"status"`
	From        time.Time                `json:"from,omitzero" db:"span_from,open" bson:"from"`
	To          time.Time                `json:"to,omitzero" db:"span_to,open" bson:"to"`
	Filters     exportFilters            `json:"filters"`
	Reach       exportReach              `json:"reach"`
	Notify      bool                     `json:"notify,omitempty"`
	Progress    exportProgress           `json:"progress" db:",inline"`
	Result      *exportResult            `json:"result,omitempty"`
	Failure     *exportFailure           `json:"failure,omitempty" db:",inline"`
	Job         string                   `json:"job,omitempty"`
	Run         string                   `json:"run,omitempty"`
	File        string                   `json:"file,omitempty"`
	Schedule    string                   `json:"schedule,omitempty"`
	CreatedAt   time.Time                `json:"created_at,omitzero" bson:"created"`
	StartedAt   time.Time                `json:"started_at,omitzero" bson:"started"`
	CompletedAt time.Time                `json:"completed_at,omitzero" bson:"completed"`
	ExpiresAt   time.Time                `json:"expires_at,omitzero" bson:"expires"`
	// Size is Result's, where a store can sum it up.
	Size int64 `json:"-" db:"size" bson:"result.size"`
}

type exportFilters struct {
	DeviceIDs       []string `json:"device_ids,omitempty" bson:"device_ids"`
	Events          []string `json:"events,omitempty" bson:"events"`
	IncludeInactive bool     `json:"include_inactive,omitempty" bson:"include_inactive"`
}

type exportCSV struct {
	Separator string `json:"separator,omitempty" bson:"separator"`
	Decimal   string `json:"decimal,omitempty" bson:"decimal"`
	BOM       bool   `json:"bom,omitempty" bson:"bom"`
	TimeZone  string `json:"time_zone,omitempty" bson:"time_zone"`
}

type exportReach struct {
	All    bool           `json:"all,omitempty" bson:"all"`
	Scopes []hearth.Scope `json:"scopes,omitempty" bson:"scopes"`
}

type exportProgress struct {
	Step      string `json:"step,omitempty"`
	Processed int64  `json:"processed,omitempty"`
	Total     int64  `json:"total,omitempty"`
}

type exportResult struct {
	FileName  string `json:"file_name" bson:"file_name"`
	Size      int64  `json:"size" bson:"size"`
	SHA256    string `json:"sha256" bson:"sha256"`
	Records   int64  `json:"records" bson:"records"`
	Downloads int64  `json:"downloads" bson:"downloads"`
}

type exportFailure struct {
	Code    hearth.Code `json:"code" db:"fail_code"`
	Message string      `json:"message" db:"fail_message"`
}

// unended are the statuses of exports that have not ended.
var unended = In("status", hearth.ExportQueued, hearth.ExportRunning) // never written to

var exports = describe(&Kind[export]{Restored: sumUp, Schema: Schema{
	Name: "exports", Noun: "export",
	Indexes: []Index{
		{Fields: []string{"created_at", "id"}},
		{Fields: []string{"user_id", "created_at", "id"}},
		{Fields: []string{"status", "id"}},
		{Fields: []string{"expires_at"}},
	},
	Limit: &Limit{By: "user_id", While: Filter{unended}, Most: hearth.MaxOpenExports, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "%d of your exports have not ended yet", hearth.MaxOpenExports)
	}},
}})

// sumUp sets the sizes of archived exports.
func sumUp(_ context.Context, _ Tx, exports []*export) error {
	for _, e := range exports {
		if e.Result != nil {
			e.Size = e.Result.Size
		}
	}
	return nil
}

func storedExport(e hearth.Export) export {
	r := export{
		ID: e.ID, UserID: e.UserID, OnlyOrg: e.OnlyOrg, Type: e.Type, Format: e.Format, Compression: e.Compression, CSV: (*exportCSV)(e.CSV),
		Status: e.Status, From: e.From, To: e.To,
		Filters: exportFilters(e.Filters), Reach: exportReach(e.Reach), Notify: e.Notify, Progress: exportProgress(e.Progress),
		Result: (*exportResult)(e.Result), Failure: (*exportFailure)(e.Failure), Job: e.Job, Run: e.Run, File: e.File, Schedule: e.Schedule,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, CompletedAt: e.CompletedAt, ExpiresAt: e.ExpiresAt,
	}
	if e.Result != nil {
		r.Size = e.Result.Size
	}
	return r
}

func (r export) export() hearth.Export {
	return hearth.Export{
		ID: r.ID, UserID: r.UserID, OnlyOrg: r.OnlyOrg, Type: r.Type, Format: r.Format, Compression: r.Compression, CSV: (*hearth.ExportCSV)(r.CSV),
		Status: r.Status, From: r.From, To: r.To,
		Filters: hearth.ExportFilters(r.Filters), Reach: hearth.Reach(r.Reach), Notify: r.Notify, Progress: hearth.ExportProgress(r.Progress),
		Result: (*hearth.ExportResult)(r.Result), Failure: (*hearth.ExportFailure)(r.Failure), Job: r.Job, Run: r.Run, File: r.File, Schedule: r.Schedule,
		CreatedAt: r.CreatedAt, StartedAt: r.StartedAt, CompletedAt: r.CompletedAt, ExpiresAt: r.ExpiresAt,
	}
}

func exportFilter(f hearth.ExportFilter) Filter {
	return given(Eq("user_id", f.UserID), Eq("only_org", f.OnlyOrg), Eq("status", f.Status), Eq("type", f.Type))
}

// CreateExport implements hearth.ExportStore.
func (a *Aggregates) CreateExport(ctx context.Context, e hearth.Export, effects hearth.SideEffects) error {
	return create(ctx, a.b, Write{Name: "CreateExport", Key: "exports/" + e.UserID, Effects: effects}, exports, storedExport(e), "")
}

// Export implements hearth.ExportStore.
func (a *Aggregates) Export(ctx context.Context, id string) (hearth.Export, error) {
	return get(ctx, a.b, "Export", exports, export.export, id)
}

// Exports implements hearth.ExportStore.
func (a *Aggregates) Exports(ctx context.Context, filter hearth.ExportFilter, page hearth.Page) (hearth.List[hearth.Export], error) {
	return listing[export, hearth.Export]{"Exports", exports, exportFilter(filter), newestFirst, export.export}.page(ctx, a.b, page)
}

// UpdateExport implements hearth.ExportStore.
func (a *Aggregates) UpdateExport(
	ctx context.Context, id string, change func(hearth.Export) (hearth.Export, error), effects hearth.SideEffects,
) (hearth.Export, error) {
	w := Write{Name: "UpdateExport", Key: "export/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, exports, id, export.export, storedExport, change)
}

// DeleteExport implements hearth.ExportStore.
func (a *Aggregates) DeleteExport(ctx context.Context, id string, effects hearth.SideEffects) error {
	return deleteOne(ctx, a.b, Write{Name: "DeleteExport", Key: "export/" + id, Effects: effects}, exports, id, export.export, anyOf)
}

// ExpiredExports implements hearth.ExportStore.
func (a *Aggregates) ExpiredExports(ctx context.Context, now time.Time, limit int) ([]hearth.Export, error) {
	return find(ctx, a.b, "ExpiredExports", exports, export.export, Query{
		Where: Filter{Gt("expires_at", 0), Lte("expires_at", now)}, Order: Order{By: "expires_at"}, Limit: limit,
	})
}

// OpenExports implements hearth.ExportStore. Ids begin with their time.
func (a *Aggregates) OpenExports(ctx context.Context, before time.Time, after string, limit int) ([]hearth.Export, error) {
	return find(ctx, a.b, "OpenExports", exports, export.export, Query{
		Where: Filter{unended, Lt("created_at", before), Gt("id", after)}, Order: Order{By: "id"}, Limit: limit,
	})
}

// ExportFigures implements hearth.ExportStore.
func (a *Aggregates) ExportFigures(ctx context.Context, filter hearth.ExportFilter) (hearth.ExportFigures, error) {
	return view(ctx, a.b, "ExportFigures", func(ctx context.Context, r Reader) (hearth.ExportFigures, error) {
		figures := hearth.ExportFigures{ByStatus: map[hearth.ExportStatus]int64{}}
		groups, err := r.Figures(ctx, &exports.Schema, exportFilter(filter), "status", "size", "created_at")
		for _, g := range groups {
			figures.ByStatus[hearth.ExportStatus(g.Value)] = g.Count
			figures.Bytes += g.Sum
			if oldest := time.UnixMilli(g.Least).UTC(); figures.OldestAt.IsZero() || oldest.Before(figures.OldestAt) {
				figures.OldestAt = oldest
			}
		}
		return figures, err
	})
}
