package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
	"time"

	"hearth"
)

var _ hearth.ExportScheduleStore = (*Store)(nil)

const scheduleColumns = `id, user_id, name, every, minute, weekday, day, time_zone, type, format, compression, filters, enabled,
	next_at, last_at, last_export, fail_code, fail_message, created_at, updated_at`

// scheduleValues returns the columns of s.
func scheduleValues(s hearth.ExportSchedule) ([]any, error) {
	filters, err := json.Marshal(exportFilters(s.Filters))
	if err != nil {
		return nil, err
	}
	var failure hearth.ExportFailure
	if s.Failure != nil {
		failure = *s.Failure
	}
	r := s.Recurrence
	return []any{
		s.ID, s.UserID, s.Name, string(r.Every), r.Minute, int(r.Weekday), r.Day, r.TimeZone, string(s.Type), string(s.Format),
		string(s.Compression), string(filters), s.Enabled, millis(s.NextAt), millis(s.LastAt), s.LastExport,
		string(failure.Code), failure.Message, millis(s.CreatedAt), millis(s.UpdatedAt),
	}, nil
}

func scanSchedule(row rowScanner) (s hearth.ExportSchedule, err error) {
	var filters string
	var next, last, created, updated int64
	var failure hearth.ExportFailure
	r := &s.Recurrence
	err = row.Scan(&s.ID, &s.UserID, &s.Name, &r.Every, &r.Minute, &r.Weekday, &r.Day, &r.TimeZone, &s.Type, &s.Format, &s.Compression,
		&filters, &s.Enabled, &next, &last, &s.LastExport, &failure.Code, &failure.Message, &created, &updated)
	if err != nil {
		return s, found(err, "export schedule")
	}
	if err := json.Unmarshal([]byte(filters), (*exportFilters)(&s.Filters)); err != nil {
		return s, err
	}
	if failure.Code != "" {
		s.Failure = &failure
	}
	s.NextAt, s.LastAt, s.CreatedAt, s.UpdatedAt = fromMillis(next), fromMillis(last), fromMillis(created), fromMillis(updated)
	return s, nil
}

// scanSchedules reads whole rows and closes them.
func scanSchedules(rows *sql.Rows, err error) (schedules []hearth.ExportSchedule, _ error) {
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		s, err := scanSchedule(rows)
		if err != nil {
			return nil, closed(rows, err)
		}
		schedules = append(schedules, s)
	}
	return schedules, closed(rows, nil)
}

// CreateExportSchedule is hearth.ExportScheduleStore's.
func (s *Store) CreateExportSchedule(ctx context.Context, schedule hearth.ExportSchedule, effects hearth.SideEffects) error {
	values, err := scheduleValues(schedule)
	if err != nil {
		return err
	}
	return s.write(ctx, "CreateExportSchedule", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var count int
		// Counted in the index export_schedules_user.
		if err := t.row(`SELECT count(*) FROM export_schedules WHERE user_id=?`, schedule.UserID).Scan(&count); err != nil {
			return err
		}
		if count >= hearth.MaxExportSchedules {
			return hearth.Errorf(hearth.CodeConflict, "you have %d schedules of exports already", count)
		}
		_, err := t.exec(`INSERT INTO export_schedules(`+scheduleColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, values...)
		return err
	})
}

// ExportSchedule is hearth.ExportScheduleStore's.
func (s *Store) ExportSchedule(ctx context.Context, id string) (schedule hearth.ExportSchedule, err error) {
	err = s.read(ctx, "ExportSchedule", func(r *reader) error {
		schedule, err = scanSchedule(r.row(`SELECT `+scheduleColumns+` FROM export_schedules WHERE id=?`, id))
		return err
	})
	return schedule, err
}

// ExportSchedules is hearth.ExportScheduleStore's. Rows come off the index (user_id, created_at, id) or (created_at, id).
func (s *Store) ExportSchedules(ctx context.Context, userID string, page hearth.Page) (hearth.List[hearth.ExportSchedule], error) {
	list := hearth.List[hearth.ExportSchedule]{Total: -1}
	where, arguments := ` FROM export_schedules WHERE TRUE`, []any{}
	if userID != "" {
		where, arguments = ` FROM export_schedules WHERE user_id=?`, []any{userID}
	}
	err := s.read(ctx, "ExportSchedules", func(r *reader) error {
		if page.Count {
			if err := r.row(`SELECT count(*)`+where, arguments...).Scan(&list.Total); err != nil {
				return err
			}
		}
		where, arguments := where, arguments
		if !page.Cursor.IsZero() {
			at, err := strconv.ParseInt(page.Cursor.Key, 10, 64)
			if err != nil {
				return hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
			}
			where += ` AND (created_at, id)<(?, ?)`
			arguments = append(arguments, at, page.Cursor.ID)
		}
		var err error
		list.Items, err = scanSchedules(r.query(`SELECT `+scheduleColumns+where+` ORDER BY created_at DESC, id DESC LIMIT ?`,
			append(arguments, page.Size()+1)...))
		return err
	})
	if err != nil {
		return hearth.List[hearth.ExportSchedule]{Total: -1}, err
	}
	if len(list.Items) > page.Size() {
		list.Items = list.Items[:page.Size()]
		last := list.Items[page.Size()-1]
		list.Next = hearth.Cursor{Key: strconv.FormatInt(millis(last.CreatedAt), 10), ID: last.ID}
	}
	return list, nil
}

// UpdateExportSchedule is hearth.ExportScheduleStore's.
func (s *Store) UpdateExportSchedule(
	ctx context.Context, id string, change func(hearth.ExportSchedule) (hearth.ExportSchedule, error), effects hearth.SideEffects,
) (schedule hearth.ExportSchedule, err error) {
	err = s.write(ctx, "UpdateExportSchedule", func(t *tx) error {
		old, err := scanSchedule(t.row(`SELECT `+scheduleColumns+` FROM export_schedules WHERE id=?`, id))
		if err != nil {
			return err
		}
		if schedule, err = change(old); err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		values, err := scheduleValues(schedule)
		if err != nil {
			return err
		}
		_, err = t.exec(`UPDATE export_schedules SET (`+scheduleColumns+`)=(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id=?`,
			append(values, id)...)
		return err
	})
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	return schedule, nil
}

// DeleteExportSchedule is hearth.ExportScheduleStore's.
func (s *Store) DeleteExportSchedule(ctx context.Context, id string, effects hearth.SideEffects) error {
	return s.write(ctx, "DeleteExportSchedule", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		result, err := t.exec(`DELETE FROM export_schedules WHERE id=?`, id)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		if err == nil && rows == 0 {
			err = hearth.NotFound("export schedule")
		}
		return err
	})
}

// DueExportSchedules is hearth.ExportScheduleStore's.
func (s *Store) DueExportSchedules(ctx context.Context, now time.Time, after string, limit int) (due []hearth.ExportSchedule, err error) {
	err = s.read(ctx, "DueExportSchedules", func(r *reader) error {
		// The index export_schedules_due holds the enabled ones.
		due, err = scanSchedules(r.query(`SELECT `+scheduleColumns+` FROM export_schedules WHERE next_at>0 AND next_at<=? AND id>? ORDER BY id LIMIT ?`,
			millis(now), after, limit))
		return err
	})
	return due, err
}
