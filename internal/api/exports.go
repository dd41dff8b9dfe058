package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
	"hearth/internal/core/exports"
)

const tagExports = "Exports"

// Export is an export on the wire.
type Export struct {
	ID          string         `json:"id" format:"uuid" example:"0195a1b2-9999-7e5f-8a9b-0c1d2e3f4a5b"`
	Type        string         `json:"type" enum:"logs,usage_report,device_report"`
	Format      string         `json:"format" enum:"csv,json,ndjson,parquet"`
	Compression string         `json:"compression" enum:"none,gzip,zstd" doc:"Around the file; inside of a Parquet file."`
	CSV         *ExportCSV     `json:"csv,omitempty" doc:"How the CSV file is written; absent if nothing was said."`
	Status      string         `json:"status" enum:"queued,running,completed,failed,cancelled"`
	From        *rest.Time     `json:"from" doc:"Start of the range, inclusive; null: from the first log on."`
	To          *rest.Time     `json:"to" doc:"End of the range, exclusive; null: to the last log."`
	Filters     ExportFilters  `json:"filters"`
	Progress    ExportProgress `json:"progress"`
	Result      *ExportResult  `json:"result" doc:"The finished file; null before."`
	Error       *ExportError   `json:"error" doc:"Why it failed; null unless it did."`
	CreatedAt   rest.Time      `json:"created_at"`
	StartedAt   *rest.Time     `json:"started_at" doc:"Start of the latest run; null before the first."`
	CompletedAt *rest.Time     `json:"completed_at" doc:"When it ended, however; null before."`
	ExpiresAt   *rest.Time     `json:"expires_at" doc:"When the export and its file are removed: 7 days after its end; null before."`
}

// ExportFilters narrow an export, as they were asked for.
type ExportFilters struct {
	DeviceIDs       []string `json:"device_ids,omitempty" doc:"Only these devices."`
	Events          []string `json:"events,omitempty" doc:"Only these events."`
	IncludeInactive bool     `json:"include_inactive" doc:"Whether the reports have devices whose status is inactive."`
}

// ExportCSV is how a CSV file is written.
type ExportCSV struct {
	Separator string `json:"separator" doc:"A comma, a semicolon, or tab." example:";"`
	Decimal   string `json:"decimal" doc:"A point or a comma." example:","`
	BOM       bool   `json:"bom"`
	TimeZone  string `json:"time_zone" example:"Europe/Berlin"`
}

// ExportProgress is how far an export is.
type ExportProgress struct {
	Percentage       float64 `json:"percentage" doc:"0 to 100; 100 exactly when completed." example:"42.5"`
	Step             string  `json:"step" doc:"The current step, for display." example:"writing"`
	ProcessedRecords int64   `json:"processed_records" example:"425000"`
	TotalRecords     int64   `json:"total_records" doc:"As counted at the start; exact at the end." example:"1000000"`
}

// ExportResult is a finished file.
type ExportResult struct {
	FileName      string `json:"file_name" example:"hearth-logs-20260301T120000Z-3f4a5b.csv.gz"`
	FileSize      int64  `json:"file_size" doc:"Bytes." example:"7340032"`
	RecordCount   int64  `json:"record_count" example:"1000000"`
	DownloadCount int64  `json:"download_count" doc:"How often it was fetched from its first byte." example:"1"`
	SHA256        string `json:"sha256" doc:"Of the file as served, in hex; also its ETag." example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
}

// ExportError says why an export failed.
type ExportError struct {
	Code    string `json:"code" doc:"As in problems." example:"storage_full"`
	Message string `json:"message" example:"the disk is full"`
}

func wireExport(e hearth.Export) Export {
	wire := Export{
		ID: e.ID, Type: string(e.Type), Format: string(e.Format), Compression: string(e.Compression), CSV: wireExportCSV(e.CSV),
		Status: string(e.Status),
		From:   rest.TimeOrNull(e.From), To: rest.TimeOrNull(e.To), Filters: ExportFilters(e.Filters),
		Progress: ExportProgress{
			Percentage: e.Percentage(), Step: e.Progress.Step, ProcessedRecords: e.Progress.Processed, TotalRecords: e.Progress.Total,
		},
		CreatedAt: rest.Time(e.CreatedAt), StartedAt: rest.TimeOrNull(e.StartedAt), CompletedAt: rest.TimeOrNull(e.CompletedAt), ExpiresAt: rest.TimeOrNull(e.ExpiresAt),
	}
	if r := e.Result; r != nil {
		wire.Result = &ExportResult{
			FileName: r.FileName, FileSize: r.Size, RecordCount: r.Records, DownloadCount: r.Downloads, SHA256: r.SHA256,
		}
	}
	if f := e.Failure; f != nil {
		wire.Error = &ExportError{Code: string(f.Code), Message: f.Message}
	}
	return wire
}

func wireExportCSV(c *hearth.ExportCSV) *ExportCSV {
	if c == nil {
		return nil
	}
	return &ExportCSV{
		Separator: cmp.Or(c.Separator, hearth.SeparatorComma), Decimal: cmp.Or(c.Decimal, hearth.DecimalPoint), BOM: c.BOM,
		TimeZone: cmp.Or(c.TimeZone, "UTC"),
	}
}

// NewExportCSV is how a CSV file is to be written.
type NewExportCSV struct {
	Separator rest.Optional[string] `json:"separator,omitempty" maxLength:"8" doc:"What separates cells: a comma (if nothing is said), a semicolon, or tab." example:";"`
	Decimal   rest.Optional[string] `json:"decimal,omitempty" maxLength:"8" doc:"The decimal sign: a point (if nothing is said) or a comma. With commas as separators too, numbers with decimals stand in quotes." example:","`
	BOM       rest.Optional[bool]   `json:"bom,omitempty" doc:"true: the file begins with a byte order mark, by which some spreadsheets know UTF-8."`
	TimeZone  rest.Optional[string] `json:"time_zone,omitempty" maxLength:"64" doc:"An IANA name: times are of that zone, with their offset; UTC, if nothing is said." example:"Europe/Berlin"`
}

// csvOf returns what was asked for; nil if nothing was.
func csvOf(o rest.Optional[NewExportCSV]) *hearth.ExportCSV {
	if !o.Has() {
		return nil
	}
	n := o.Value
	return &hearth.ExportCSV{Separator: n.Separator.Or(""), Decimal: n.Decimal.Or(""), BOM: n.BOM.Or(false), TimeZone: n.TimeZone.Or("")}
}

// NewExport is an export to order.
type NewExport struct {
	Type        string                          `json:"type" enum:"logs,usage_report,device_report" doc:"logs: every log, oldest first. usage_report: sums by device and event. device_report: the devices, with the number of their logs."`
	Format      string                          `json:"format" enum:"csv,json,ndjson,parquet"`
	Range       rest.Optional[string]           `json:"range,omitempty" maxLength:"32" doc:"A duration such as 24h or 30d: the range that ends now. Not together with from or to." example:"30d"`
	From        rest.Optional[string]           `json:"from,omitempty" maxLength:"64" doc:"Start of the range, inclusive (RFC 3339). Without it, from the first log on." example:"2026-03-01T00:00:00.000Z"`
	To          rest.Optional[string]           `json:"to,omitempty" maxLength:"64" doc:"End of the range, exclusive (RFC 3339). Without it, to the last log." example:"2026-04-01T00:00:00.000Z"`
	Filters     rest.Optional[NewExportFilters] `json:"filters,omitempty"`
	Compression rest.Optional[string]           `json:"compression,omitempty" enum:"none,gzip,zstd" doc:"none, if nothing is said."`
	CSV         rest.Optional[NewExportCSV]     `json:"csv,omitempty" doc:"How a file of the format csv is written; with another format it is refused."`
	Notify      rest.Optional[bool]             `json:"notify,omitempty" doc:"true: mail when it has ended, whatever the settings say."`
}

// NewExportFilters narrow an export. They hold together.
type NewExportFilters struct {
	DeviceIDs       rest.Optional[rest.ShortTexts] `json:"device_ids,omitempty" maxItems:"1000" doc:"Only these devices. One that you may not read is refused like one that does not exist. An empty list is no filter."`
	Events          rest.Optional[rest.ShortTexts] `json:"events,omitempty" maxItems:"100" doc:"Only these events. An empty list is no filter."`
	IncludeInactive rest.Optional[bool]            `json:"include_inactive,omitempty" doc:"Lets the reports have devices whose status is inactive."`
}

func (n NewExportFilters) filters() hearth.ExportFilters {
	return hearth.ExportFilters{
		DeviceIDs: n.DeviceIDs.Or(nil), Events: n.Events.Or(nil), IncludeInactive: n.IncludeInactive.Or(false),
	}
}

func (n NewExport) order(now time.Time) (exports.Order, error) {
	order := exports.Order{
		Type: hearth.ExportType(n.Type), Format: hearth.ExportFormat(n.Format), Compression: hearth.ExportCompression(n.Compression.Or("")),
		CSV: csvOf(n.CSV), Notify: n.Notify.Or(false), Filters: n.Filters.Or(NewExportFilters{}).filters(),
	}
	for _, given := range []struct {
		name  string
		field rest.Optional[string]
	}{{"range", n.Range}, {"from", n.From}, {"to", n.To}} {
		if given.field.Has() && given.field.Value == "" {
			return order, hearth.Invalid(hearth.FieldError{Location: "body." + given.name, Message: "must not be empty"})
		}
	}
	r, given, err := timerange.Params{Range: n.Range.Or(""), From: n.From.Or(""), To: n.To.Or("")}.ParseIn("body.")
	if err != nil || !given {
		return order, err
	}
	if r.Sliding > 0 {
		r = r.At(now)
		order.From, order.To = r.From, r.To
		return order, nil
	}
	if n.From.Has() {
		order.From = r.From
	}
	if n.To.Has() {
		order.To = r.To
	}
	return order, nil
}

// ExportFigures sum up exports.
type ExportFigures struct {
	Total    int64          `json:"total" example:"12"`
	ByStatus ExportStatuses `json:"by_status"`
	Bytes    int64          `json:"bytes" doc:"The size of all finished files." example:"104857600"`
	OldestAt *rest.Time     `json:"oldest_at" doc:"When the oldest was ordered; null if there is none."`
}

// ExportStatuses counts exports by status.
type ExportStatuses struct {
	Queued    int64 `json:"queued" example:"0"`
	Running   int64 `json:"running" example:"1"`
	Completed int64 `json:"completed" example:"10"`
	Failed    int64 `json:"failed" example:"1"`
	Cancelled int64 `json:"cancelled" example:"0"`
}

func wireExportFigures(f hearth.ExportFigures) ExportFigures {
	out := ExportFigures{Bytes: f.Bytes, OldestAt: rest.TimeOrNull(f.OldestAt), ByStatus: ExportStatuses{
		Queued: f.ByStatus[hearth.ExportQueued], Running: f.ByStatus[hearth.ExportRunning], Completed: f.ByStatus[hearth.ExportCompleted],
		Failed: f.ByStatus[hearth.ExportFailed], Cancelled: f.ByStatus[hearth.ExportCancelled],
	}}
	for _, n := range f.ByStatus {
		out.Total += n
	}
	return out
}

type listExportsInput struct {
	rest.PageParams
	Status string `query:"status" enum:"queued,running,completed,failed,cancelled" doc:"Only exports of this status."`
	Type   string `query:"type" enum:"logs,usage_report,device_report" doc:"Only exports of this type."`
}

type exportInput struct {
	ID string `path:"id" maxLength:"64" doc:"The export." example:"0195a1b2-9999-7e5f-8a9b-0c1d2e3f4a5b"`
}

// registerExports adds the operations of exports; the file itself is in exportfile.go.
func (a *API) registerExports() {
	s := a.options.Exports
	if s == nil {
		return
	}
	a.registerExportOrder(s)
	rest.Register(a.Router, rest.Operation{
		ID: "list-exports", Method: http.MethodGet, Path: "/exports", Tag: tagExports, Access: rest.ForUsers, Key: hearth.KeyExportsRead, ETag: true,
		Summary: "List exports", Description: "Your own, the newest first; those of all users for an admin.",
	}, func(ctx context.Context, in *listExportsInput) (*rest.Body[rest.List[Export]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		filter := hearth.ExportFilter{Status: hearth.ExportStatus(in.Status), Type: hearth.ExportType(in.Type)}
		found, err := s.Exports(ctx, rest.CallerOf(ctx), filter, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireExport)
		return &rest.Body[rest.List[Export]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "export-stats", Method: http.MethodGet, Path: "/exports/stats", Tag: tagExports, Access: rest.ForUsers, Key: hearth.KeyExportsRead, ETag: true,
		Summary: "Count exports", Description: "Your own; those of all users for an admin.",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[ExportFigures], error) {
		figures, err := s.Figures(ctx, rest.CallerOf(ctx))
		return &rest.Body[ExportFigures]{Body: wireExportFigures(figures)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-export", Method: http.MethodGet, Path: "/exports/{id}", Tag: tagExports, Access: rest.ForUsers, Key: hearth.KeyExportsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get an export",
		Description: "How far it is, and the finished file's name, size and SHA-256. The same comes live, as the event `export-progress`.",
	}, func(ctx context.Context, in *exportInput) (*rest.Body[Export], error) {
		e, err := s.Export(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Export]{Body: wireExport(e)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "cancel-export", Method: http.MethodPost, Path: "/exports/{id}/cancel", Tag: tagExports, Access: rest.ForUsers, Key: hearth.KeyExportsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Cancel an export",
		Description: "One that waits or runs: it stops within a second, and leaves no file. `conflict` once it has ended.",
	}, func(ctx context.Context, in *exportInput) (*rest.Body[Export], error) {
		e, err := s.Cancel(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Export]{Body: wireExport(e)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-export", Method: http.MethodDelete, Path: "/exports/{id}", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsWrite, Status: http.StatusNoContent,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete an export", Description: "With its file. One that waits or runs is cancelled first.",
	}, func(ctx context.Context, in *exportInput) (*struct{}, error) {
		return nil, s.Delete(ctx, rest.CallerOf(ctx), in.ID)
	})
	a.registerExportFile(s)
}

const columnsNote = "The cells: of `logs` timestamp, device_id, device_name, device_type, event, value; of `usage_report` device_id, " +
	"device_name, device_type, event, count, total, average, min, max, p50, p95, p99, one row for each device and event with logs (percentiles " +
	"within 1 %); of `device_report` device_id, device_name, device_type, status, connection, last_active_at, owner_id, organization_id, " +
	"created_at, log_count, total_value. CSV is RFC 4180 with a header; a text cell that a spreadsheet would run as a formula (it begins with " +
	"`=`, `+`, `-`, `@`, a tab or a line break) has an apostrophe in front. JSON is an array of objects with those names, NDJSON one object a line."

func (a *API) registerExportOrder(s *exports.Service) {
	rest.Register(a.Router, rest.Operation{
		ID: "create-export", Method: http.MethodPost, Path: "/exports", Tag: tagExports,
		Access: rest.ForUsers, Key: hearth.KeyExportsWrite, Status: http.StatusAccepted,
		Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeConflict}, Summary: "Order an export",
		Description: "Writes a file of everything that you may read, or of what the filters leave, in the background. Without a range it is about " +
			"all time. Logs are of one consistent snapshot; a report asks about 200 devices at once, each time of one snapshot. " + columnsNote +
			" `conflict`: 100 of your exports have not ended yet.",
	}, func(ctx context.Context, in *struct{ Body NewExport }) (*rest.Created[Export], error) {
		order, err := in.Body.order(a.Now())
		if err != nil {
			return nil, err
		}
		e, err := s.Create(ctx, rest.CallerOf(ctx), order, rest.Idempotency(ctx, wireExport))
		return rest.NewCreated("/exports/"+e.ID, wireExport(e)), err
	})
}
