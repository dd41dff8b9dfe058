package rest

import (
	"context"
	"io"
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
	// slowAfter is how old a body is that gives its memory up to others where it arrives with less than slowRate bytes a second.
	slowAfter = 2 * time.Second
	slowRate  = 64 << 10
)

// bodyMemory bounds the bytes of the longer bodies that are read and worked on at once, of all callers and of each. Who finds no room waits,
// before the body is read.
type bodyMemory struct {
	share int64
	all   *semaphore.Weighted

	mu      sync.Mutex
	callers map[string]*callerMemory
	// arriving are the bodies that hold memory and have not been read to their end.
	arriving map[*heldBody]bool
}

// heldBody is a body that holds memory. One that arrives slowly while others wait for memory is cut off, so that nobody holds it by sending
// little.
type heldBody struct {
	io.ReadCloser
	memory *bodyMemory
	began  time.Time
	length int64  // of the whole, -1 where the request does not say
	cut    func() // ends the reads of the body

	// memory.mu guards these.
	bytes int64
	isCut bool
}

// Read implements io.Reader. CodeUnavailable for a body that was cut off.
func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	b.bytes += int64(n)
	if err != nil || b.bytes == b.length {
		delete(b.memory.arriving, b)
	}
	if err != nil && err != io.EOF && b.isCut { //nolint:errorlint // io.Reader returns io.EOF itself
		err = errNoMemory()
	}
	return n, err
}

// arrive puts a heldBody in front of the body of a request that holds memory; gone is called once the request is done.
func (m *bodyMemory) arrive(w http.ResponseWriter, r *http.Request) (gone func()) {
	body := &heldBody{ReadCloser: r.Body, memory: m, began: time.Now(), length: r.ContentLength}
	body.cut = func() {
		// A connection without deadlines is not the network's.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	}
	r.Body = body
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arriving[body] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.arriving, body)
	}
}

// cutSlow cuts off the bodies that arrive slowly.
func (m *bodyMemory) cutSlow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for body := range m.arriving {
		age := time.Since(body.began)
		if age >= slowAfter && float64(body.bytes) < slowRate*age.Seconds() && !body.isCut {
			body.isCut = true
			body.cut()
		}
	}
}

type callerMemory struct {
	*semaphore.Weighted
	users int
}

// newBodyMemory returns memory for bodies of size bytes in all, half of that for one caller.
func newBodyMemory(size int64) *bodyMemory {
	return &bodyMemory{
		share: max(1, size/2), all: semaphore.NewWeighted(size), callers: map[string]*callerMemory{}, arriving: map[*heldBody]bool{},
	}
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
	if err := m.acquire(ctx, n); err != nil {
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

// acquire waits for n bytes of all the memory. Where they are long in coming, slow bodies are cut off.
func (m *bodyMemory) acquire(ctx context.Context, n int64) error {
	if m.all.TryAcquire(n) {
		return nil
	}
	cutting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for {
			select {
			case <-time.After(slowAfter):
				m.cutSlow()
			case <-cutting.Done():
				return
			}
		}
	}()
	return m.all.Acquire(ctx, n)
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
func (rt *Router) admitBody(w http.ResponseWriter, r *http.Request, limit int64) (release func(), err error) {
	length := r.ContentLength
	if r.Header.Get("Content-Encoding") != "" {
		length *= expansion
	}
	if length < 0 {
		length = limit
	}
	if rt.memory == nil || length <= freeBody {
		return func() {}, nil
	}
	caller := CallerOf(r.Context())
	who := caller.Actor()
	if caller.UserID == "" && caller.DeviceID == "" {
		who = caller.IP
	}
	free, err := rt.memory.hold(r.Context(), who, min(length, limit))
	if err != nil {
		return nil, err
	}
	gone := rt.memory.arrive(w, r)
	return func() {
		gone()
		free()
	}, nil
}
