package sqlitequeue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"hearth/internal/queue"
)

// Enqueue implements queue.Queue.
func (q *Queue) Enqueue(ctx context.Context, jobs ...queue.Job) ([]string, error) {
	prepared, err := queue.Prepare(q.clock.Now(), jobs...)
	if err != nil || len(prepared) == 0 {
		return nil, err
	}
	ids := make([]string, len(prepared))
	err = q.update(ctx, full, func(t tx) error {
		if err := q.checkBacklog(t, len(prepared)); err != nil {
			return err
		}
		for i, j := range prepared {
			var err error
			if ids[i], _, err = addJob(t, j); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	q.signal()
	return ids, nil
}

// EnqueueSlot implements queue.Backend.
func (q *Queue) EnqueueSlot(ctx context.Context, slot queue.Slot, job queue.Job) (bool, error) {
	prepared, err := queue.Prepare(q.clock.Now(), job)
	if err != nil {
		return false, err
	}
	added := false
	err = q.update(ctx, full, func(t tx) error {
		var last int64
		at := slot.At.UnixMilli()
		err := t.row(`SELECT at FROM slots WHERE name = ?`, slot.Name).Scan(&last)
		first := errors.Is(err, sql.ErrNoRows)
		if err != nil && !first {
			return err
		}
		ahead := last > q.clock.Now().Add(queue.MaxLease).UnixMilli()
		if !first && at <= last && !ahead {
			return nil
		}
		if _, err := t.exec(`INSERT INTO slots (name, at) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET at = excluded.at`, slot.Name, at); err != nil || first || ahead {
			return err
		}
		_, added, err = addJob(t, prepared[0])
		return err
	})
	if err != nil {
		return false, err
	}
	if added {
		q.signal()
	}
	return added, nil
}

func (q *Queue) checkBacklog(t tx, more int) error {
	var backlog int64
	err := t.row(`SELECT coalesce(sum(jobs), 0) FROM counts WHERE state NOT IN ('completed', 'dead')`).Scan(&backlog)
	if err != nil {
		return err
	}
	if backlog+int64(more) > q.backlog {
		return unavailable(fmt.Errorf("there are %d unfinished jobs; the limit is %d", backlog, q.backlog))
	}
	return nil
}

// insertJob does nothing when the ID or the unique key is taken.
const insertJob = `INSERT INTO jobs (id, kind, queue, payload, state, max_attempts, unique_key, scheduled_at, created_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// addJob returns the ID of the job that stands for j, and whether that is j, added now.
func addJob(t tx, j queue.Job) (id string, added bool, err error) {
	n, err := t.exec(insertJob, j.ID, j.Kind, string(j.Queue), []byte(j.Payload), string(j.State), j.MaxAttempts,
		j.Unique, j.ScheduledAt.UnixMilli(), j.CreatedAt.UnixMilli())
	if err != nil || n == 1 {
		return j.ID, err == nil, err
	}
	// Served by the primary key and by jobs_unique.
	err = t.row(`SELECT id FROM jobs WHERE id = ?1 UNION ALL
		SELECT id FROM jobs WHERE unique_key = ?2 AND unique_key <> '' AND state IN ('pending', 'scheduled', 'retrying', 'running')
		LIMIT 1`, j.ID, j.Unique).Scan(&id)
	return id, false, err
}
