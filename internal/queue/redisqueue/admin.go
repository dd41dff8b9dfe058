package redisqueue

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/queue"
	"hearth/internal/redisconn"
)

func jobKey(id string) string { return rootKey + ":job:" + id }

func shelfKey(name queue.Name, state queue.State) string {
	return rootKey + ":in:" + string(name) + ":" + string(state)
}

// Job implements queue.Queue.
func (q *Queue) Job(ctx context.Context, id string) (job queue.Job, err error) {
	jobs, err := q.jobs(ctx, []string{id})
	if err != nil {
		return job, err
	}
	if len(jobs) == 0 {
		return job, hearth.NotFound("job")
	}
	return jobs[0], nil
}

// jobs returns the jobs of the IDs that are there, in one round trip.
func (q *Queue) jobs(ctx context.Context, ids []string) (jobs []queue.Job, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = q.try(ctx, func(ctx context.Context, client rueidis.Client) error {
		commands := make(rueidis.Commands, len(ids))
		for i, id := range ids {
			commands[i] = client.B().Hgetall().Key(jobKey(id)).Build()
		}
		jobs = nil
		for _, result := range client.DoMulti(ctx, commands...) {
			fields, err := result.AsStrMap()
			if err != nil {
				return err
			}
			if len(fields) > 0 {
				jobs = append(jobs, readJob(fields))
			}
		}
		return nil
	})
	return jobs, err
}

// listStep is how many entries of each queue and state one look of a list takes.
const listStep = 500

// List implements queue.Queue. It walks the shelves of the asked queues and states together, newest ID first.
func (q *Queue) List(ctx context.Context, f queue.Filter) (queue.Page, error) {
	if f.Limit < 0 || f.Limit > 200 {
		return queue.Page{}, hearth.Invalid(hearth.FieldError{Location: "limit", Message: "must be 1 to 200"})
	}
	f.Limit = cmp.Or(f.Limit, 50)
	var ids []string
	before := f.Before
	for len(ids) <= f.Limit {
		found, more, err := q.look(ctx, f, before)
		if err != nil {
			return queue.Page{}, err
		}
		for _, entry := range found {
			id, kind, _ := strings.Cut(entry, "|")
			if f.Kind == "" || kind == f.Kind {
				ids = append(ids, id)
			}
			before = id
		}
		if !more {
			break
		}
	}
	page := queue.Page{}
	if len(ids) > f.Limit {
		ids = ids[:f.Limit]
		page.Next = ids[f.Limit-1]
	}
	var err error
	page.Jobs, err = q.jobs(ctx, ids)
	return page, err
}

// look returns the next entries below an ID, newest first, and whether there may be more.
func (q *Queue) look(ctx context.Context, f queue.Filter, before string) (found []string, more bool, err error) {
	names, states := queue.Names(), queue.States()
	if f.Queue != "" {
		names = []queue.Name{f.Queue}
	}
	if f.State != "" {
		states = []queue.State{f.State}
	}
	top := "+"
	if before != "" {
		top = "(" + before
	}
	step := listStep
	if f.Kind == "" {
		step = f.Limit + 1
	}
	err = q.try(ctx, func(ctx context.Context, client rueidis.Client) error {
		var commands rueidis.Commands
		for _, name := range names {
			for _, state := range states {
				commands = append(commands, client.B().Zrange().Key(shelfKey(name, state)).Min(top).Max("-").Bylex().Rev().
					Limit(0, int64(step)).Build())
			}
		}
		found, more = nil, false
		// Below the last entry of a shelf that was cut, other shelves may hold entries that come first.
		floor := ""
		for _, result := range client.DoMulti(ctx, commands...) {
			entries, err := result.AsStrSlice()
			if err != nil {
				return err
			}
			if len(entries) == step {
				more = true
				floor = max(floor, entries[step-1])
			}
			found = append(found, entries...)
		}
		found = slices.DeleteFunc(found, func(entry string) bool { return entry < floor })
		slices.SortFunc(found, func(a, b string) int { return strings.Compare(b, a) })
		return nil
	})
	return found, more, err
}

// Counts implements queue.Queue.
func (q *Queue) Counts(ctx context.Context) (counts []queue.Count, err error) {
	err = q.try(ctx, func(ctx context.Context, client rueidis.Client) error {
		counts = nil
		var commands rueidis.Commands
		for _, name := range queue.Names() {
			for _, state := range queue.States() {
				counts = append(counts, queue.Count{Queue: name, State: state})
				commands = append(commands, client.B().Zcard().Key(shelfKey(name, state)).Build())
			}
		}
		for i, result := range client.DoMulti(ctx, commands...) {
			var err error
			if counts[i].Jobs, err = result.AsInt64(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// Cancel implements queue.Queue.
func (q *Queue) Cancel(ctx context.Context, id string) error {
	return q.step(ctx, id, cancel, "the job has ended")
}

// Retry implements queue.Queue.
func (q *Queue) Retry(ctx context.Context, id string) error {
	return q.step(ctx, id, retry, "a job in this state cannot be retried")
}

// Delete implements queue.Queue.
func (q *Queue) Delete(ctx context.Context, id string) error {
	return q.step(ctx, id, remove, "the job runs; cancel it first")
}

// step changes one job according to its state.
func (q *Queue) step(ctx context.Context, id string, script *redisconn.Script, conflict string) error {
	err := q.run(ctx, script, []string{id, strconv.FormatInt(q.clock.Now().UnixMilli(), 10)}, func(result rueidis.RedisResult) error {
		answer, err := result.ToString()
		switch {
		case err != nil:
			return err
		case answer == "ok":
			return nil
		case answer == "missing":
			return hearth.NotFound("job")
		case answer == "taken":
			return hearth.Errorf(hearth.CodeConflict, "another job of the same kind and purpose waits or runs already")
		}
		return hearth.Errorf(hearth.CodeConflict, "%s", conflict)
	})
	if err == nil {
		q.watchers.Signal()
	}
	return err
}

// Ended implements queue.Forgetful.
func (q *Queue) Ended(ctx context.Context, ids []string) (ended, unknown []string, err error) {
	err = q.run(ctx, endedScript, ids, func(result rueidis.RedisResult) error {
		answers, err := result.AsIntSlice()
		if err != nil {
			return err
		}
		ended, unknown = nil, nil
		for i, answer := range answers {
			switch answer {
			case 1:
				ended = append(ended, ids[i])
			case 2:
				unknown = append(unknown, ids[i])
			}
		}
		return nil
	})
	return ended, unknown, err
}
