package queue

import (
	"context"
	"maps"
	"slices"
	"time"
)

// result is a run's outcome on its way to the backend; done gets whether the lease was lost.
type result struct {
	outcome Outcome
	done    chan bool
}

// finish stores outcomes until the worker is over. Those that come while one batch is written make the next batch, so that
// many small jobs share one commit.
func (w *Worker) finish() {
	var trouble reporter
	for {
		var batch []result
		select {
		case <-w.over:
			return
		case r := <-w.results:
			batch = append(batch, r)
		}
	more:
		for len(batch) < MaxBatch {
			select {
			case r := <-w.results:
				batch = append(batch, r)
			default:
				break more
			}
		}
		lost, err := w.store(batch, &trouble)
		for _, r := range batch {
			r.done <- err != nil || slices.Contains(lost, r.outcome.ID)
		}
	}
}

// store writes a batch, again and again while the backend refuses: an outcome is worth more than the time. It stops
// when the leases are gone (another worker may have the jobs by then) or the worker is.
func (w *Worker) store(batch []result, trouble *reporter) (lost []string, err error) {
	outcomes := make([]Outcome, len(batch))
	for i, r := range batch {
		outcomes[i] = r.outcome
	}
	pause := 50 * time.Millisecond
	for began := time.Now(); ; {
		lost, err = w.o.Backend.Finish(w.base, outcomes)
		trouble.report(w.o.Log, "outcomes of jobs cannot be stored", err)
		if err == nil || time.Since(began) > 6*w.o.Lease {
			return lost, err
		}
		select {
		case <-w.base.Done():
			return nil, context.Cause(w.base)
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

// cancelPoll is how often running jobs are checked for a wish to cancel them, signals apart.
const cancelPoll = 250 * time.Millisecond

// beat renews leases, stores progress and carries out cancellations until the worker is over.
func (w *Worker) beat(changed <-chan struct{}) {
	tick := time.NewTicker(min(cancelPoll, w.o.Lease/8))
	defer tick.Stop()
	var signals, beats reporter
	var looked, beaten time.Time
	for {
		select {
		case <-w.over:
			return
		case <-tick.C:
		case <-changed:
			// A busy queue signals often: the tick is near enough then.
			if time.Since(looked) < 50*time.Millisecond {
				continue
			}
		}
		tasks := w.tasks()
		if len(tasks) == 0 {
			continue
		}
		looked = time.Now()
		signals.report(w.o.Log, "cancellations cannot be read", w.carryOutCancels(tasks))
		due := time.Since(beaten) >= w.o.Lease/4
		if due || time.Since(beaten) >= time.Second && reported(tasks) {
			beaten = time.Now()
			beats.report(w.o.Log, "leases cannot be renewed", w.renew(tasks))
		}
	}
}

func (w *Worker) tasks() map[string]*Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	tasks := make(map[string]*Task, len(w.running))
	maps.Copy(tasks, w.running)
	return tasks
}

func reported(tasks map[string]*Task) bool {
	for _, t := range tasks {
		t.mu.Lock()
		yes := t.progress != nil
		t.mu.Unlock()
		if yes {
			return true
		}
	}
	return false
}

func (w *Worker) carryOutCancels(tasks map[string]*Task) error {
	ids, err := w.o.Backend.Cancelling(w.base, w.o.ID)
	for _, id := range ids {
		if t := tasks[id]; t != nil {
			t.end(ErrCancelled)
		}
	}
	return err
}

// renew extends the leases. Jobs that are lost are ended; those whose lease could not be renewed end by their expiry.
func (w *Worker) renew(tasks map[string]*Task) error {
	held := make([]Held, 0, len(tasks))
	for _, t := range tasks {
		held = append(held, Held{ID: t.Job.ID, Lease: t.Job.Lease, Progress: t.takeProgress()})
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.base, w.o.Lease/2)
	lost, err := w.o.Backend.Beat(ctx, Beat{Worker: w.o.ID, Lease: w.o.Lease, Jobs: held})
	cancel()
	for _, h := range held {
		t := tasks[h.ID]
		switch {
		case err != nil:
			t.restoreProgress(h.Progress)
		case slices.Contains(lost, h.ID):
			t.end(ErrLeaseLost)
		default:
			t.expiry.Reset(w.safeLease(began))
		}
	}
	return err
}

// safeLease is how long from now a run may go on by a lease that was asked for at the given time: a quarter of the lease is
// left to the handler, to end before another worker can have the job.
func (w *Worker) safeLease(asked time.Time) time.Duration {
	return max(0, w.o.Lease*3/4-time.Since(asked))
}
