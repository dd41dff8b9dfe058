package sqlite

import (
	"context"

	"hearth"
)

// PendingOutbox returns the oldest limit jobs that writes left behind and that nobody deleted yet.
func (s *Store) PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error) {
	var jobs []hearth.OutboxJob
	err := s.read(ctx, "PendingOutbox", func(r *reader) error {
		// Ids begin with their time: in order of the primary key.
		rows, err := r.query(`SELECT id, kind, queue, payload, uniq, run_at FROM outbox ORDER BY id LIMIT ?`, limit)
		if err != nil {
			return err
		}
		for rows.Next() {
			var job hearth.OutboxJob
			var runAt int64
			if err := rows.Scan(&job.ID, &job.Kind, &job.Queue, &job.Payload, &job.Unique, &runAt); err != nil {
				return closed(rows, err)
			}
			job.RunAt = fromMillis(runAt)
			jobs = append(jobs, job)
		}
		return closed(rows, nil)
	})
	return jobs, err
}

// DeleteOutbox removes jobs in one atomic step; unknown ids are no error.
func (s *Store) DeleteOutbox(ctx context.Context, ids []string) error {
	return s.write(ctx, "DeleteOutbox", func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec(`DELETE FROM outbox WHERE id=?`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// OutboxSignal is signalled after each commit of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (s *Store) OutboxSignal() <-chan struct{} { return s.outbox }

// wakeOutbox never blocks the writer.
func (s *Store) wakeOutbox() {
	select {
	case s.outbox <- struct{}{}:
	default:
	}
}
