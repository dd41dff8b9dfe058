package hearth

import (
	"context"
	"time"
)

// Along is what a write takes with it: the store writes all of it in the write's own atomic step, or none of it. A write
// whose audit entry or job cannot be stored fails.
type Along struct {
	// Once protects the write from being done twice. Nil: no protection was asked for.
	Once *Once
	// Audit entries are chained and numbered by the store.
	Audit []AuditEntry
	// Jobs are handed to the queue after the write, at least once, even if the program dies in between.
	Jobs []OutboxJob
}

// Once is an idempotency record: the first answer to a request that a client marked with a key.
//
// A store that finds an unexpired record with the same Caller and Key writes nothing and answers with *Replayed when the
// Fingerprint is the same, with CodeIdempotencyMismatch when it is not.
type Once struct {
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

// OnceStore finds idempotency records; the writes themselves store them (see Along).
type OnceStore interface {
	// Once gives the unexpired record of a caller's key, without its Render; CodeNotFound.
	Once(ctx context.Context, caller, key string) (Once, error)
	// DeleteExpiredOnce removes up to limit records that expired before now and says how many.
	DeleteExpiredOnce(ctx context.Context, now time.Time, limit int) (int, error)
}

// OnceTTL is how long an idempotency key is remembered.
const OnceTTL = 24 * time.Hour

// Answered gives a copy of o with the answer to what is about to be created; nil for a nil o.
func (o *Once) Answered(created any) (*Once, error) {
	if o == nil {
		return nil, nil
	}
	done := *o
	var err error
	done.Status, done.Answer, err = o.Render(created)
	return &done, err
}

// Replayed is the error of a write that was done before: Once holds the first answer.
type Replayed struct{ Once Once }

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
