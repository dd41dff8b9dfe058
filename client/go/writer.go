package hearth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// WriterOptions say when a Writer sends.
type WriterOptions struct {
	// Size is the most logs of a batch (0: 1,000; at most 10,000); Delay how long a log waits for others (0: 1 s).
	Size  int
	Delay time.Duration
	// Pending is how many logs may wait before Write does (0: 10 times Size).
	Pending int
	// Refused, unless it is nil, is called with every log that the server refuses, one call at a time.
	Refused func(log NewDeviceLog, err error)
}

// ErrWriterClosed is returned by Write after Close.
var ErrWriterClosed = errors.New("hearth: the writer is closed")

// RefusedError says how many logs of a Writer the server refused, and why the first of them.
type RefusedError struct {
	Count int
	First error
}

// Error returns both.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("hearth: %d logs were refused, the first of them: %v", e.Count, e.First)
}

// Unwrap returns the error of the first.
func (e *RefusedError) Unwrap() error { return e.First }

// Writer sends logs in batches. A batch is repeated, under one Idempotency-Key, until the server has stored or refused it: while the
// server is away logs wait, and Write with them. It is safe for concurrent use.
type Writer struct {
	client  *Client
	options WriterOptions
	queue   chan queued
	// sending ends the repetitions; stopped is closed once nothing is left.
	sending context.Context
	stop    context.CancelFunc
	stopped chan struct{}
	// closing is closed by Close. writes are the calls of Write that may still queue.
	closing chan struct{}
	close   sync.Once
	writes  sync.RWMutex

	mu      sync.Mutex
	refused RefusedError
}

// queued is a log, or a mark: everything before it is sent when flushed is closed.
type queued struct {
	log     NewDeviceLog
	flushed chan struct{}
}

// NewWriter returns a writer. Close it, or what waits is lost.
func (c *Client) NewWriter(options WriterOptions) *Writer {
	if options.Size <= 0 || options.Size > 10_000 {
		options.Size = 1000
	}
	if options.Delay <= 0 {
		options.Delay = time.Second
	}
	if options.Pending <= 0 {
		options.Pending = 10 * options.Size
	}
	w := &Writer{client: c, options: options, queue: make(chan queued, options.Pending), stopped: make(chan struct{}), closing: make(chan struct{})}
	w.sending, w.stop = context.WithCancel(context.Background())
	go w.run()
	return w
}

// Write queues a log; one without a timestamp is of now. It waits while the writer is full, until ctx ends.
func (w *Writer) Write(ctx context.Context, log NewDeviceLog) error {
	if log.Timestamp.IsZero() {
		log.Timestamp = time.Now()
	}
	return w.put(ctx, queued{log: log})
}

// Flush waits until everything that was written before is stored or refused.
func (w *Writer) Flush(ctx context.Context) error {
	mark := queued{flushed: make(chan struct{})}
	if err := w.put(ctx, mark); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-mark.flushed:
		return nil
	}
}

func (w *Writer) put(ctx context.Context, item queued) error {
	w.writes.RLock()
	defer w.writes.RUnlock()
	select {
	case <-w.closing:
		return ErrWriterClosed
	default:
	}
	select {
	case <-w.closing:
		return ErrWriterClosed
	case <-ctx.Done():
		return ctx.Err()
	case w.queue <- item:
		return nil
	}
}

// Close sends what waits, until ctx ends; what could not be sent by then counts as refused. It returns a *RefusedError if any log was
// refused since the writer began.
func (w *Writer) Close(ctx context.Context) error {
	w.close.Do(func() {
		close(w.closing)
		w.writes.Lock() // every Write has returned
		close(w.queue)
		w.writes.Unlock()
	})
	select {
	case <-ctx.Done():
		w.stop()
		<-w.stopped
	case <-w.stopped:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused.Count > 0 {
		refused := w.refused
		return &refused
	}
	return nil
}

// run collects batches and sends them until the queue is closed.
func (w *Writer) run() {
	defer close(w.stopped)
	defer w.stop()
	var batch []NewDeviceLog
	timer := time.NewTimer(w.options.Delay)
	defer timer.Stop()
	flush := func() {
		if len(batch) > 0 {
			w.send(batch)
			batch = nil
		}
	}
	for {
		select {
		case <-timer.C:
			flush()
		case item, ok := <-w.queue:
			switch {
			case !ok:
				flush()
				return
			case item.flushed != nil:
				flush()
				close(item.flushed)
				continue
			}
			if len(batch) == 0 {
				timer.Reset(w.options.Delay)
			}
			if batch = append(batch, item.log); len(batch) == w.options.Size {
				flush()
			}
		}
	}
}

// send stores a batch, without the logs that the server refuses.
func (w *Writer) send(batch []NewDeviceLog) {
	key := rand.Text()
	for attempt := 1; len(batch) > 0; attempt++ {
		_, err := w.client.CreateLogs(w.sending, batch, WithIdempotencyKey(key))
		var refused *Error
		switch {
		case err == nil:
			return
		case isPermanent(err):
			errors.As(err, &refused)
			rest := w.withoutWrong(batch, refused)
			if len(rest) == len(batch) { // it names none: it is about all
				w.refuse(err, batch...)
				return
			}
			batch, key, attempt = rest, rand.Text(), 0 // another body needs another key
		default:
			wait := backoff(attempt)
			if errors.As(err, &refused) {
				wait = max(wait, min(refused.RetryAfter, time.Minute))
			}
			if !sleep(w.sending, wait) {
				w.refuse(err, batch...)
				return
			}
		}
	}
}

var itemOfBody = regexp.MustCompile(`^body\[(\d+)\]`)

// withoutWrong refuses the logs that the error names, and returns the others.
func (w *Writer) withoutWrong(batch []NewDeviceLog, refused *Error) []NewDeviceLog {
	wrong := map[int]*Error{}
	for _, field := range refused.Fields {
		if match := itemOfBody.FindStringSubmatch(field.Location); match != nil {
			if index, err := strconv.Atoi(match[1]); err == nil && index < len(batch) {
				if wrong[index] == nil {
					one := *refused
					one.Fields, wrong[index] = nil, &one
				}
				wrong[index].Fields = append(wrong[index].Fields, field)
			}
		}
	}
	var rest []NewDeviceLog
	for i, log := range batch {
		if wrong[i] != nil {
			w.refuse(wrong[i], log)
		} else {
			rest = append(rest, log)
		}
	}
	return rest
}

func (w *Writer) refuse(err error, logs ...NewDeviceLog) {
	w.mu.Lock()
	if w.refused.Count == 0 {
		w.refused.First = err
	}
	w.refused.Count += len(logs)
	w.mu.Unlock()
	if w.options.Refused != nil {
		for _, log := range logs {
			w.options.Refused(log, err)
		}
	}
}
