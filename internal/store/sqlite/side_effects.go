package sqlite

import (
	"context"
	"encoding/json"
	"slices"

	"hearth"
	"hearth/internal/cause"
)

// writeEffects writes what travels with a write. It fails for a write that was made before, which then changes nothing.
func (s *Store) writeEffects(t *tx, effects hearth.SideEffects) error {
	if err := s.writeIdempotencyRecord(t, effects.Idempotency); err != nil {
		return err
	}
	if err := s.writeAudit(t, effects.Audit); err != nil {
		return err
	}
	jobs, err := effects.AllJobs()
	if err != nil {
		return err
	}
	for _, job := range jobs {
		job = cause.Mark(t.req.ctx, job)
		_, err := t.exec(`INSERT INTO outbox(id, kind, queue, payload, uniq, run_at) VALUES(?,?,?,?,?,?)
			ON CONFLICT(id) DO NOTHING`,
			job.ID, job.Kind, job.Queue, job.Payload, job.Unique, millis(job.RunAt))
		if err != nil {
			return err
		}
	}
	if len(jobs) > 0 {
		t.onCommit(s.wakeOutbox)
	}
	return nil
}

// lateEffects are audit entries and jobs of a write that one of the writes after it stores, from the row of late_writes with its id.
type lateEffects struct {
	id   int64
	text string // the JSON of effects
	effects
}

type effects struct {
	Audit []hearth.AuditEntry `json:"audit,omitempty"`
	Jobs  []hearth.OutboxJob  `json:"jobs,omitempty"`
}

// lateEffectsOf returns side effects in parts that each take a millisecond or two to write, without the idempotency record.
func lateEffectsOf(ctx context.Context, of hearth.SideEffects) (parts []lateEffects, err error) {
	jobs, err := of.AllJobs()
	if err != nil {
		return nil, err
	}
	for entries := range slices.Chunk(of.Audit, sliceDevices) {
		parts = append(parts, lateEffects{effects: effects{Audit: entries}})
	}
	jobs = slices.Clone(jobs)
	for len(jobs) > 0 {
		n, bytes := 0, 0
		for n < len(jobs) && n < sliceDevices && (n == 0 || bytes <= sliceBytes) {
			jobs[n] = cause.Mark(ctx, jobs[n])
			bytes += len(jobs[n].Payload)
			n++
		}
		parts = append(parts, lateEffects{effects: effects{Jobs: jobs[:n]}})
		jobs = jobs[n:]
	}
	for i := range parts {
		text, err := json.Marshal(parts[i].effects) //nolint:musttag // the names of an entry are those of its fields
		if err != nil {
			return nil, err
		}
		parts[i].text = string(text)
	}
	return parts, nil
}

// writeLate writes effects that are late, unless another writer has.
func (s *Store) writeLate(ctx context.Context, late *lateEffects) error {
	ctx = cause.With(ctx, "") // the jobs are marked
	return s.writeLong(ctx, "WriteLateEffects", func(t *tx) error {
		n, err := affected(t.exec(`DELETE FROM late_writes WHERE id=?`, late.id))
		if err != nil || n == 0 {
			return err
		}
		return s.writeEffects(t, hearth.SideEffects{Audit: late.Audit, Jobs: late.Jobs})
	})
}

// OutboxSignal is signalled after each commit of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (s *Store) OutboxSignal() <-chan struct{} { return s.outbox }

// WebhookSignal is OutboxSignal for who takes the jobs of hearth.WebhookQueue.
func (s *Store) WebhookSignal() <-chan struct{} { return s.hooks }

// wakeOutbox never blocks the writer.
func (s *Store) wakeOutbox() {
	signal(s.outbox)
	signal(s.hooks)
}
