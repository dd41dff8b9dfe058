package sqlitequeue

import (
	"cmp"
	"context"

	"hearth"
	"hearth/internal/queue"
)

// Job implements queue.Queue.
func (q *Queue) Job(ctx context.Context, id string) (queue.Job, error) {
	j, err := scan(q.read.QueryRowContext(ctx, `SELECT `+columns+` FROM jobs WHERE id = ?`, id))
	return j, q.translate(err)
}

// List implements queue.Queue; served by the primary key, and by jobs_state when a state is asked for.
func (q *Queue) List(ctx context.Context, f queue.Filter) (queue.Page, error) {
	if f.Limit < 0 || f.Limit > 200 {
		return queue.Page{}, hearth.Invalid(hearth.FieldError{Location: "limit", Message: "must be 1 to 200"})
	}
	f.Limit = cmp.Or(f.Limit, 50)
	query := `SELECT ` + columns + ` FROM jobs WHERE (?1 = '' OR queue = ?1) AND (?3 = '' OR kind = ?3) AND (?4 = '' OR id < ?4)`
	if f.State != "" {
		query += ` AND state = ?2`
	}
	query += ` ORDER BY id DESC LIMIT ?5`
	jobs, err := scanAll(q.read.QueryContext(ctx, query, string(f.Queue), string(f.State), f.Kind, f.Before, f.Limit+1))
	if err != nil {
		return queue.Page{}, q.translate(err)
	}
	if len(jobs) <= f.Limit {
		return queue.Page{Jobs: jobs}, nil
	}
	return queue.Page{Jobs: jobs[:f.Limit], Next: jobs[f.Limit-1].ID}, nil
}

// Counts implements queue.Queue.
func (q *Queue) Counts(ctx context.Context) ([]queue.Count, error) {
	rows, err := q.read.QueryContext(ctx, `SELECT queue, state, jobs FROM counts`)
	if err != nil {
		return nil, q.translate(err)
	}
	defer rows.Close()
	found := map[queue.Count]int64{}
	for rows.Next() {
		var c queue.Count
		var n int64
		if err := rows.Scan(&c.Queue, &c.State, &n); err != nil {
			return nil, q.translate(err)
		}
		found[c] = n
	}
	if err := rows.Err(); err != nil {
		return nil, q.translate(err)
	}
	var counts []queue.Count
	for _, name := range queue.Names() {
		for _, state := range queue.States() {
			c := queue.Count{Queue: name, State: state}
			c.Jobs = found[c]
			counts = append(counts, c)
		}
	}
	return counts, nil
}

// Cancel implements queue.Queue.
func (q *Queue) Cancel(ctx context.Context, id string) error {
	return q.step(ctx, id, func(t tx, j queue.Job) error {
		if j.State.Ended() {
			return hearth.Errorf(hearth.CodeConflict, "the job has ended")
		}
		if j.State == queue.Running {
			_, err := t.exec(`UPDATE jobs SET cancelling = 1 WHERE id = ?`, id)
			return err
		}
		_, err := t.exec(`UPDATE jobs SET state = 'completed', cancelled = 1, payload = CAST('{}' AS BLOB), finished_at = ?2
			WHERE id = ?1`, id, q.clock.Now().UnixMilli())
		return err
	})
}

// Retry implements queue.Queue.
func (q *Queue) Retry(ctx context.Context, id string) error {
	return q.step(ctx, id, func(t tx, j queue.Job) error {
		now := q.clock.Now().UnixMilli()
		switch j.State {
		case queue.Scheduled, queue.Retrying:
			_, err := t.exec(`UPDATE jobs SET state = 'pending', scheduled_at = ?2 WHERE id = ?1`, id, now)
			return err
		case queue.Dead:
		default:
			return hearth.Errorf(hearth.CodeConflict, "a %s job cannot be retried", j.State)
		}
		// A key that another job holds by now is in the way: OR IGNORE leaves the row then.
		n, err := t.exec(`UPDATE OR IGNORE jobs SET state = 'pending', attempt = 0, losses = 0, scheduled_at = ?2, finished_at = 0
			WHERE id = ?1`, id, now)
		if err != nil || n == 1 {
			return err
		}
		return hearth.Errorf(hearth.CodeConflict, "another job of the same kind and purpose waits or runs already")
	})
}

// Delete implements queue.Queue.
func (q *Queue) Delete(ctx context.Context, id string) error {
	return q.step(ctx, id, func(t tx, j queue.Job) error {
		if j.State == queue.Running {
			return hearth.Errorf(hearth.CodeConflict, "the job runs; cancel it first")
		}
		_, err := t.exec(`DELETE FROM jobs WHERE id = ?`, id)
		return err
	})
}

// step changes one job according to its state.
func (q *Queue) step(ctx context.Context, id string, fn func(t tx, j queue.Job) error) error {
	err := q.update(ctx, full, func(t tx) error {
		j, err := scan(t.row(`SELECT `+columns+` FROM jobs WHERE id = ?`, id))
		if err != nil {
			return err
		}
		return fn(t, j)
	})
	if err == nil {
		q.signal()
	}
	return err
}
