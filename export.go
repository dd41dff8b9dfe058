package hearth

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Limits of exports.
const (
	MaxExportDevices = 1000
	MaxExportEvents  = 100
	// MaxOpenExports is how many exports of one person may wait or run.
	MaxOpenExports = 100
	// ExportTTL is how long an export and its file are kept after its end.
	ExportTTL = 7 * 24 * time.Hour
)

// ExportType is what an export holds.
type ExportType string

// The types of exports.
const (
	// ExportLogs is every log of a range, oldest first.
	ExportLogs ExportType = "logs"
	// ExportUsage sums up the logs of a range by device and event.
	ExportUsage ExportType = "usage_report"
	// ExportDevices lists devices, with the number of their logs in a range.
	ExportDevices ExportType = "device_report"
)

// Valid reports whether t is one of the types.
func (t ExportType) Valid() bool { return t == ExportLogs || t == ExportUsage || t == ExportDevices }

// ExportFormat is how an export's file is written.
type ExportFormat string

// The formats.
const (
	FormatCSV     ExportFormat = "csv"
	FormatJSON    ExportFormat = "json"
	FormatNDJSON  ExportFormat = "ndjson"
	FormatParquet ExportFormat = "parquet"
)

// Valid reports whether f is one of the formats.
func (f ExportFormat) Valid() bool {
	return f == FormatCSV || f == FormatJSON || f == FormatNDJSON || f == FormatParquet
}

// ExportCompression is how an export's file is made smaller: around the file, or inside of a Parquet file.
type ExportCompression string

// The compressions.
const (
	CompressNone ExportCompression = "none"
	CompressGzip ExportCompression = "gzip"
	CompressZstd ExportCompression = "zstd"
)

// Valid reports whether c is one of the compressions.
func (c ExportCompression) Valid() bool {
	return c == CompressNone || c == CompressGzip || c == CompressZstd
}

// The separators and decimal signs of CSV files.
const (
	SeparatorComma     = ","
	SeparatorSemicolon = ";"
	SeparatorTab       = "tab"
	DecimalPoint       = "."
	DecimalComma       = ","
)

// ExportCSV is how a CSV file is written. Zero fields are RFC 4180 with points, and times in UTC.
type ExportCSV struct {
	Separator string
	Decimal   string
	// BOM begins the file with a byte order mark, by which some spreadsheets know UTF-8.
	BOM bool
	// TimeZone is the IANA name of the zone whose times, with their offset, the file has.
	TimeZone string
}

// validate checks what users set.
func (c ExportCSV) validate(bad func(field, message string)) {
	if c.Separator != "" && c.Separator != SeparatorComma && c.Separator != SeparatorSemicolon && c.Separator != SeparatorTab {
		bad("csv.separator", `must be ",", ";" or "tab"`)
	}
	if c.Decimal != "" && c.Decimal != DecimalPoint && c.Decimal != DecimalComma {
		bad("csv.decimal", `must be "." or ","`)
	}
	if _, err := TimeZone(c.TimeZone); err != nil {
		bad("csv.time_zone", err.Error())
	}
}

// ExportStatus is where an export stands.
type ExportStatus string

// The statuses: queued, then running, then one of the others. A failed export runs again when an administrator retries its
// job.
const (
	ExportQueued    ExportStatus = "queued"
	ExportRunning   ExportStatus = "running"
	ExportCompleted ExportStatus = "completed"
	ExportFailed    ExportStatus = "failed"
	ExportCancelled ExportStatus = "cancelled"
)

// ExportStatuses returns all statuses.
func ExportStatuses() []ExportStatus {
	return []ExportStatus{ExportQueued, ExportRunning, ExportCompleted, ExportFailed, ExportCancelled}
}

// Valid reports whether s is one of the statuses.
func (s ExportStatus) Valid() bool { return slices.Contains(ExportStatuses(), s) }

// Ended reports whether no work is left to do.
func (s ExportStatus) Ended() bool { return s.Valid() && s != ExportQueued && s != ExportRunning }

// ExportFilters narrow an export. Zero fields do not.
type ExportFilters struct {
	// DeviceIDs are up to MaxExportDevices devices, Events up to MaxExportEvents events.
	DeviceIDs []string
	Events    []string
	// IncludeInactive lets the reports have devices whose status is inactive.
	IncludeInactive bool
}

// ExportProgress is how far an export is.
type ExportProgress struct {
	// Step is a word for people, such as "writing".
	Step string
	// Processed and Total count records. Total is 0 while unknown, and an estimate until the end: logs may arrive meanwhile.
	Processed int64
	Total     int64
}

// ExportResult is a finished file.
type ExportResult struct {
	FileName string
	// Size is in bytes, and SHA256 in hex: of the file as it is served.
	Size      int64
	SHA256    string
	Records   int64
	Downloads int64
}

// ExportFailure says why an export failed, as its owner may read it.
type ExportFailure struct {
	Code    Code
	Message string
}

// Export is an order for a file, and what became of it.
type Export struct {
	ID string
	// UserID is who ordered it: the export is theirs. OnlyOrg is the organization of the API key that they did it with, if it is
	// bound to one.
	UserID      string
	OnlyOrg     string
	Type        ExportType
	Format      ExportFormat
	Compression ExportCompression
	// CSV is how a file of the format csv is written; nil is as in the zero ExportCSV.
	CSV    *ExportCSV
	Status ExportStatus
	// From is inclusive, To exclusive; zero leaves that side open.
	From    time.Time
	To      time.Time
	Filters ExportFilters
	// Reach is what the owner could read when they ordered it. Downloads check it again.
	Reach Reach
	// Notify asks for an e-mail whatever the owner's settings say.
	Notify   bool
	Progress ExportProgress
	Result   *ExportResult  // set exactly when completed
	Failure  *ExportFailure // set exactly when failed
	// Schedule is the id of the schedule that ordered it; "" where its owner did.
	Schedule string
	// Job is the queue's id of the work. Run names the run that may write to the export; File is the key of the finished file.
	Job         string
	Run         string
	File        string
	CreatedAt   time.Time
	StartedAt   time.Time // of the latest run; zero before the first
	CompletedAt time.Time // of the end, whatever it was; zero before
	ExpiresAt   time.Time // when the export and its file go; zero before the end
}

// Percentage returns how much is done, 0 to 100 in tenths; 100 exactly when completed.
func (e Export) Percentage() float64 {
	switch p := e.Progress; {
	case e.Status == ExportCompleted:
		return 100
	case p.Total <= 0:
		return 0
	default:
		return min(99.9, float64(p.Processed*1000/p.Total)/10)
	}
}

// Span returns the range with its open sides filled in.
func (e Export) Span() Span {
	span := Span{From: time.UnixMilli(minLogTime).UTC(), To: time.UnixMilli(maxLogTime + 1).UTC()}
	if !e.From.IsZero() {
		span.From = e.From
	}
	if !e.To.IsZero() {
		span.To = e.To
	}
	return span
}

// Validate checks what people set; locations start with prefix, such as "body.". Whether the devices exist, it cannot know.
func (e Export) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if !e.Type.Valid() {
		bad("type", "must be logs, usage_report or device_report")
	}
	if !e.Format.Valid() {
		bad("format", "must be csv, json, ndjson or parquet")
	}
	if !e.Compression.Valid() {
		bad("compression", "must be none, gzip or zstd")
	}
	if e.CSV != nil {
		if e.Format != FormatCSV {
			bad("csv", "is for the format csv alone")
		}
		e.CSV.validate(bad)
	}
	if !e.From.IsZero() && !e.To.IsZero() && !e.From.Before(e.To) {
		bad("from", "must be before to")
	}
	if len(e.Filters.DeviceIDs) > MaxExportDevices {
		bad("filters.device_ids", "has more than "+strconv.Itoa(MaxExportDevices)+" devices")
	}
	if len(e.Filters.Events) > MaxExportEvents {
		bad("filters.events", "has more than "+strconv.Itoa(MaxExportEvents)+" events")
	}
	for i, event := range e.Filters.Events {
		if !ValidEvent(event) {
			bad(fmt.Sprintf("filters.events[%d]", i), EventRule)
		}
	}
	return errs
}

// AllowExport is the rule of who may see and steer an export: its owner and admins; to others it does not exist.
func (c Caller) AllowExport(e Export) error {
	if c.IsAdmin() || c.ordered(e.UserID, e.OnlyOrg) {
		return nil
	}
	return NotFound("export")
}

// AllowExportFile is the rule of who may read an export's file: who may see the export, and may still read all that it
// reached when it was ordered (CodeForbidden otherwise).
func (c Caller) AllowExportFile(e Export) error {
	if err := c.AllowExport(e); err != nil || c.IsAdmin() {
		return err
	}
	now, err := c.Reach("")
	if err != nil {
		return err
	}
	lost := e.Reach.All
	for _, scope := range e.Reach.Scopes {
		lost = lost || !slices.Contains(now.Scopes, scope)
	}
	if lost {
		return Errorf(CodeForbidden, "you may no longer read everything that this file holds")
	}
	return nil
}

// ExportFilter picks exports. Zero fields do not filter.
type ExportFilter struct {
	UserID  string
	OnlyOrg string
	Status  ExportStatus
	Type    ExportType
}

// ExportFigures sum up exports.
type ExportFigures struct {
	ByStatus map[ExportStatus]int64
	// Bytes is the size of all finished files; OldestAt is the oldest export's CreatedAt, zero if there is none.
	Bytes    int64
	OldestAt time.Time
}

// ExportStore keeps exports. Every write is atomic and durable when it returns; errors are of the codes named here, or
// CodeUnavailable and CodeStorageFull.
type ExportStore interface {
	// CreateExport stores an export; CodeConflict if its owner has MaxOpenExports that have not ended.
	CreateExport(ctx context.Context, export Export, effects SideEffects) error
	// Export returns one export; CodeNotFound.
	Export(ctx context.Context, id string) (Export, error)
	// Exports lists; the order is by created_at, newest first, and the page's sort is "".
	Exports(ctx context.Context, filter ExportFilter, page Page) (List[Export], error)
	// UpdateExport reads, changes and writes one export in one atomic step. An error of change is returned and nothing is
	// written, along neither. change must not touch ID, UserID or CreatedAt, may run more than once, and may complete along's
	// entries, which are read after it. CodeNotFound.
	UpdateExport(ctx context.Context, id string, change func(Export) (Export, error), effects SideEffects) (Export, error)
	// DeleteExport removes an export; CodeNotFound.
	DeleteExport(ctx context.Context, id string, effects SideEffects) error
	// ExpiredExports returns up to limit exports whose ExpiresAt is not after now, the oldest first.
	ExpiredExports(ctx context.Context, now time.Time, limit int) ([]Export, error)
	// OpenExports returns up to limit exports created before that time that have not ended, the oldest first, behind the id
	// after ("" begins).
	OpenExports(ctx context.Context, before time.Time, after string, limit int) ([]Export, error)
	// ExportFigures sums up the exports that the filter picks.
	ExportFigures(ctx context.Context, filter ExportFilter) (ExportFigures, error)
}
