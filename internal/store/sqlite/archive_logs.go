package sqlite

import (
	"context"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/tsdb"
)

// archiveLogs gives the logs that readers see, oldest first, of the archive's snapshot.
func (s *Store) archiveLogs(ctx context.Context, r *reader, give func([]hearth.LogEntry) error) error {
	var part []hearth.LogEntry
	ctx = context.WithValue(ctx, snapshotKey{s}, r.readConn)
	for entry, err := range s.ScanLogs(ctx, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: tsdb.Ever()}) {
		if err != nil {
			return err
		}
		if part = append(part, entry); len(part) == archive.MaxPart {
			if err := give(part); err != nil {
				return err
			}
			part = make([]hearth.LogEntry, 0, archive.MaxPart) // the part belongs to who takes it
		}
	}
	if len(part) == 0 {
		return nil
	}
	return give(part)
}
