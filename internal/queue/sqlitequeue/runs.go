package sqlitequeue

import (
	"context"

	"hearth/internal/queue"
)

// Beat implements queue.Backend.
func (q *Queue) Beat(ctx context.Context, b queue.Beat) ([]string, error) {
	var lost []string
	err := q.update(ctx, light, func(t tx) error {
		lost = nil
		until := q.clock.Now().Add(b.Lease).UnixMilli()
		for _, h := range b.Jobs {
			n, err := t.exec(`UPDATE jobs SET lease_until = ?4
				WHERE id = ?1 AND lease = ?2 AND worker = ?3 AND state = 'running'`, h.ID, h.Lease, b.Worker, until)
			if err != nil {
				return err
			}
			if n == 0 {
				lost = append(lost, h.ID)
				continue
			}
			if err := setProgress(t, h.ID, h.Progress); err != nil {
				return err
			}
		}
		return nil
	})
	return lost, err
}

func setProgress(t tx, id string, p *queue.Progress) error {
	if p == nil {
		return nil
	}
	clean := p.Clean()
	_, err := t.exec(`UPDATE jobs SET step = ?2, done = ?3, total = ?4 WHERE id = ?1`, id, clean.Step, clean.Done, clean.Total)
	return err
}

// selectCancelling is served by jobs_cancelling.
const selectCancelling = `SELECT id FROM jobs WHERE worker = ? AND state = 'running' AND cancelling = 1`

// Cancelling implements queue.Backend.
func (q *Queue) Cancelling(ctx context.Context, worker string) ([]string, error) {
	ids, err := scanIDs(q.hot.cancelling.QueryContext(ctx, worker))
	return ids, q.translate(err)
}

// endRun stores an outcome, if the lease is still the job's. ?1 id, ?2 lease, ?3 state, ?4 run at, ?5 error, ?6 cancelled, ?7 now.
// The wish to cancel turns every outcome but success into a cancelled job.
const endRun = `UPDATE jobs SET
	state        = CASE WHEN cancelling = 1 THEN 'completed' ELSE ?3 END,
	cancelled    = CASE WHEN cancelling = 1 AND ?3 <> 'completed' THEN 1 ELSE ?6 END,
	payload      = CASE WHEN cancelling = 1 OR ?3 = 'completed' THEN CAST('{}' AS BLOB) ELSE payload END,
	attempt      = CASE WHEN ?3 = 'pending' THEN attempt - 1 ELSE attempt END,
	scheduled_at = CASE WHEN ?3 = 'retrying' THEN ?4 ELSE scheduled_at END,
	last_error   = CASE WHEN ?5 <> '' THEN ?5 ELSE last_error END,
	finished_at  = CASE WHEN ?3 = 'pending' AND cancelling = 0 THEN finished_at ELSE ?7 END,
	worker = '', lease_until = 0, cancelling = 0
	WHERE id = ?1 AND lease = ?2 AND state = 'running'`

// Finish implements queue.Backend.
func (q *Queue) Finish(ctx context.Context, outcomes []queue.Outcome) ([]string, error) {
	waits, err := queue.AnyWaits(outcomes)
	if err != nil {
		return nil, err
	}
	var lost []string
	err = q.update(ctx, full, func(t tx) error {
		lost = nil
		now := q.clock.Now().UnixMilli()
		for _, o := range outcomes {
			n, err := t.exec(endRun, o.ID, o.Lease, string(o.State), o.RunAt.UnixMilli(), o.LastError, o.Cancelled, now)
			if err != nil {
				return err
			}
			if n == 0 {
				lost = append(lost, o.ID)
				continue
			}
			if err := setProgress(t, o.ID, o.Progress); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if waits {
		q.signal()
	}
	return lost, nil
}

// selectExpired is served by jobs_leases.
const selectExpired = `SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND (lease_until < ?1 OR lease_until > ?2))`

// Rescue implements queue.Backend.
func (q *Queue) Rescue(ctx context.Context) (int, error) {
	now := q.clock.Now().UnixMilli()
	ahead := now + queue.MaxLease.Milliseconds()
	var expired bool
	err := q.hot.expired.QueryRowContext(ctx, now, ahead).Scan(&expired)
	if err != nil || !expired {
		return 0, q.translate(err)
	}
	var n int64
	err = q.update(ctx, full, func(t tx) error {
		var err error
		n, err = t.exec(`UPDATE jobs SET
			state       = CASE WHEN cancelling = 1 THEN 'completed' WHEN losses >= ?2 THEN 'dead' ELSE 'pending' END,
			cancelled   = cancelling,
			payload     = CASE WHEN cancelling = 1 THEN CAST('{}' AS BLOB) ELSE payload END,
			finished_at = CASE WHEN cancelling = 1 OR losses >= ?2 THEN ?1 ELSE finished_at END,
			last_error  = 'the worker ' || worker || ' was lost',
			attempt = attempt - 1, losses = losses + 1, worker = '', lease_until = 0, cancelling = 0
			WHERE id IN (SELECT id FROM jobs WHERE state = 'running' AND (lease_until < ?1 OR lease_until > ?4) LIMIT ?3)`,
			now, queue.MaxLosses, queue.MaxBatch, ahead)
		return err
	})
	if err != nil {
		return 0, err
	}
	if n > 0 {
		q.signal()
	}
	return int(n), nil
}

// Purge implements queue.Backend; served by jobs_ended.
func (q *Queue) Purge(ctx context.Context, p queue.Purge) (int, error) {
	const old = `SELECT id FROM jobs WHERE state = 'completed' AND finished_at < ?1
		UNION ALL SELECT id FROM jobs WHERE state = 'dead' AND finished_at < ?2 LIMIT ?3`
	completed, dead := int64(0), int64(0)
	if !p.CompletedBefore.IsZero() {
		completed = p.CompletedBefore.UnixMilli()
	}
	if !p.DeadBefore.IsZero() {
		dead = p.DeadBefore.UnixMilli()
	}
	ids, err := scanIDs(q.read.QueryContext(ctx, old, completed, dead, queue.MaxBatch))
	if err != nil || len(ids) == 0 {
		return 0, q.translate(err)
	}
	var n int64
	err = q.update(ctx, full, func(t tx) error {
		var err error
		n, err = t.exec(`DELETE FROM jobs WHERE id IN (`+old+`)`, completed, dead, queue.MaxBatch)
		return err
	})
	return int(n), err
}
