package telemetry

import (
	"context"
	"time"

	"hearth"
)

// Deletion says which logs of a device are to be deleted.
type Deletion struct {
	DeviceID string
	Span     hearth.Span
	// Event, if set, deletes only logs of that event.
	Event string
}

// Delete deletes logs of a device that the caller may edit, and returns their number. Analytics are right when it returns. On an error some
// may be deleted; the same call deletes the others. CodeNotFound, CodeForbidden.
func (s *Service) Delete(ctx context.Context, caller hearth.Caller, deletion Deletion) (deleted int64, err error) {
	device, err := s.device(ctx, caller, deletion.DeviceID, hearth.MayEdit)
	if err != nil {
		return 0, err
	}
	// The entry is there before anything is gone.
	entry := caller.Entry(s.options.Clock.Now(), "logs.delete", "device:"+device.ID)
	entry.Changes = map[string]hearth.Change{
		"from": {Before: deletion.Span.From.Format(time.RFC3339Nano)}, "to": {Before: deletion.Span.To.Format(time.RFC3339Nano)},
	}
	if deletion.Event != "" {
		entry.Changes["event"] = hearth.Change{Before: deletion.Event}
	}
	if err := s.options.Audit.AppendAudit(ctx, entry); err != nil {
		return 0, err
	}
	if s.options.Listener != nil {
		defer s.options.Listener.LogsChanged(context.WithoutCancel(ctx), hearth.Reach{Scopes: []hearth.Scope{device.Scope()}})
	}
	return s.options.Store.DeleteLogs(ctx, hearth.LogDeletion{Device: device.Key, Span: deletion.Span, Event: deletion.Event})
}
