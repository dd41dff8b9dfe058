package realtime

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"

	"hearth"
)

// TicketTTL is how long a ticket opens a stream.
const TicketTTL = 30 * time.Second

// maxTickets bounds the tickets that wait for their use.
const maxTickets = 100_000

// Tickets keeps one-use tickets for streams, which cannot send an Authorization header.
type Tickets interface {
	// Issue returns a new ticket that stands for the access token for TicketTTL. CodeUnavailable if too many wait.
	Issue(ctx context.Context, token string) (ticket string, err error)
	// Redeem returns the ticket's token, to exactly one caller. CodeUnauthenticated for the others, and for a ticket that is
	// unknown or too old.
	Redeem(ctx context.Context, ticket string) (token string, err error)
}

type waitingTicket struct {
	key     [sha256.Size]byte
	expires time.Time
}

// MemTickets keeps tickets in memory, by their hash, so that a memory dump reveals none.
type MemTickets struct {
	clock hearth.Clock

	mu sync.Mutex
	// byAge holds the tickets in the order in which they expire, used ones too until their time.
	byAge   []waitingTicket
	waiting map[[sha256.Size]byte]string
}

var _ Tickets = (*MemTickets)(nil)

// NewMemTickets makes an empty store.
func NewMemTickets(clock hearth.Clock) *MemTickets {
	return &MemTickets{clock: clock, waiting: map[[sha256.Size]byte]string{}}
}

// Issue implements Tickets.
func (t *MemTickets) Issue(_ context.Context, token string) (string, error) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	ticket := base64.RawURLEncoding.EncodeToString(random[:])
	key := sha256.Sum256([]byte(ticket))
	now := t.clock.Now()

	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if len(t.byAge) >= maxTickets {
		return "", &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many tickets wait for their use", RetryAfter: TicketTTL}
	}
	t.waiting[key] = token
	t.byAge = append(t.byAge, waitingTicket{key: key, expires: now.Add(TicketTTL)})
	return ticket, nil
}

// Redeem implements Tickets.
func (t *MemTickets) Redeem(_ context.Context, ticket string) (string, error) {
	key := sha256.Sum256([]byte(ticket))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(t.clock.Now())
	token, ok := t.waiting[key]
	if !ok {
		return "", hearth.Errorf(hearth.CodeUnauthenticated, "the ticket is unknown, used or too old")
	}
	delete(t.waiting, key)
	return token, nil
}

func (t *MemTickets) expire(now time.Time) {
	old := 0
	for old < len(t.byAge) && (!now.Before(t.byAge[old].expires) || t.byAge[old].expires.Sub(now) > TicketTTL+time.Second) { // or the clock was put back
		delete(t.waiting, t.byAge[old].key)
		old++
	}
	t.byAge = t.byAge[old:]
}
