package queue

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"hearth"
)

// Outbox is the store's side of the relay: the jobs that writes left behind, oldest first.
type Outbox interface {
	// PendingOutbox returns the oldest limit jobs that were not deleted yet.
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
	// DeleteOutbox removes jobs; unknown IDs are no error.
	DeleteOutbox(ctx context.Context, ids []string) error
}

// Forgetful is a queue that may lose jobs that it has accepted, as Redis does when it is flushed or restarted empty. A relay
// leaves what such a queue accepted in the outbox until the job has ended, and adds it again when it was lost.
type Forgetful interface {
	// Ended returns which jobs have ended (or were deleted on purpose) and which are not known any more.
	Ended(ctx context.Context, ids []string) (ended, unknown []string, err error)
}

// maxKept bounds the jobs that stay in the outbox until they have ended; what is beyond it is deleted once it was taken.
const maxKept = 2000

// RelayOptions configures a Relay. Outbox and Queue are required.
type RelayOptions struct {
	Outbox Outbox
	Queue  Queue
	// Wake is signalled by the store after a write with jobs; nil leaves only the poll.
	Wake <-chan struct{}
	// Poll is the longest pause between two looks at the outbox; 0 is 1 s. After an error it is the first pause, doubled up
	// to 15 s.
	Poll time.Duration
	// Batch is how many jobs move at once, up to MaxBatch; 0 is 200.
	Batch int
	// Log gets failures; nil discards.
	Log *slog.Logger
}

// Relay moves jobs from the store's outbox into the queue. A job is deleted from the outbox after it was added, and the
// queue takes an ID once: a crash between the two, or several relays on one outbox, add nothing twice. A job that the queue
// refuses for what it is stays in the outbox, is logged once, and holds up no other. See Forgetful for a queue that may
// lose jobs.
type Relay struct {
	o       RelayOptions
	refused map[string]bool
	// kept are the jobs of the outbox that a forgetful queue has; checked is when it was last asked about them.
	forgetful Forgetful // nil: the queue forgets nothing
	kept      map[string]bool
	checked   time.Time
	stopping  chan struct{}
	stopOnce  sync.Once
	loop      sync.WaitGroup
	base      context.Context
	end       context.CancelFunc

	mu      sync.Mutex
	started bool
}

// NewRelay checks the options and makes a relay that is not running yet.
func NewRelay(o RelayOptions) (*Relay, error) {
	if o.Outbox == nil || o.Queue == nil {
		return nil, errors.New("a relay needs an outbox and a queue")
	}
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.Batch = cmp.Or(o.Batch, 200)
	if o.Poll < 0 || o.Batch < 0 || o.Batch > MaxBatch {
		return nil, errors.New("a relay's poll or batch is out of range")
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	r := &Relay{o: o, refused: map[string]bool{}, kept: map[string]bool{}, stopping: make(chan struct{})}
	r.forgetful, _ = o.Queue.(Forgetful)
	return r, nil
}

// Start begins to move jobs and returns at once. Stop ends it, not the end of ctx. It fails when called twice.
func (r *Relay) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return errors.New("the relay was started before")
	}
	r.started = true
	r.base, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.loop.Go(r.run)
	return nil
}

// Stop ends the work and waits for the batch under way, or interrupts it when ctx ends: what was not moved is moved after
// the next start. It may be called twice, and without Start.
func (r *Relay) Stop(ctx context.Context) error {
	r.stopOnce.Do(func() { close(r.stopping) })
	r.mu.Lock()
	started := r.started
	r.started = true
	r.mu.Unlock()
	if !started {
		return nil
	}
	interrupt := context.AfterFunc(ctx, r.end)
	defer interrupt()
	r.loop.Wait()
	r.end()
	return nil
}

func (r *Relay) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var trouble reporter
	pause := r.o.Poll
	for {
		select {
		case <-r.stopping:
			return
		case <-r.o.Wake:
		case <-timer.C:
		}
		more, err := r.Move(r.base)
		trouble.report(r.o.Log, "jobs cannot be moved from the outbox to the queue", err)
		switch {
		case err != nil:
			pause = min(max(2*pause, r.o.Poll), 15*time.Second)
		case more:
			pause = 0
		default:
			pause = r.o.Poll
		}
		timer.Reset(pause)
	}
}

// Move moves one batch and reports whether there may be more.
func (r *Relay) Move(ctx context.Context) (more bool, err error) {
	if err := r.deleteEnded(ctx); err != nil {
		return false, err
	}
	limit := r.o.Batch + len(r.refused) + len(r.kept)
	pending, err := r.o.Outbox.PendingOutbox(ctx, limit)
	if err != nil {
		return false, err
	}
	jobs := make([]Job, 0, min(len(pending), r.o.Batch))
	for _, p := range pending {
		if !r.refused[p.ID] && !r.kept[p.ID] && len(jobs) < r.o.Batch {
			jobs = append(jobs, FromOutbox(p))
		}
	}
	if len(jobs) == 0 {
		return false, nil
	}
	moved, err := r.add(ctx, jobs)
	if done := r.keep(moved); len(done) > 0 {
		err = errors.Join(err, r.o.Outbox.DeleteOutbox(ctx, done))
	}
	return err == nil && len(pending) == limit, err
}

// taken is a job that the queue took: under its own ID, or another stands for it.
type taken struct {
	id  string
	own bool
}

// keep returns the jobs that the outbox need not hold any longer.
func (r *Relay) keep(moved []taken) (done []string) {
	for _, t := range moved {
		if r.forgetful != nil && t.own && len(r.kept) < maxKept {
			r.kept[t.id] = true
			continue
		}
		done = append(done, t.id)
	}
	return done
}

// deleteEnded deletes kept jobs that have ended. Those that the queue has lost are moved again. It asks once a poll.
func (r *Relay) deleteEnded(ctx context.Context) error {
	if len(r.kept) == 0 || time.Since(r.checked) < r.o.Poll {
		return nil
	}
	ended, unknown, err := r.forgetful.Ended(ctx, slices.Collect(maps.Keys(r.kept)))
	if err != nil {
		return err
	}
	if len(ended) > 0 {
		if err := r.o.Outbox.DeleteOutbox(ctx, ended); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		r.o.Log.Warn("the queue has lost jobs; what the outbox still holds is added again", "jobs", len(unknown))
	}
	for _, id := range slices.Concat(ended, unknown) {
		delete(r.kept, id)
	}
	r.checked = time.Now()
	return nil
}

// add adds the jobs and returns those that were taken. Where one is refused for what it is, the others go alone.
func (r *Relay) add(ctx context.Context, jobs []Job) (moved []taken, err error) {
	ids, err := r.o.Queue.Enqueue(ctx, jobs...)
	switch code := hearth.ErrorCode(err); {
	case err == nil:
		for i, j := range jobs {
			moved = append(moved, taken{id: j.ID, own: i < len(ids) && ids[i] == j.ID})
		}
		return moved, nil
	case code != hearth.CodeValidationFailed && code != hearth.CodePayloadTooLarge:
		return nil, err
	case len(jobs) == 1:
		r.refused[jobs[0].ID] = true
		r.o.Log.Error("the queue refuses a job; it stays in the outbox", "job", jobs[0].ID, "kind", jobs[0].Kind, "error", err)
		return nil, nil
	}
	for _, j := range jobs {
		one, err := r.add(ctx, []Job{j})
		if err != nil {
			return moved, err
		}
		moved = append(moved, one...)
	}
	return moved, nil
}

// FromOutbox makes the job to add from a job of the store's outbox.
func FromOutbox(o hearth.OutboxJob) Job {
	return Job{ID: o.ID, Kind: o.Kind, Queue: Name(o.Queue), Payload: o.Payload, Unique: o.Unique, ScheduledAt: o.RunAt}
}
