package mongodb

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.ExportScheduleStore = (*Store)(nil)

// scheduleDoc is the stored form of a schedule of exports.
type scheduleDoc struct {
	ID             string `bson:"_id"`
	Meta           `bson:",inline"`
	ScheduleFields `bson:",inline"`
	// Slot is one of MaxExportSchedules places that an owner has; the unique index of (user, slot) bounds them.
	Slot int `bson:"slot"`
}

// ScheduleFields are what changes of a schedule. The type is exported for package bson alone, which looks into no other
// embedded one.
type ScheduleFields struct {
	User        string                   `bson:"user"`
	Name        string                   `bson:"name"`
	Every       hearth.Every             `bson:"every"`
	Minute      int                      `bson:"minute"`
	Weekday     time.Weekday             `bson:"weekday"`
	Day         int                      `bson:"day"`
	TimeZone    string                   `bson:"time_zone"`
	Type        hearth.ExportType        `bson:"type"`
	Format      hearth.ExportFormat      `bson:"format"`
	Compression hearth.ExportCompression `bson:"compression"`
	Filters     exportFilters            `bson:"filters"`
	Enabled     bool                     `bson:"enabled"`
	Next        int64                    `bson:"next"` // 0 while it is not enabled
	Last        int64                    `bson:"last"`
	LastExport  string                   `bson:"last_export"`
	FailCode    hearth.Code              `bson:"fail_code"`
	FailMessage string                   `bson:"fail_message"`
	Created     int64                    `bson:"created"`
	Updated     int64                    `bson:"updated"`
}

func newScheduleFields(s hearth.ExportSchedule) ScheduleFields {
	f := ScheduleFields{
		User: s.UserID, Name: s.Name, Every: s.Recurrence.Every, Minute: s.Recurrence.Minute, Weekday: s.Recurrence.Weekday,
		Day: s.Recurrence.Day, TimeZone: s.Recurrence.TimeZone, Type: s.Type, Format: s.Format, Compression: s.Compression,
		Filters: exportFilters(s.Filters), Enabled: s.Enabled, Next: millis(s.NextAt), Last: millis(s.LastAt), LastExport: s.LastExport,
		Created: millis(s.CreatedAt), Updated: millis(s.UpdatedAt),
	}
	if s.Failure != nil {
		f.FailCode, f.FailMessage = s.Failure.Code, s.Failure.Message
	}
	return f
}

func (d scheduleDoc) schedule() hearth.ExportSchedule {
	s := hearth.ExportSchedule{
		ID: d.ID, UserID: d.User, Name: d.Name,
		Recurrence: hearth.Recurrence{Every: d.Every, Minute: d.Minute, Weekday: d.Weekday, Day: d.Day, TimeZone: d.TimeZone},
		Type:       d.Type, Format: d.Format, Compression: d.Compression, Filters: hearth.ExportFilters(d.Filters), Enabled: d.Enabled,
		NextAt: fromMillis(d.Next), LastAt: fromMillis(d.Last), LastExport: d.LastExport,
		CreatedAt: fromMillis(d.Created), UpdatedAt: fromMillis(d.Updated),
	}
	if d.FailCode != "" {
		s.Failure = &hearth.ExportFailure{Code: d.FailCode, Message: d.FailMessage}
	}
	return s
}

// CreateExportSchedule implements hearth.ExportScheduleStore.
func (s *Store) CreateExportSchedule(ctx context.Context, schedule hearth.ExportSchedule, effects hearth.SideEffects) error {
	w := writing{name: "CreateExportSchedule", line: collSchedules + "/" + schedule.UserID, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		slot, err := s.freeSlot(ctx, collSchedules, schedule.UserID, hearth.MaxExportSchedules)
		if errors.Is(err, errNoSlot) {
			return hearth.Errorf(hearth.CodeConflict, "you have %d schedules: that is the most", hearth.MaxExportSchedules)
		}
		if err != nil {
			return err
		}
		st.insert(collSchedules, schedule.ID, scheduleDoc{
			ID: schedule.ID, Meta: Meta{V: 1}, ScheduleFields: newScheduleFields(schedule), Slot: slot,
		}, nil)
		return nil
	})
}

// ExportSchedule implements hearth.ExportScheduleStore.
func (s *Store) ExportSchedule(ctx context.Context, id string) (schedule hearth.ExportSchedule, err error) {
	err = s.do(ctx, "ExportSchedule", func(ctx context.Context) error {
		var d scheduleDoc
		err := s.db.Collection(collSchedules).FindOne(ctx, live(bson.E{Key: "_id", Value: id})).Decode(&d)
		schedule = d.schedule()
		return found(err, "export schedule")
	})
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	return schedule, nil
}

// ExportSchedules implements hearth.ExportScheduleStore.
func (s *Store) ExportSchedules(ctx context.Context, userID string, page hearth.Page) (hearth.List[hearth.ExportSchedule], error) {
	// Walks (user, created, _id) or (created, _id) backwards.
	list := listing[scheduleDoc, hearth.ExportSchedule]{
		name: "ExportSchedules", coll: collSchedules, filter: append(live(), equal([2]string{"user", userID})...), field: "created", descending: true,
		item: scheduleDoc.schedule, place: func(d scheduleDoc) hearth.Cursor { return at(d.Created, d.ID) },
	}
	return list.page(ctx, s, page)
}

// loadSchedule reads a schedule for a step; CodeNotFound.
func loadSchedule(ctx context.Context, st *step, id string) (scheduleDoc, error) {
	d, err := load[scheduleDoc](ctx, st, collSchedules, byID(id))
	if errors.Is(err, errGone) {
		err = hearth.NotFound("export schedule")
	}
	return d, err
}

// UpdateExportSchedule implements hearth.ExportScheduleStore.
func (s *Store) UpdateExportSchedule(
	ctx context.Context, id string, change func(hearth.ExportSchedule) (hearth.ExportSchedule, error), effects hearth.SideEffects,
) (schedule hearth.ExportSchedule, err error) {
	w := writing{name: "UpdateExportSchedule", line: "schedule/" + id, effects: effects}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadSchedule(ctx, st, id)
		if err != nil {
			return err
		}
		if schedule, err = change(d.schedule()); err == nil {
			st.update(collSchedules, id, d.V, set(newScheduleFields(schedule)))
		}
		return err
	})
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	return schedule, nil
}

// DeleteExportSchedule implements hearth.ExportScheduleStore.
func (s *Store) DeleteExportSchedule(ctx context.Context, id string, effects hearth.SideEffects) error {
	w := writing{name: "DeleteExportSchedule", line: "schedule/" + id, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadSchedule(ctx, st, id)
		if err == nil {
			st.remove(collSchedules, id, d.V)
		}
		return err
	})
}

// DueExportSchedules implements hearth.ExportScheduleStore.
func (s *Store) DueExportSchedules(
	ctx context.Context, now time.Time, after string, limit int,
) (schedules []hearth.ExportSchedule, err error) {
	err = s.do(ctx, "DueExportSchedules", func(ctx context.Context) error {
		// The index next finds them.
		docs, err := findAll[scheduleDoc](ctx, s.db.Collection(collSchedules), live(
			bson.E{Key: "next", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lte", Value: millis(now)}}},
			bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
		), options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
		for _, d := range docs {
			schedules = append(schedules, d.schedule())
		}
		return err
	})
	return schedules, err
}
