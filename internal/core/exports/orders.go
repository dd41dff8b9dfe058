package exports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// Order is what a user wants exported. A zero Compression is none, zero times leave the range open.
type Order struct {
	Type        hearth.ExportType
	Format      hearth.ExportFormat
	Compression hearth.ExportCompression
	CSV         *hearth.ExportCSV
	From        time.Time
	To          time.Time
	Filters     hearth.ExportFilters
	Notify      bool
}

// maxProblems bounds the wrong parts that one answer names.
const maxProblems = 20

// Create orders an export: it is queued, and its job left in the same write. Errors: CodeValidationFailed (a device that the
// caller may not read is named by index, like one that does not exist), CodeForbidden, CodeConflict,
// CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) Create(ctx context.Context, caller hearth.Caller, order Order, key *hearth.IdempotencyRequest) (hearth.Export, error) {
	reach, err := caller.Reach("")
	if err != nil {
		return hearth.Export{}, err
	}
	now := s.now()
	e := hearth.Export{
		ID: queue.NewID(now), Job: queue.NewID(now), UserID: caller.UserID, OnlyOrg: caller.OnlyOrg, Type: order.Type, Format: order.Format,
		Compression: cmp.Or(order.Compression, hearth.CompressNone), CSV: order.CSV, Status: hearth.ExportQueued, From: order.From, To: order.To,
		Filters: order.Filters, Reach: reach, Notify: order.Notify, Progress: hearth.ExportProgress{Step: stepQueued}, CreatedAt: now,
	}
	if problems := e.Validate("body."); len(problems) > 0 {
		return hearth.Export{}, hearth.Invalid(problems[:min(len(problems), maxProblems)]...)
	}
	if len(e.Filters.DeviceIDs) > 0 {
		if e.Reach, err = s.reachOf(ctx, caller, e.Filters.DeviceIDs); err != nil {
			return hearth.Export{}, err
		}
	}
	if err := s.place(ctx, caller, e, key); err != nil {
		return hearth.Export{}, err
	}
	return e, nil
}

// place stores an order with its job.
func (s *Service) place(ctx context.Context, caller hearth.Caller, e hearth.Export, key *hearth.IdempotencyRequest) error {
	slices.Sort(e.Reach.Scopes)
	record, err := key.Record(e)
	if err != nil {
		return err
	}
	job, err := runJob(e)
	if err != nil {
		return err
	}
	entry := caller.Entry(e.CreatedAt, "export.create", "export:"+e.ID)
	entry.Changes = map[string]hearth.Change{"type": {After: e.Type}, "format": {After: e.Format}}
	if e.Schedule != "" {
		entry.Changes["schedule"] = hearth.Change{After: e.Schedule}
	}
	// The order itself is no event: a worker may have begun, and published that, before it could be.
	return s.o.Store.CreateExport(ctx, e, hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}, Jobs: []hearth.OutboxJob{job}})
}

// reachOf returns the scopes of the named devices, or says which of them the caller may not read.
func (s *Service) reachOf(ctx context.Context, caller hearth.Caller, ids []string) (hearth.Reach, error) {
	devices, err := s.o.Devices.DevicesByID(ctx, ids)
	if err != nil {
		return hearth.Reach{}, err
	}
	scopes := map[string]hearth.Scope{}
	for _, d := range devices {
		if caller.Access(d)&hearth.MayRead != 0 {
			scopes[d.ID] = d.Scope()
		}
	}
	var reach hearth.Reach
	var problems []hearth.FieldError
	for i, id := range ids {
		scope, ok := scopes[id]
		switch {
		case !ok && len(problems) < maxProblems:
			problems = append(problems, hearth.FieldError{
				Location: fmt.Sprintf("body.filters.device_ids[%d]", i), Message: "is no device that you may read",
			})
		case ok && !slices.Contains(reach.Scopes, scope):
			reach.Scopes = append(reach.Scopes, scope)
		}
	}
	if len(problems) > 0 {
		return hearth.Reach{}, hearth.Invalid(problems...)
	}
	return reach, nil
}

// Exports lists the caller's exports, those of all users for an admin, newest first. The filter's UserID and OnlyOrg are set here.
func (s *Service) Exports(
	ctx context.Context, caller hearth.Caller, filter hearth.ExportFilter, page hearth.Page,
) (hearth.List[hearth.Export], error) {
	owner, err := ownerOf(caller)
	if err != nil {
		return hearth.List[hearth.Export]{}, err
	}
	filter.UserID, filter.OnlyOrg = owner, caller.OnlyOrg
	return s.o.Store.Exports(ctx, filter, page)
}

// ownerOf returns whose exports the caller's questions are about: "" is all users.
func ownerOf(caller hearth.Caller) (string, error) {
	switch {
	case !caller.IsUser():
		return "", hearth.Errorf(hearth.CodeForbidden, "a device has no exports")
	case caller.IsAdmin():
		return "", nil
	}
	return caller.UserID, nil
}

// Export returns one export; CodeNotFound, also for another user's.
func (s *Service) Export(ctx context.Context, caller hearth.Caller, id string) (hearth.Export, error) {
	e, err := s.o.Store.Export(ctx, id)
	if err == nil {
		err = caller.AllowExport(e)
	}
	if err != nil {
		return hearth.Export{}, err
	}
	return e, nil
}

// Figures sums up the caller's exports, those of all users for an admin.
func (s *Service) Figures(ctx context.Context, caller hearth.Caller) (hearth.ExportFigures, error) {
	owner, err := ownerOf(caller)
	if err != nil {
		return hearth.ExportFigures{}, err
	}
	return s.o.Store.ExportFigures(ctx, hearth.ExportFilter{UserID: owner, OnlyOrg: caller.OnlyOrg})
}

// Cancel ends an export that waits or runs; a running one stops writing within a second. CodeNotFound; CodeConflict once it
// has ended.
func (s *Service) Cancel(ctx context.Context, caller hearth.Caller, id string) (hearth.Export, error) {
	entry := caller.Entry(s.now(), "export.cancel", "export:"+id)
	e, err := s.o.Store.UpdateExport(ctx, id, func(e hearth.Export) (hearth.Export, error) {
		if err := caller.AllowExport(e); err != nil {
			return e, err
		}
		if e.Status.Ended() {
			return e, hearth.Errorf(hearth.CodeConflict, "the export has ended: it is %s", e.Status)
		}
		s.end(&e, hearth.ExportCancelled)
		return e, nil
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
	if err != nil {
		return hearth.Export{}, err
	}
	s.cancelJob(ctx, e)
	s.publish(e)
	return e, nil
}

// end notes the end of the export.
func (s *Service) end(e *hearth.Export, status hearth.ExportStatus) {
	now := s.now()
	e.Status, e.CompletedAt, e.ExpiresAt = status, now, now.Add(s.o.TTL)
	e.Progress.Step = string(status)
}

// cancelJob cancels the job in the queue. Where that fails, the run itself sees within half a second that it is not wanted.
func (s *Service) cancelJob(ctx context.Context, e hearth.Export) {
	err := s.o.Jobs.Cancel(ctx, e.Job)
	switch hearth.ErrorCode(err) {
	case "", hearth.CodeNotFound, hearth.CodeConflict: // still in the outbox, or over
	default:
		s.o.Log.WarnContext(ctx, "an export's job could not be cancelled", "export", e.ID, "err", err)
	}
}

// Delete removes an export and its file; one that waits or runs is cancelled first. CodeNotFound.
func (s *Service) Delete(ctx context.Context, caller hearth.Caller, id string) error {
	e, err := s.Export(ctx, caller, id)
	if err != nil {
		return err
	}
	if !e.Status.Ended() {
		if _, err := s.Cancel(ctx, caller, id); err != nil && hearth.ErrorCode(err) != hearth.CodeConflict {
			return err
		}
	}
	if err := s.dropFiles(ctx, id, ""); err != nil {
		return err
	}
	entry := caller.Entry(s.now(), "export.delete", "export:"+id)
	return s.o.Store.DeleteExport(ctx, id, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// File is a finished file, open. The caller closes it.
type File struct {
	io.ReadSeekCloser
	Export hearth.Export
	// MediaType is the content's, as it is served.
	MediaType string
}

// Open opens the file of a completed export. Errors: CodeNotFound (also for a file that expired), CodeConflict before it is
// completed, CodeForbidden if the caller may no longer read all that it holds. ctx is the life of the file.
func (s *Service) Open(ctx context.Context, caller hearth.Caller, id string) (*File, error) {
	e, err := s.Export(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	if e.Status != hearth.ExportCompleted {
		return nil, hearth.Errorf(hearth.CodeConflict, "the export is not completed: it is %s", e.Status)
	}
	if err := caller.AllowExportFile(e); err != nil {
		return nil, err
	}
	if !s.now().Before(e.ExpiresAt) {
		return nil, hearth.NotFound("file")
	}
	reader, err := s.o.Files.Open(ctx, e.File)
	if err != nil {
		return nil, err
	}
	if size := reader.Info().Size; size != e.Result.Size {
		err := fmt.Errorf("the file of export %s has %d bytes, not %d", id, size, e.Result.Size)
		return nil, errors.Join(err, reader.Close())
	}
	return &File{ReadSeekCloser: reader, Export: e, MediaType: mediaType(e)}, nil
}

// CountDownload notes that a file was handed out. It never keeps anybody from a file: what cannot be noted is logged.
func (s *Service) CountDownload(ctx context.Context, id string) {
	_, err := s.o.Store.UpdateExport(ctx, id, func(e hearth.Export) (hearth.Export, error) {
		if e.Result != nil {
			result := *e.Result
			result.Downloads++
			e.Result = &result
		}
		return e, nil
	}, hearth.SideEffects{})
	if err != nil {
		s.o.Log.WarnContext(ctx, "a download was not counted", "export", id, "err", err)
	}
}

// suffix is the end of the file's name.
func suffix(e hearth.Export) string {
	name := "." + string(e.Format)
	switch {
	case e.Format == hearth.FormatParquet:
	case e.Compression == hearth.CompressGzip:
		name += ".gz"
	case e.Compression == hearth.CompressZstd:
		name += ".zst"
	}
	return name
}

// fileName is of plain ASCII: the type, the time of the order, the end of the id.
func fileName(e hearth.Export) string {
	return fmt.Sprintf("hearth-%s-%s-%s%s", e.Type, e.CreatedAt.UTC().Format("20060102T150405Z"), e.ID[len(e.ID)-6:], suffix(e))
}

func mediaType(e hearth.Export) string {
	switch {
	case e.Format == hearth.FormatParquet:
		return "application/vnd.apache.parquet"
	case e.Compression == hearth.CompressGzip:
		return "application/gzip"
	case e.Compression == hearth.CompressZstd:
		return "application/zstd"
	case e.Format == hearth.FormatCSV:
		return "text/csv; charset=utf-8"
	case e.Format == hearth.FormatNDJSON:
		return "application/x-ndjson"
	}
	return "application/json"
}
