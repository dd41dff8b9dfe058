package sqlitequeue

import (
	"database/sql"
	"errors"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// columns are what scan reads.
const columns = `id, kind, queue, payload, state, attempt, max_attempts, losses, unique_key, scheduled_at, step, done, total,
	last_error, cancelled, created_at, started_at, finished_at, worker, lease`

// scan reads a row of columns.
func scan(row scanner) (queue.Job, error) {
	var j queue.Job
	var scheduled, created, started, finished int64
	err := row.Scan(&j.ID, &j.Kind, &j.Queue, (*[]byte)(&j.Payload), &j.State, &j.Attempt, &j.MaxAttempts, &j.Losses, &j.Unique,
		&scheduled, &j.Progress.Step, &j.Progress.Done, &j.Progress.Total, &j.LastError, &j.Cancelled, &created, &started,
		&finished, &j.Worker, &j.Lease)
	j.ScheduledAt, j.CreatedAt = fromMillis(scheduled), fromMillis(created)
	j.StartedAt, j.FinishedAt = fromMillis(started), fromMillis(finished)
	if errors.Is(err, sql.ErrNoRows) {
		err = hearth.NotFound("job")
	}
	return j, err
}

// scanAll reads and closes rows.
func scanAll(rows *sql.Rows, err error) ([]queue.Job, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var jobs []queue.Job
	for rows.Next() {
		j, err := scan(rows)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, rows.Err()
}

// scanIDs reads and closes rows of one text.
func scanIDs(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
