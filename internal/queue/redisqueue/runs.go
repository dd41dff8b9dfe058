package redisqueue

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/queue"
)

// Enqueue implements queue.Queue.
func (q *Queue) Enqueue(ctx context.Context, jobs ...queue.Job) ([]string, error) {
	prepared, err := queue.Prepare(q.clock.Now(), jobs...)
	if err != nil || len(prepared) == 0 {
		return nil, err
	}
	names, states := queue.Names(), unfinished()
	args := []string{number(q.backlog), strconv.Itoa(len(names)), strconv.Itoa(len(states))}
	for _, name := range names {
		args = append(args, string(name))
	}
	for _, state := range states {
		args = append(args, string(state))
	}
	for _, j := range prepared {
		args = appendJob(args, j)
	}
	var ids []string
	err = q.run(ctx, enqueue, args, func(result rueidis.RedisResult) error {
		answer, err := result.ToArray()
		if err != nil {
			return err
		}
		if word, err := answer[0].ToString(); err != nil || word != "ok" {
			return unavailable(fmt.Errorf("there are more than %d unfinished jobs", q.backlog))
		}
		ids = make([]string, 0, len(prepared))
		for _, m := range answer[1:] {
			id, err := m.ToString()
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	q.watchers.Signal()
	return ids, nil
}

// EnqueueSlot implements queue.Backend.
func (q *Queue) EnqueueSlot(ctx context.Context, slot queue.Slot, job queue.Job) (bool, error) {
	prepared, err := queue.Prepare(q.clock.Now(), job)
	if err != nil {
		return false, err
	}
	n, err := q.count(ctx, appendJob([]string{slot.Name, number(slot.At.UnixMilli()), q.ahead()}, prepared[0]), enqueueSlot)
	if n > 0 {
		q.watchers.Signal()
	}
	return n > 0, err
}

// ahead returns the time after which no job can have been added or have run, unless the clock was put back since.
func (q *Queue) ahead() string { return number(q.clock.Now().Add(queue.MaxLease).UnixMilli()) }

// Claim implements queue.Backend.
func (q *Queue) Claim(ctx context.Context, c queue.Claim) (jobs []queue.Job, next time.Time, err error) {
	now := q.clock.Now()
	args := []string{c.Worker, number(now.UnixMilli()), number(now.Add(c.Lease).UnixMilli()), q.ahead(), strconv.Itoa(len(c.Slots))}
	for name, slots := range c.Slots {
		args = append(args, string(name), strconv.Itoa(max(0, slots)))
	}
	args = append(args, strconv.Itoa(len(c.Kinds)))
	for kind, attempts := range c.Kinds {
		args = append(args, kind, strconv.Itoa(attempts))
	}
	err = q.run(ctx, claim, args, func(result rueidis.RedisResult) error {
		answer, err := result.ToArray()
		if err != nil {
			return err
		}
		at, err := answer[0].AsInt64()
		if err != nil {
			return err
		}
		next = fromMillis(at)
		for _, m := range answer[1:] {
			fields, err := m.AsStrMap()
			if err != nil {
				return err
			}
			jobs = append(jobs, readJob(fields))
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return jobs, next, nil
}

// Beat implements queue.Backend.
func (q *Queue) Beat(ctx context.Context, b queue.Beat) ([]string, error) {
	args := []string{b.Worker, number(q.clock.Now().Add(b.Lease).UnixMilli())}
	for _, h := range b.Jobs {
		args = appendProgress(append(args, h.ID, number(h.Lease)), h.Progress)
	}
	return q.ids(ctx, args, beat)
}

// Cancelling implements queue.Backend.
func (q *Queue) Cancelling(ctx context.Context, worker string) ([]string, error) {
	return q.ids(ctx, []string{worker}, cancelling)
}

// Finish implements queue.Backend.
func (q *Queue) Finish(ctx context.Context, outcomes []queue.Outcome) ([]string, error) {
	waits, err := queue.AnyWaits(outcomes)
	if err != nil {
		return nil, err
	}
	args := []string{number(q.clock.Now().UnixMilli())}
	for _, o := range outcomes {
		cancelled := "0"
		if o.Cancelled {
			cancelled = "1"
		}
		args = appendProgress(append(args, o.ID, number(o.Lease), string(o.State), number(o.RunAt.UnixMilli()), o.LastError, cancelled), o.Progress)
	}
	lost, err := q.ids(ctx, args, endRuns)
	if err == nil && waits {
		q.watchers.Signal()
	}
	return lost, err
}

// Rescue implements queue.Backend.
func (q *Queue) Rescue(ctx context.Context) (int, error) {
	now := q.clock.Now()
	n, err := q.count(ctx, []string{
		number(now.UnixMilli()), strconv.Itoa(queue.MaxLosses), strconv.Itoa(queue.MaxBatch), number(now.Add(queue.MaxLease).UnixMilli()),
	}, rescue)
	if n > 0 {
		q.watchers.Signal()
	}
	return n, err
}

// Purge implements queue.Backend.
func (q *Queue) Purge(ctx context.Context, p queue.Purge) (int, error) {
	millis := func(t time.Time) string {
		if t.IsZero() {
			return number(math.MinInt32)
		}
		return number(t.UnixMilli())
	}
	return q.count(ctx, []string{millis(p.CompletedBefore), millis(p.DeadBefore), strconv.Itoa(queue.MaxBatch)}, purge)
}
