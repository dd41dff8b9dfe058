package sqlitequeue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// selectDue is served by jobs_due. A pending job is due whatever its time, which may lie ahead where the clock was put back, and so is one
// that was added or ran after ?4.
const selectDue = `SELECT id, kind, CASE WHEN state = 'pending' OR max(created_at, started_at) > ?4 THEN 1 ELSE scheduled_at END FROM jobs
	WHERE queue = ?1 AND state IN ('pending', 'scheduled', 'retrying') AND kind IN (SELECT value FROM json_each(?2))
	ORDER BY scheduled_at, id LIMIT ?3`

// takeJob leases a job, unless another worker was faster.
const takeJob = `UPDATE jobs SET state = 'running', attempt = attempt + 1, lease = lease + 1, worker = ?2, lease_until = ?3,
	started_at = ?4, max_attempts = CASE WHEN ?5 > 0 THEN ?5 ELSE max_attempts END, step = '', done = 0, total = 0
	WHERE id = ?1 AND (state = 'pending' OR state IN ('scheduled', 'retrying') AND (scheduled_at <= ?4 OR max(created_at, started_at) > ?6))
	RETURNING ` + columns

type dueJob struct {
	id, kind string
	at       int64
}

// Claim implements queue.Backend. Most looks find nothing, and read only.
func (q *Queue) Claim(ctx context.Context, c queue.Claim) ([]queue.Job, time.Time, error) {
	due, next, err := q.due(ctx, c)
	if err != nil || len(due) == 0 {
		return nil, next, q.translate(err)
	}
	var jobs []queue.Job
	err = q.update(ctx, light, func(t tx) error {
		now := q.clock.Now()
		for _, d := range due {
			j, err := scan(t.row(takeJob, d.id, c.Worker, now.Add(c.Lease).UnixMilli(), now.UnixMilli(), c.Kinds[d.kind], now.Add(queue.MaxLease).UnixMilli()))
			switch {
			case err == nil:
				jobs = append(jobs, j)
			case hearth.ErrorCode(err) == hearth.CodeNotFound:
				// Another worker has it; there may be others instead.
				next = now
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return jobs, next, nil
}

// due returns the jobs that can be claimed now, and when the next other one falls due.
func (q *Queue) due(ctx context.Context, c queue.Claim) ([]dueJob, time.Time, error) {
	kinds, err := json.Marshal(slices.Collect(maps.Keys(c.Kinds)))
	if err != nil {
		return nil, time.Time{}, err
	}
	now := q.clock.Now().UnixMilli()
	var due []dueJob
	var next int64
	for name, slots := range c.Slots {
		rows, err := q.hot.due.QueryContext(ctx, string(name), string(kinds), slots+1, now+queue.MaxLease.Milliseconds())
		if err != nil {
			return nil, time.Time{}, err
		}
		found, err := scanDue(rows)
		if err != nil {
			return nil, time.Time{}, err
		}
		for i, d := range found {
			if i < slots && d.at <= now {
				due = append(due, d)
			} else if next == 0 || d.at < next {
				next = d.at
			}
		}
	}
	return due, fromMillis(next), nil
}

func scanDue(rows *sql.Rows) ([]dueJob, error) {
	var found []dueJob
	for rows.Next() {
		var d dueJob
		if err := rows.Scan(&d.id, &d.kind, &d.at); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		found = append(found, d)
	}
	return found, errors.Join(rows.Err(), rows.Close())
}
