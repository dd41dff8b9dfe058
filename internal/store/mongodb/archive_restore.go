package mongodb

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/store/archive"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

const (
	collRestore = "restore"
	restoreID   = "restore"
)

// restoreDoc is the mark of a restore that has not ended.
type restoreDoc struct {
	ID         string `bson:"_id"`
	steps.Meta `bson:",inline"`
	Source     string           `bson:"source"`
	Started    int64            `bson:"started"`
	Done       map[string]int64 `bson:"done"`
}

func (d restoreDoc) restore() archive.Restore {
	if d.Done == nil {
		d.Done = map[string]int64{}
	}
	return archive.Restore{Source: d.Source, StartedAt: steps.FromMillis(d.Started), Done: d.Done}
}

// BeginRestore implements archive.Archiver.
func (s *Store) BeginRestore(ctx context.Context, restore archive.Restore) (mark archive.Restore, err error) {
	err = s.Commit(ctx, steps.Writing{Name: "BeginRestore"}, func(ctx context.Context, st *steps.Step) error {
		d, err := steps.Load[restoreDoc](ctx, st.DB, collRestore, steps.ByID(restoreID))
		switch {
		case err == nil && d.Source == restore.Source:
			mark = d.restore()
			return nil
		case err == nil:
			return hearth.Errorf(hearth.CodeConflict, "the store is half restored from something else (%s): empty it first", d.Source)
		case !errors.Is(err, steps.ErrGone):
			return err
		}
		used := []string{collCheckpoints, steps.Commits, collTail, collDocuments, steps.Counters}
		for _, kind := range archive.Kinds() {
			if schema := archive.SchemaOf(kind); schema != nil && kind != archive.IdempotencyKind {
				used = append(used, schema.Name)
			}
		}
		for _, coll := range used {
			used, err := s.Exists(ctx, coll, bson.D{{Key: "aborted", Value: nil}})
			if err != nil {
				return err
			}
			if used {
				return hearth.Errorf(hearth.CodeConflict, "the store is not empty")
			}
		}
		d = restoreDoc{ID: restoreID, Meta: steps.Meta{V: 1}, Source: restore.Source, Started: steps.Millis(restore.StartedAt)}
		mark = d.restore()
		st.Insert(collRestore, restoreID, d, steps.ErrStale)
		return nil
	})
	return mark, err
}

// Restoring implements archive.Archiver.
func (s *Store) Restoring(ctx context.Context) (mark archive.Restore, err error) {
	err = s.Do(ctx, "Restoring", func(ctx context.Context) error {
		var d restoreDoc
		err := s.Collection(collRestore).FindOne(ctx, steps.Live(bson.E{Key: "_id", Value: restoreID})).Decode(&d)
		mark = d.restore()
		return steps.Found(err, "unfinished restore")
	})
	if err != nil {
		return archive.Restore{}, err
	}
	return mark, nil
}

// EndRestore implements archive.Archiver.
func (s *Store) EndRestore(ctx context.Context) error {
	return s.Do(ctx, "EndRestore", func(ctx context.Context) error {
		_, err := s.Collection(collRestore).DeleteOne(ctx, steps.ByID(restoreID))
		return err
	})
}

// RestorePart implements archive.Archiver. Logs and the mark are one atomic step; of other records the mark comes last, and
// those that are stored already stay as they are.
func (s *Store) RestorePart(ctx context.Context, part archive.Part, restore archive.Restore) error {
	if part.Kind != archive.LogsKind {
		records, err := archive.Records(&part)
		if err != nil {
			return err
		}
		err = s.DoLong(ctx, "RestorePart", func(ctx context.Context) error {
			if err := s.checkMark(ctx, restore); err != nil {
				return err
			}
			return s.restoreRecords(ctx, part.Kind, records)
		})
		if err != nil {
			return err
		}
	}
	return s.restoreLogs(ctx, part.Logs, restore)
}

// mark does a step that the mark of the restore is part of.
func (s *Store) mark(ctx context.Context, restore archive.Restore, build func(*steps.Step) error) error {
	return s.Commit(ctx, steps.Writing{Name: "RestorePart"}, func(ctx context.Context, st *steps.Step) error {
		d, err := steps.Load[restoreDoc](ctx, st.DB, collRestore, steps.ByID(restoreID))
		if err != nil && !errors.Is(err, steps.ErrGone) {
			return err
		}
		if err != nil || d.Source != restore.Source {
			return notRestoring()
		}
		if err := build(st); err != nil {
			return err
		}
		st.Update(collRestore, restoreID, d.V, steps.Set(bson.D{{Key: "done", Value: restore.Done}}))
		return nil
	})
}

func notRestoring() error {
	return hearth.Errorf(hearth.CodeConflict, "the store is not being restored from this source")
}

func (s *Store) checkMark(ctx context.Context, restore archive.Restore) error {
	marked, err := s.Exists(ctx, collRestore, steps.Live(bson.E{Key: "_id", Value: restoreID}, bson.E{Key: "source", Value: restore.Source}))
	if err == nil && !marked {
		err = notRestoring()
	}
	return err
}

func (s *Store) restoreRecords(ctx context.Context, kind string, records []any) error {
	switch kind {
	case archive.CountersKind:
		return s.restoreCounters(ctx, records)
	case archive.DevicesKind:
		devices := record.Devices(records)
		if err := s.restoreSerials(ctx, devices); err != nil {
			return err
		}
		return restoreEach(ctx, s, collDevices, devices, newDeviceDoc)
	case archive.AuditKind:
		return s.RestoreAudit(ctx, record.AuditEntries(records))
	case archive.CheckpointsKind:
		return restoreEach(ctx, s, collCheckpoints, record.Checkpoints(records), func(c hearth.Checkpoint) checkpointDoc {
			return checkpointDoc{ID: c.ID, Meta: steps.Meta{V: 1}, CheckpointFields: CheckpointFields{Rows: c.Rows, Mark: c.Mark}}
		})
	case archive.IdempotencyKind:
		return s.RestoreIdempotencyRecords(ctx, record.IdempotencyRecords(records))
	}
	return s.restoreKind(ctx, archive.SchemaOf(kind), records)
}

func (s *Store) restoreSerials(ctx context.Context, devices []hearth.Device) error {
	devices = slices.DeleteFunc(slices.Clone(devices), func(d hearth.Device) bool { return d.Serial == "" })
	if len(devices) == 0 {
		return nil
	}
	return restoreEach(ctx, s, collSerials, devices, newSerialDoc)
}

// restoreKind stores described records.
func (s *Store) restoreKind(ctx context.Context, schema *record.Schema, records []any) error {
	err := (recordBackend{s}).Update(ctx, record.Write{Name: "RestorePart"}, func(ctx context.Context, tx record.Tx) error {
		return schema.Restored(ctx, tx, records)
	})
	if err != nil {
		return err
	}
	var docs, claims []any
	for _, r := range records {
		doc, claim := s.newDoc(schema, r)
		if schema.Counts(r) {
			slot, err := s.slotOf(ctx, schema, r)
			if err != nil {
				return err
			}
			if slot == nil {
				continue // it is stored
			}
			// One after another, so that the next finds the place taken.
			if err := s.InsertMissing(ctx, schema.Name, []any{append(doc, bson.E{Key: slotField, Value: *slot})}); err != nil {
				return err
			}
			continue
		}
		if docs = append(docs, doc); claim != nil {
			claims = append(claims, claim)
		}
	}
	if len(claims) > 0 {
		if err := s.InsertMissing(ctx, schema.Claim.Collection, claims); err != nil {
			return err
		}
	}
	if len(docs) == 0 {
		return nil
	}
	return s.InsertMissing(ctx, schema.Name, docs)
}

// slotOf returns a free place for a record; nil if the record is stored.
func (s *Store) slotOf(ctx context.Context, schema *record.Schema, r any) (*int, error) {
	stored, err := s.Exists(ctx, schema.Name, steps.ByID(idOf(schema.IDOf(r))))
	if err != nil || stored {
		return nil, err
	}
	owner := schema.Field(schema.Limit.By)
	slot, err := s.freeSlot(ctx, schema.Name, owner.BSON, owner.Get(r), schema.Limit.Most)
	if errors.Is(err, errNoSlot) {
		err = hearth.Errorf(hearth.CodeConflict, "the archive has more than %d of %s of one user", schema.Limit.Most, schema.Name)
	}
	return &slot, err
}

func (s *Store) restoreCounters(ctx context.Context, records []any) error {
	for _, r := range records {
		c := r.(*archive.Counters) //nolint:forcetypeassert // records of the kind
		for name, last := range map[string]int64{collDevices: c.LastDevice, collTail: int64(c.LastLog)} {
			_, err := s.Collection(steps.Counters).UpdateOne(ctx, steps.ByID(name),
				bson.D{{Key: "$max", Value: bson.D{{Key: "last", Value: last}}}}, options.UpdateOne().SetUpsert(true))
			if err != nil {
				return err
			}
		}
		// What was taken of the numbers before does not hold any more.
		s.logs.forgetNumbers()
	}
	return nil
}

// restoreEach stores a document for each record, unless there is one with its _id.
func restoreEach[T, D any](ctx context.Context, s *Store, coll string, records []T, doc func(T) D) error {
	docs := make([]D, 0, len(records))
	for _, r := range records {
		docs = append(docs, doc(r))
	}
	return s.InsertMissing(ctx, coll, docs)
}
