package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"hearth"
)

// Handler does the work of one kind of job. It returns when ctx ends. Nil completes the job; Permanent errors make it dead;
// others are attempted again. An error's hearth.Error.RetryAfter is the least pause before the next attempt. A panic is an error.
type Handler func(ctx context.Context, task *Task) error

// Kind registers a handler.
type Kind struct {
	// Name is the jobs' Kind.
	Name    string
	Handler Handler
	// MaxAttempts is how many attempts a job of this kind has, 1 to 100; 0 keeps the number that the job was added with.
	MaxAttempts int
	// Timeout ends a run; 0 is 10 min.
	Timeout time.Duration
	Backoff Backoff
}

// Periodic adds a job at every slot: the times Offset + n × Every since 1970 in UTC (so Every 24 h with Offset 3 h is daily
// at 03:00). A slot that passed while no worker ran is made up for once, by the latest; a name that was never seen starts
// with its next slot.
type Periodic struct {
	// Name identifies the schedule for ever; it follows the rules of a kind.
	Name string
	// Every is at least 1 s; Offset at least 0 and less than Every.
	Every  time.Duration
	Offset time.Duration
	// Kind, Queue and Payload are the job's. Its unique key is "periodic:" and Name, so that slots do not pile up.
	Kind    string
	Queue   Name
	Payload json.RawMessage
}

// slot returns the latest slot at or before now.
func (p Periodic) slot(now time.Time) time.Time {
	since := now.UnixMilli() - p.Offset.Milliseconds()
	every := p.Every.Milliseconds()
	n := since / every
	if since < 0 {
		n--
	}
	return time.UnixMilli(n*every + p.Offset.Milliseconds()).UTC()
}

// Event reports a job's change by this worker to an observer.
type Event struct {
	// Job is the job in its new state: Running at the start of a run, then what became of it. Payload is left out.
	Job Job
	// Err is the run's failure, if it failed.
	Err error
	// Waited is, at a start, how long the job was due before. Took is, at an end, how long it ran.
	Waited time.Duration
	Took   time.Duration
}

// WorkerOptions configures a Worker. Backend is required.
type WorkerOptions struct {
	Backend  Backend
	Kinds    []Kind
	Periodic []Periodic
	// Concurrency is how many jobs of a queue run at once, 0 to 1000 each; a queue left out keeps its default: export 5,
	// notification 10, cleanup 1, channel 100.
	Concurrency map[Name]int
	// ID names this worker; it must be another one in each process. Empty: host, process and a random part.
	ID string
	// Lease is how long a job stays this worker's after its last sign of life, 100 ms to MaxLease; 0 is 10 s. It is renewed, and
	// other workers' leases are looked after, four times as often.
	Lease time.Duration
	// Poll is the longest pause between two looks for due jobs, when no signal came; 0 is 1 s.
	Poll time.Duration
	// Drain is how long Stop lets running jobs end by themselves before it ends their contexts; 0 is 5 s, negative not at all.
	Drain time.Duration
	// Clock is for due times and records; nil is the system's.
	Clock hearth.Clock
	// Log gets failures; nil discards.
	Log *slog.Logger
	// Observe, if set, is called at every start and end of a run, in the job's goroutine: it must be quick.
	Observe func(Event)
}

func (o WorkerOptions) withDefaults() WorkerOptions {
	limits := map[Name]int{Export: 5, Notification: 10, Cleanup: 1, Channel: 100}
	maps.Copy(limits, o.Concurrency)
	o.Concurrency = limits
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&o.Lease, 10*time.Second)
	def(&o.Poll, time.Second)
	def(&o.Drain, 5*time.Second)
	if o.ID == "" {
		host, _ := os.Hostname()
		o.ID = fmt.Sprintf("%s-%d-%s", cut(host, 64), os.Getpid(), NewID(time.Now())[24:])
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	return o
}

func (o WorkerOptions) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Backend == nil {
		wrong("a worker needs a backend")
	}
	if o.Lease < 100*time.Millisecond || o.Lease > MaxLease || o.Poll < time.Millisecond {
		wrong("the lease is 100ms to %s and the poll at least 1ms", MaxLease)
	}
	for name, n := range o.Concurrency {
		if !slices.Contains(Names(), name) || n < 0 || n > 1000 {
			wrong("the queue %q cannot run %d jobs at once", name, n)
		}
	}
	known := map[string]bool{}
	for _, k := range o.Kinds {
		if !ValidKind(k.Name) || k.Handler == nil || known[k.Name] {
			wrong("the kind %q is not valid, has no handler or is there twice", k.Name)
		}
		if k.MaxAttempts < 0 || k.MaxAttempts > 100 || k.Timeout < 0 || k.Backoff.Base < 0 || k.Backoff.Max < 0 {
			wrong("the kind %q has a number out of range", k.Name)
		}
		known[k.Name] = true
	}
	return errors.Join(append(errs, o.validatePeriodic(known))...)
}

func (o WorkerOptions) validatePeriodic(kinds map[string]bool) error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range o.Periodic {
		if !ValidKind(p.Name) || seen[p.Name] || p.Every < time.Second || p.Offset < 0 || p.Offset >= p.Every {
			errs = append(errs, fmt.Errorf("the periodic job %q is not valid or is there twice", p.Name))
		}
		if !kinds[p.Kind] || !slices.Contains(Names(), p.Queue) {
			errs = append(errs, fmt.Errorf("the periodic job %q has the unknown kind %q or queue %q", p.Name, p.Kind, p.Queue))
		}
		seen[p.Name] = true
	}
	return errors.Join(errs...)
}
