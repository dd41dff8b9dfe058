package hearth

import (
	"context"
	"time"
)

// IdempotencyTTL is how long an idempotency key is remembered.
const IdempotencyTTL = 24 * time.Hour

// IdempotencyRecord says what a request with an idempotency key created. It is written in the same atomic step.
//
// A store that finds an unexpired record with the same Caller and Key writes nothing: it returns *Replayed if the Fingerprint is
// the same, CodeIdempotencyMismatch if it is not.
type IdempotencyRecord struct {
	// Caller is Caller.Actor of the request's caller; keys of different callers never meet.
	Caller string
	// Key is a hash of the client's key, at most 64 bytes.
	Key string
	// Fingerprint is a hash of the operation and the body.
	Fingerprint string
	// Operation is the operation's id, such as "create-device"; "" in the records of versions that stored an HTTP answer.
	Operation string
	// Created is the created object, or the list of them, as it was then: the JSON that clients see, encrypted, so that it holds
	// no secret in plain text.
	Created []byte
	// FirstLog is the number of the first log that the write stored; 0 where it stored none. The store sets it.
	FirstLog  uint64
	CreatedAt time.Time
	ExpiresAt time.Time
}

// IdempotencyRequest is a client's idempotency key on its way to the write that it protects.
type IdempotencyRequest struct {
	// IdempotencyRecord is the record without Created and FirstLog.
	IdempotencyRecord
	// Seal returns the Created of what is about to be created.
	Seal func(created any) ([]byte, error)
}

// Record returns the record of what is about to be created; nil for a nil request.
func (r *IdempotencyRequest) Record(created any) (*IdempotencyRecord, error) {
	if r == nil {
		return nil, nil
	}
	record := r.IdempotencyRecord
	var err error
	record.Created, err = r.Seal(created)
	return &record, err
}

// Replayed is the error of a write that was made before: Record says what it created.
type Replayed struct{ Record IdempotencyRecord }

// Error is for logs: clients get the first answer again.
func (*Replayed) Error() string { return "this request was answered before" }

// IdempotencyStore finds idempotency records; the writes themselves store them (see SideEffects).
type IdempotencyStore interface {
	// IdempotencyRecord returns the unexpired record of a caller's key; CodeNotFound.
	IdempotencyRecord(ctx context.Context, caller, key string) (IdempotencyRecord, error)
	// DeleteExpiredIdempotencyRecords deletes up to limit records that expired before now and returns how many.
	DeleteExpiredIdempotencyRecords(ctx context.Context, now time.Time, limit int) (int, error)
}
