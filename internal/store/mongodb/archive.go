package mongodb

import (
	"context"
	"errors"
	"iter"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

var _ archive.Archiver = (*Store)(nil)

// archiver gives the parts of one archive.
type archiver struct {
	out *archive.Writer
	// keys are the devices that were given.
	keys map[int64]bool
}

// Archive implements archive.Archiver. Devices, logs and the audit are as they were when it began. Without transactions
// there is no one moment for the rest: of a record that changes meanwhile the archive has the form before or after, and what
// is new meanwhile and hangs on something new is left out, so that an archive always restores. An archive of exactly one
// moment is made while no instance writes.
func (s *Store) Archive(ctx context.Context) iter.Seq2[archive.Part, error] {
	return func(yield func(archive.Part, error) bool) {
		err := s.DoLong(ctx, "Archive", func(ctx context.Context) error {
			// The scan comes first: whatever its logs are of is still to be read.
			logs, stop := iter.Pull2(s.ScanLogs(ctx, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everSpan}))
			defer stop()
			first, err, more := logs()
			if err != nil {
				return err
			}
			a := &archiver{keys: map[int64]bool{}}
			if a.out, err = s.archiveOf(ctx, a.keys); err != nil {
				return err
			}
			a.out.Yield = func(p archive.Part) bool { return yield(p, nil) }
			if err := a.out.Run(ctx); err != nil {
				return err
			}
			return a.logs(ctx, first, more, logs)
		})
		if err != nil && !errors.Is(err, archive.ErrEnded) {
			yield(archive.Part{}, err)
		}
	}
}

// archiveOf begins an archive: it fixes the last device and the last audit entry. The keys of the devices go into keys.
func (s *Store) archiveOf(ctx context.Context, keys map[int64]bool) (*archive.Writer, error) {
	head, err := s.AuditHead(ctx)
	if err != nil {
		return nil, err
	}
	counters, err := steps.FindAll[struct {
		ID   string `bson:"_id"`
		Last int64  `bson:"last"`
	}](ctx, s.Collection(steps.Counters), bson.D{})
	if err != nil {
		return nil, err
	}
	var c archive.Counters
	for _, counter := range counters {
		switch counter.ID {
		case collDevices:
			c.LastDevice = counter.Last
		case collTail:
			c.LastLog = uint64(counter.Last)
		}
	}
	return &archive.Writer{
		Reader: recordReader{s}, Counters: c,
		Keep: func(key int64) bool {
			keys[key] = key <= c.LastDevice
			return keys[key]
		},
		Special: map[string]func(context.Context, func(any) error) error{
			archive.CheckpointsKind: s.archiveCheckpoints,
			archive.IdempotencyKind: func(ctx context.Context, give func(any) error) error {
				return s.ScanIdempotencyRecords(ctx, func(r hearth.IdempotencyRecord) error { return give(record.StoredIdempotencyRecord(r)) })
			},
			archive.AuditKind: func(ctx context.Context, give func(any) error) error {
				after, err := s.auditBegins(ctx)
				if err != nil {
					return err
				}
				return s.ScanAudit(ctx, after, head.Seq, func(e hearth.AuditEntry) error { return give(record.StoredAuditEntry(e)) })
			},
		},
	}, nil
}

// auditBegins returns the number of the audit entry behind which an archive begins. What was trimmed may go at any moment, but nothing goes
// while a store is restored, which is then compared with what it was restored from.
func (s *Store) auditBegins(ctx context.Context) (int64, error) {
	if _, err := s.Restoring(ctx); hearth.ErrorCode(err) != hearth.CodeNotFound {
		return 0, err
	}
	return s.TrimmedUpTo(ctx)
}

// archiveCheckpoints gives all of them. Imports are few.
func (s *Store) archiveCheckpoints(ctx context.Context, give func(any) error) error {
	docs, err := steps.FindAll[checkpointDoc](ctx, s.Collection(collCheckpoints), steps.Live(), options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return err
	}
	for _, d := range docs {
		if err := give(record.StoredCheckpoint(d.checkpoint())); err != nil {
			return err
		}
	}
	return nil
}
