package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
	"time"

	"hearth"
)

var _ hearth.ExportStore = (*Store)(nil)

// exportColumns are in the order of exportRow's fields.
const exportColumns = `id, user_id, type, format, compression, status, span_from, span_to, filters, reach, notify, step, processed, total,
	result, size, fail_code, fail_message, job, run, file, created_at, started_at, completed_at, expires_at, schedule`

// exportFilters, exportReach and exportResult are the stored forms: a rename of a field outside does not change them.
type exportFilters struct {
	DeviceIDs       []string `json:"device_ids,omitempty"`
	Events          []string `json:"events,omitempty"`
	IncludeInactive bool     `json:"include_inactive,omitempty"`
}

type exportReach struct {
	All    bool           `json:"all,omitempty"`
	Scopes []hearth.Scope `json:"scopes,omitempty"`
}

type exportResult struct {
	FileName  string `json:"file_name"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Records   int64  `json:"records"`
	Downloads int64  `json:"downloads"`
}

func openMillis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// exportValues returns the columns of e.
func exportValues(e hearth.Export) ([]any, error) {
	filters, err := json.Marshal(exportFilters(e.Filters))
	if err != nil {
		return nil, err
	}
	reach, err := json.Marshal(exportReach(e.Reach))
	if err != nil {
		return nil, err
	}
	var result any
	var size int64
	if e.Result != nil {
		text, err := json.Marshal(exportResult(*e.Result))
		if err != nil {
			return nil, err
		}
		result, size = string(text), e.Result.Size
	}
	var failure hearth.ExportFailure
	if e.Failure != nil {
		failure = *e.Failure
	}
	return []any{
		e.ID, e.UserID, string(e.Type), string(e.Format), string(e.Compression), string(e.Status), openMillis(e.From), openMillis(e.To),
		string(filters), string(reach), e.Notify, e.Progress.Step, e.Progress.Processed, e.Progress.Total,
		result, size, string(failure.Code), failure.Message, e.Job, e.Run, e.File,
		millis(e.CreatedAt), millis(e.StartedAt), millis(e.CompletedAt), millis(e.ExpiresAt), e.Schedule,
	}, nil
}

func scanExport(row rowScanner) (e hearth.Export, err error) {
	var from, to sql.NullInt64
	var result sql.NullString
	var filters, reach string
	var size, created, started, completed, expires int64
	var failure hearth.ExportFailure
	err = row.Scan(&e.ID, &e.UserID, &e.Type, &e.Format, &e.Compression, &e.Status, &from, &to, &filters, &reach, &e.Notify,
		&e.Progress.Step, &e.Progress.Processed, &e.Progress.Total, &result, &size, &failure.Code, &failure.Message,
		&e.Job, &e.Run, &e.File, &created, &started, &completed, &expires, &e.Schedule)
	if err != nil {
		return e, found(err, "export")
	}
	if from.Valid {
		e.From = time.UnixMilli(from.Int64).UTC()
	}
	if to.Valid {
		e.To = time.UnixMilli(to.Int64).UTC()
	}
	if err := json.Unmarshal([]byte(filters), (*exportFilters)(&e.Filters)); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(reach), (*exportReach)(&e.Reach)); err != nil {
		return e, err
	}
	if result.Valid {
		e.Result = &hearth.ExportResult{}
		if err := json.Unmarshal([]byte(result.String), (*exportResult)(e.Result)); err != nil {
			return e, err
		}
	}
	if failure.Code != "" {
		e.Failure = &failure
	}
	e.CreatedAt, e.StartedAt, e.CompletedAt, e.ExpiresAt = fromMillis(created), fromMillis(started), fromMillis(completed), fromMillis(expires)
	return e, nil
}

// scanExports reads whole rows and closes them.
func scanExports(rows *sql.Rows, err error) (exports []hearth.Export, _ error) {
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		e, err := scanExport(rows)
		if err != nil {
			return nil, closed(rows, err)
		}
		exports = append(exports, e)
	}
	return exports, closed(rows, nil)
}

// CreateExport is hearth.ExportStore's.
func (s *Store) CreateExport(ctx context.Context, export hearth.Export, effects hearth.SideEffects) error {
	values, err := exportValues(export)
	if err != nil {
		return err
	}
	return s.write(ctx, "CreateExport", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var open int
		// Counted in the index exports_open.
		err := t.row(`SELECT count(*) FROM exports WHERE user_id=? AND status IN ('queued', 'running')`, export.UserID).Scan(&open)
		if err != nil {
			return err
		}
		if open >= hearth.MaxOpenExports {
			return hearth.Errorf(hearth.CodeConflict, "%d of your exports have not ended yet", open)
		}
		_, err = t.exec(`INSERT INTO exports(`+exportColumns+`) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, values...)
		return err
	})
}

// Export is hearth.ExportStore's.
func (s *Store) Export(ctx context.Context, id string) (export hearth.Export, err error) {
	err = s.read(ctx, "Export", func(r *reader) error {
		export, err = scanExport(r.row(`SELECT `+exportColumns+` FROM exports WHERE id=?`, id))
		return err
	})
	return export, err
}

// exportsWhere is the part after FROM of every question about a person's exports, or everybody's. Rows come off the index
// (user_id, created_at, id) or (created_at, id), newest first.
func exportsWhere(filter hearth.ExportFilter) (where string, arguments []any) {
	where = ` FROM exports WHERE TRUE`
	for _, equal := range []struct{ column, value string }{
		{"user_id", filter.UserID}, {"status", string(filter.Status)}, {"type", string(filter.Type)},
	} {
		if equal.value != "" {
			where += ` AND ` + equal.column + `=?`
			arguments = append(arguments, equal.value)
		}
	}
	return where, arguments
}

// Exports is hearth.ExportStore's.
func (s *Store) Exports(ctx context.Context, filter hearth.ExportFilter, page hearth.Page) (hearth.List[hearth.Export], error) {
	list := hearth.List[hearth.Export]{Total: -1}
	where, arguments := exportsWhere(filter)
	err := s.read(ctx, "Exports", func(r *reader) error {
		if page.Count {
			if err := r.row(`SELECT count(*)`+where, arguments...).Scan(&list.Total); err != nil {
				return err
			}
		}
		if !page.Cursor.IsZero() {
			at, err := strconv.ParseInt(page.Cursor.Key, 10, 64)
			if err != nil {
				return hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
			}
			where += ` AND (created_at, id)<(?, ?)`
			arguments = append(arguments, at, page.Cursor.ID)
		}
		var err error
		list.Items, err = scanExports(r.query(`SELECT `+exportColumns+where+` ORDER BY created_at DESC, id DESC LIMIT ?`,
			append(arguments, page.Size()+1)...))
		return err
	})
	if err != nil {
		return hearth.List[hearth.Export]{Total: -1}, err
	}
	if len(list.Items) > page.Size() {
		list.Items = list.Items[:page.Size()]
		last := list.Items[page.Size()-1]
		list.Next = hearth.Cursor{Key: strconv.FormatInt(millis(last.CreatedAt), 10), ID: last.ID}
	}
	return list, nil
}

// UpdateExport is hearth.ExportStore's.
func (s *Store) UpdateExport(
	ctx context.Context, id string, change func(hearth.Export) (hearth.Export, error), effects hearth.SideEffects,
) (export hearth.Export, err error) {
	err = s.write(ctx, "UpdateExport", func(t *tx) error {
		old, err := scanExport(t.row(`SELECT `+exportColumns+` FROM exports WHERE id=?`, id))
		if err != nil {
			return err
		}
		if export, err = change(old); err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		values, err := exportValues(export)
		if err != nil {
			return err
		}
		// By primary key: the row stays where it is in its indexes unless status or expiry change.
		_, err = t.exec(`UPDATE exports SET (`+exportColumns+`)=(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id=?`,
			append(values, id)...)
		return err
	})
	if err != nil {
		return hearth.Export{}, err
	}
	return export, nil
}

// DeleteExport is hearth.ExportStore's.
func (s *Store) DeleteExport(ctx context.Context, id string, effects hearth.SideEffects) error {
	return s.write(ctx, "DeleteExport", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		result, err := t.exec(`DELETE FROM exports WHERE id=?`, id)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		if err == nil && rows == 0 {
			err = hearth.NotFound("export")
		}
		return err
	})
}

// ExpiredExports is hearth.ExportStore's.
func (s *Store) ExpiredExports(ctx context.Context, now time.Time, limit int) (exports []hearth.Export, err error) {
	err = s.read(ctx, "ExpiredExports", func(r *reader) error {
		// The index exports_expires finds them.
		exports, err = scanExports(r.query(`SELECT `+exportColumns+` FROM exports WHERE expires_at>0 AND expires_at<=? ORDER BY expires_at LIMIT ?`,
			millis(now), limit))
		return err
	})
	return exports, err
}

// OpenExports is hearth.ExportStore's.
func (s *Store) OpenExports(ctx context.Context, before time.Time, after string, limit int) (exports []hearth.Export, err error) {
	err = s.read(ctx, "OpenExports", func(r *reader) error {
		// The index exports_open has no others; ids begin with their time.
		exports, err = scanExports(r.query(`SELECT `+exportColumns+` FROM exports INDEXED BY exports_open
			WHERE status IN ('queued', 'running') AND created_at<? AND id>? ORDER BY id LIMIT ?`, millis(before), after, limit))
		return err
	})
	return exports, err
}

// ExportFigures is hearth.ExportStore's.
func (s *Store) ExportFigures(ctx context.Context, userID string) (hearth.ExportFigures, error) {
	figures := hearth.ExportFigures{ByStatus: map[hearth.ExportStatus]int64{}}
	where, arguments := exportsWhere(hearth.ExportFilter{UserID: userID})
	err := s.read(ctx, "ExportFigures", func(r *reader) error {
		clear(figures.ByStatus)
		rows, err := r.query(`SELECT status, count(*), sum(size), min(created_at)`+where+` GROUP BY status`, arguments...)
		if err != nil {
			return err
		}
		var oldest int64
		for rows.Next() {
			var status hearth.ExportStatus
			var count, bytes, first int64
			if err := rows.Scan(&status, &count, &bytes, &first); err != nil {
				return closed(rows, err)
			}
			figures.ByStatus[status] = count
			figures.Bytes += bytes
			if oldest == 0 || first < oldest {
				oldest = first
			}
		}
		figures.OldestAt = fromMillis(oldest)
		return closed(rows, nil)
	})
	return figures, err
}
