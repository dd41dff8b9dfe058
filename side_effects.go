package hearth

import (
	"context"
	"time"
)

// SideEffects is what a write takes with it: the store writes all of it in the write's own atomic step, or none of it. A write
// whose audit entry or job cannot be stored fails.
type SideEffects struct {
	// Once protects the write from being done twice. Nil: no protection was asked for.
	Idempotency *IdempotencyRecord
	// Audit entries are chained and numbered by the store.
	Audit []AuditEntry
	// Jobs are handed to the queue after the write, at least once, even if the program dies in between.
	Jobs []OutboxJob
}

// Once is an idempotency record: the first answer to a request that a client marked with a key.
//
// A store that finds an unexpired record with the same Caller and Key writes nothing and answers with *Replayed when the
// Fingerprint is the same, with CodeIdempotencyMismatch when it is not.
type IdempotencyRecord struct {
	// Caller is Caller.Key of who asked; keys of different callers never meet.
	Caller string
	// Key is a hash of the client's key, at most 64 bytes.
	Key string
	// Fingerprint is a hash of the operation and the body.
	Fingerprint string
	// Status and Answer are the first answer. Answer is sealed: it holds no secret in plain text.
	Status    int
	Answer    []byte
	CreatedAt time.Time
	ExpiresAt time.Time
	// Render makes Status and Answer from what the write created; it is set by who asks and never stored.
	Render func(created any) (status int, sealed []byte, err error)
}

// IdempotencyStore finds idempotency records; the writes themselves store them (see SideEffects).
type IdempotencyStore interface {
	// Once returns the unexpired record of a caller's key, without its Render; CodeNotFound.
	IdempotencyRecord(ctx context.Context, caller, key string) (IdempotencyRecord, error)
	// DeleteExpiredIdempotencyRecords removes up to limit records that expired before now and says how many.
	DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (int, error)
}

// IdempotencyTTL is how long an idempotency key is remembered.
const IdempotencyTTL = 24 * time.Hour

// Answered returns a copy of o with the answer to what is about to be created; nil for a nil o.
func (o *IdempotencyRecord) Answered(created any) (*IdempotencyRecord, error) {
	if o == nil {
		return nil, nil
	}
	done := *o
	var err error
	done.Status, done.Answer, err = o.Render(created)
	return &done, err
}

// Replayed is the error of a write that was done before: Once holds the first answer.
type Replayed struct{ Idempotency IdempotencyRecord }

// Error says what happened, for logs: the caller of the write answers with the stored answer instead.
func (*Replayed) Error() string { return "this request was answered before" }

// OutboxJob is work that a write causes: stored beside the write, moved to the queue afterwards.
type OutboxJob struct {
	// ID is a UUIDv7; the queue takes the same ID once.
	ID string
	// Kind names the handler, such as "export.run"; Queue is export, notification or cleanup.
	Kind  string
	Queue string
	// Payload is JSON, at most 64 KiB.
	Payload []byte
	// Unique, if set, lets at most one unfinished job of that key exist.
	Unique string
	// RunAt is when the job may start; zero is at once.
	RunAt time.Time
}
