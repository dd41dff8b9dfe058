package hearth

import (
	"slices"
	"time"
)

// SideEffects are written together with a write: the store writes all of them in the same atomic step, or none. A write whose
// audit entry or job cannot be stored fails.
type SideEffects struct {
	// Idempotency keeps the write from being made twice. Nil: the client sent no key.
	Idempotency *IdempotencyRecord
	// Audit entries are chained and numbered by the store.
	Audit []AuditEntry
	// Jobs are handed to the queue after the write, at least once, even if the program dies in between.
	Jobs []OutboxJob
	// JobsAfter returns further jobs, of what the functions that were passed to the write made of it: it is called after them, each
	// time they ran. Nil returns none.
	JobsAfter func() ([]OutboxJob, error)
	// Unjudged are written by AppendLogs alone.
	Unjudged []Unjudged
}

// AllJobs returns Jobs and those of JobsAfter. The stores call it.
func (e SideEffects) AllJobs() ([]OutboxJob, error) {
	if e.JobsAfter == nil {
		return e.Jobs, nil
	}
	more, err := e.JobsAfter()
	return slices.Concat(e.Jobs, more), err
}

// OutboxJob is work that a write causes: stored beside the write, moved to the queue afterwards.
type OutboxJob struct {
	// ID is a UUIDv7; the queue takes the same ID once.
	ID string
	// Kind names the handler, such as "export.run"; Queue is export, notification, cleanup, channel or WebhookQueue.
	Kind  string
	Queue string
	// Payload is JSON, at most 64 KiB.
	Payload []byte
	// Unique, if set, lets at most one unfinished job of that key exist.
	Unique string
	// RunAt is when the job may start; zero is at once.
	RunAt time.Time
}
