package mongodb

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.ExportStore = (*Store)(nil)

// exportDoc is the stored form of an export.
type exportDoc struct {
	ID           string `bson:"_id"`
	Meta         `bson:",inline"`
	ExportFields `bson:",inline"`
	// Slot is one of MaxOpenExports places that an owner has for exports that have not ended: the unique index of (user, slot)
	// bounds them. An export that ended has none.
	Slot *int `bson:"slot,omitempty"`
}

// ExportFields are what changes of an export. The type is exported for package bson alone, which looks into no other
// embedded one.
type ExportFields struct {
	User        string                   `bson:"user"`
	Type        hearth.ExportType        `bson:"type"`
	Format      hearth.ExportFormat      `bson:"format"`
	Compression hearth.ExportCompression `bson:"compression"`
	Status      hearth.ExportStatus      `bson:"status"`
	From        *int64                   `bson:"from"`
	To          *int64                   `bson:"to"`
	Filters     exportFilters            `bson:"filters"`
	Reach       exportReach              `bson:"reach"`
	Notify      bool                     `bson:"notify"`
	Step        string                   `bson:"step"`
	Processed   int64                    `bson:"processed"`
	Total       int64                    `bson:"total"`
	Result      *exportResult            `bson:"result"`
	FailCode    hearth.Code              `bson:"fail_code"`
	FailMessage string                   `bson:"fail_message"`
	Schedule    string                   `bson:"schedule"`
	Job         string                   `bson:"job"`
	Run         string                   `bson:"run"`
	File        string                   `bson:"file"`
	Created     int64                    `bson:"created"`
	Started     int64                    `bson:"started"`
	Completed   int64                    `bson:"completed"`
	Expires     int64                    `bson:"expires"`
}

// exportFilters, exportReach and exportResult are the stored forms: a rename of a field outside does not change them.
type exportFilters struct {
	DeviceIDs       []string `bson:"device_ids"`
	Events          []string `bson:"events"`
	IncludeInactive bool     `bson:"include_inactive"`
}

type exportReach struct {
	All    bool           `bson:"all"`
	Scopes []hearth.Scope `bson:"scopes"`
}

type exportResult struct {
	FileName  string `bson:"file_name"`
	Size      int64  `bson:"size"`
	SHA256    string `bson:"sha256"`
	Records   int64  `bson:"records"`
	Downloads int64  `bson:"downloads"`
}

// openMillis is millis, nil for the zero time: 0 is a time like any other.
func openMillis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func fromOpenMillis(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

func newExportFields(e hearth.Export) ExportFields {
	f := ExportFields{
		User: e.UserID, Type: e.Type, Format: e.Format, Compression: e.Compression, Status: e.Status,
		From: openMillis(e.From), To: openMillis(e.To), Filters: exportFilters(e.Filters), Reach: exportReach(e.Reach), Notify: e.Notify,
		Step: e.Progress.Step, Processed: e.Progress.Processed, Total: e.Progress.Total, Schedule: e.Schedule, Job: e.Job, Run: e.Run, File: e.File,
		Created: millis(e.CreatedAt), Started: millis(e.StartedAt), Completed: millis(e.CompletedAt), Expires: millis(e.ExpiresAt),
	}
	if e.Result != nil {
		f.Result = (*exportResult)(e.Result)
	}
	if e.Failure != nil {
		f.FailCode, f.FailMessage = e.Failure.Code, e.Failure.Message
	}
	return f
}

func (d exportDoc) export() hearth.Export {
	e := hearth.Export{
		ID: d.ID, UserID: d.User, Type: d.Type, Format: d.Format, Compression: d.Compression, Status: d.Status,
		From: fromOpenMillis(d.From), To: fromOpenMillis(d.To), Filters: hearth.ExportFilters(d.Filters), Reach: hearth.Reach(d.Reach),
		Notify: d.Notify, Progress: hearth.ExportProgress{Step: d.Step, Processed: d.Processed, Total: d.Total}, Schedule: d.Schedule, Job: d.Job, Run: d.Run, File: d.File,
		CreatedAt: fromMillis(d.Created), StartedAt: fromMillis(d.Started), CompletedAt: fromMillis(d.Completed), ExpiresAt: fromMillis(d.Expires),
	}
	if d.Result != nil {
		result := hearth.ExportResult(*d.Result)
		e.Result = &result
	}
	if d.FailCode != "" {
		e.Failure = &hearth.ExportFailure{Code: d.FailCode, Message: d.FailMessage}
	}
	return e
}

// CreateExport implements hearth.ExportStore.
func (s *Store) CreateExport(ctx context.Context, export hearth.Export, effects hearth.SideEffects) error {
	w := writing{name: "CreateExport", line: collExports + "/" + export.UserID, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d := exportDoc{ID: export.ID, Meta: Meta{V: 1}, ExportFields: newExportFields(export)}
		if !export.Status.Ended() {
			slot, err := s.freeSlot(ctx, collExports, export.UserID, hearth.MaxOpenExports)
			if errors.Is(err, errNoSlot) {
				return hearth.Errorf(hearth.CodeConflict, "%d of your exports have not ended yet", hearth.MaxOpenExports)
			}
			if err != nil {
				return err
			}
			d.Slot = &slot
		}
		st.insert(collExports, export.ID, d, nil)
		return nil
	})
}

// Export implements hearth.ExportStore.
func (s *Store) Export(ctx context.Context, id string) (export hearth.Export, err error) {
	err = s.do(ctx, "Export", func(ctx context.Context) error {
		var d exportDoc
		err := s.db.Collection(collExports).FindOne(ctx, live(bson.E{Key: "_id", Value: id})).Decode(&d)
		export = d.export()
		return found(err, "export")
	})
	if err != nil {
		return hearth.Export{}, err
	}
	return export, nil
}

func exportsFilter(f hearth.ExportFilter) bson.D {
	return append(live(), equal(
		[2]string{"user", f.UserID}, [2]string{"status", string(f.Status)}, [2]string{"type", string(f.Type)})...)
}

// Exports implements hearth.ExportStore.
func (s *Store) Exports(ctx context.Context, filter hearth.ExportFilter, page hearth.Page) (hearth.List[hearth.Export], error) {
	// Walks (user, created, _id) or (created, _id) backwards.
	list := listing[exportDoc, hearth.Export]{
		name: "Exports", coll: collExports, filter: exportsFilter(filter), field: "created", descending: true,
		item: exportDoc.export, place: func(d exportDoc) hearth.Cursor { return at(d.Created, d.ID) },
	}
	return list.page(ctx, s, page)
}

// loadExport reads an export for a step; CodeNotFound.
func loadExport(ctx context.Context, st *step, id string) (exportDoc, error) {
	d, err := load[exportDoc](ctx, st, collExports, byID(id))
	if errors.Is(err, errGone) {
		err = hearth.NotFound("export")
	}
	return d, err
}

// UpdateExport implements hearth.ExportStore.
func (s *Store) UpdateExport(
	ctx context.Context, id string, change func(hearth.Export) (hearth.Export, error), effects hearth.SideEffects,
) (export hearth.Export, err error) {
	err = s.commit(ctx, writing{name: "UpdateExport", line: "export/" + id, effects: effects}, func(ctx context.Context, st *step) error {
		d, err := loadExport(ctx, st, id)
		if err != nil {
			return err
		}
		if export, err = change(d.export()); err != nil {
			return err
		}
		update := set(newExportFields(export))
		if d.Slot != nil && export.Status.Ended() {
			update = with(update, "$unset", "slot", "")
		}
		st.update(collExports, id, d.V, update)
		return nil
	})
	if err != nil {
		return hearth.Export{}, err
	}
	return export, nil
}

// DeleteExport implements hearth.ExportStore.
func (s *Store) DeleteExport(ctx context.Context, id string, effects hearth.SideEffects) error {
	return s.commit(ctx, writing{name: "DeleteExport", line: "export/" + id, effects: effects}, func(ctx context.Context, st *step) error {
		d, err := loadExport(ctx, st, id)
		if err == nil {
			st.remove(collExports, id, d.V)
		}
		return err
	})
}

// ExpiredExports implements hearth.ExportStore.
func (s *Store) ExpiredExports(ctx context.Context, now time.Time, limit int) ([]hearth.Export, error) {
	// The index expires finds them.
	return s.findExports(ctx, "ExpiredExports", live(bson.E{Key: "expires", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: millis(now)}}}),
		options.Find().SetSort(bson.D{{Key: "expires", Value: 1}}).SetLimit(int64(limit)))
}

// OpenExports implements hearth.ExportStore.
func (s *Store) OpenExports(ctx context.Context, before time.Time, after string, limit int) ([]hearth.Export, error) {
	// By (status, _id); ids begin with their time.
	return s.findExports(ctx, "OpenExports", live(
		bson.E{Key: "status", Value: bson.D{{Key: "$in", Value: bson.A{hearth.ExportQueued, hearth.ExportRunning}}}},
		bson.E{Key: "created", Value: bson.D{{Key: "$lt", Value: millis(before)}}},
		bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
	), options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

func (s *Store) findExports(ctx context.Context, name string, filter bson.D, find *options.FindOptionsBuilder) (exports []hearth.Export, err error) {
	err = s.do(ctx, name, func(ctx context.Context) error {
		docs, err := findAll[exportDoc](ctx, s.db.Collection(collExports), filter, find)
		for _, d := range docs {
			exports = append(exports, d.export())
		}
		return err
	})
	return exports, err
}

// ExportFigures implements hearth.ExportStore.
func (s *Store) ExportFigures(ctx context.Context, userID string) (hearth.ExportFigures, error) {
	figures := hearth.ExportFigures{ByStatus: map[hearth.ExportStatus]int64{}}
	err := s.do(ctx, "ExportFigures", func(ctx context.Context) error {
		// By (user, created, _id) for a person's.
		cursor, err := s.reads.Collection(collExports).Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: exportsFilter(hearth.ExportFilter{UserID: userID})}},
			bson.D{{Key: "$group", Value: bson.D{
				{Key: "_id", Value: "$status"},
				{Key: "count", Value: bson.D{{Key: "$sum", Value: int64(1)}}},
				{Key: "bytes", Value: bson.D{{Key: "$sum", Value: "$result.size"}}},
				{Key: "oldest", Value: bson.D{{Key: "$min", Value: "$created"}}},
			}}},
		})
		if err != nil {
			return err
		}
		var groups []struct {
			Status hearth.ExportStatus `bson:"_id"`
			Count  int64               `bson:"count"`
			Bytes  int64               `bson:"bytes"`
			Oldest int64               `bson:"oldest"`
		}
		if err := cursor.All(ctx, &groups); err != nil {
			return err
		}
		var oldest int64
		for _, g := range groups {
			figures.ByStatus[g.Status] = g.Count
			figures.Bytes += g.Bytes
			if oldest == 0 || g.Oldest < oldest {
				oldest = g.Oldest
			}
		}
		figures.OldestAt = fromMillis(oldest)
		return nil
	})
	return figures, err
}
