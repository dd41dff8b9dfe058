package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"hearth"
)

const (
	// freeBody is the size up to which a body is read without waiting.
	freeBody = 64 << 10
	// expansion is how much longer than it is on the wire a compressed body may become without more memory being asked for.
	expansion = 20
	// memoryWait is how long a request waits for memory.
	memoryWait = 10 * time.Second
)

// bodyMemory bounds the bytes of the longer bodies that are read and worked on at once, of all callers and of each. Who finds no room waits,
// before the body is read.
type bodyMemory struct {
	size, share int64
	all         *semaphore.Weighted

	mu      sync.Mutex
	callers map[string]*callerMemory
}

type callerMemory struct {
	*semaphore.Weighted
	users int
}

// newBodyMemory returns memory for bodies of size bytes in all, half of that for one caller.
func newBodyMemory(size int64) *bodyMemory {
	return &bodyMemory{size: size, share: max(1, size/2), all: semaphore.NewWeighted(size), callers: map[string]*callerMemory{}}
}

// hold waits for n bytes of memory, or for all that one caller may have, and returns what releases them. CodeUnavailable after memoryWait.
func (m *bodyMemory) hold(ctx context.Context, caller string, n int64) (release func(), err error) {
	n = min(n, m.share)
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	own := m.enter(caller)
	if err := own.Acquire(ctx, n); err != nil {
		m.leave(caller, own)
		return nil, errNoMemory()
	}
	if err := m.all.Acquire(ctx, n); err != nil {
		own.Release(n)
		m.leave(caller, own)
		return nil, errNoMemory()
	}
	return func() {
		m.all.Release(n)
		own.Release(n)
		m.leave(caller, own)
	}, nil
}

func (m *bodyMemory) enter(caller string) *callerMemory {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.callers[caller]
	if own == nil {
		own = &callerMemory{Weighted: semaphore.NewWeighted(m.share)}
		m.callers[caller] = own
	}
	own.users++
	return own
}

func (m *bodyMemory) leave(caller string, own *callerMemory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(m.callers, caller)
	}
}

func errNoMemory() error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many large bodies are worked on", RetryAfter: time.Second}
}

// admitBody waits until there is memory for the body of a request, which is bounded by limit, and returns what releases it once the request is
// done. The length of a compressed body is a guess; one without a length counts as the longest.
func (a *API) admitBody(r *http.Request, limit int64) (release func(), err error) {
	length := r.ContentLength
	if r.Header.Get("Content-Encoding") != "" {
		length *= expansion
	}
	if length < 0 {
		length = limit
	}
	if a.memory == nil || length <= freeBody {
		return func() {}, nil
	}
	caller := callerOf(r.Context())
	who := caller.Actor()
	if caller.UserID == "" && caller.DeviceID == "" {
		who = caller.IP
	}
	return a.memory.hold(r.Context(), who, min(length, limit))
}
