package redisqueue

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/queue"
	"hearth/internal/redisconn"
)

func unfinished() []queue.State {
	return []queue.State{queue.Pending, queue.Running, queue.Scheduled, queue.Retrying}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// appendJob appends the nine fields that the script's add takes.
func appendJob(args []string, j queue.Job) []string {
	return append(args, j.ID, j.Kind, string(j.Queue), string(j.Payload), string(j.State), strconv.Itoa(j.MaxAttempts), j.Unique,
		number(j.ScheduledAt.UnixMilli()), number(j.CreatedAt.UnixMilli()))
}

// appendProgress appends the four fields of a progress that may be missing.
func appendProgress(args []string, p *queue.Progress) []string {
	if p == nil {
		return append(args, "0", "", "", "")
	}
	clean := p.Clean()
	return append(args, "1", clean.Step, number(clean.Done), number(clean.Total))
}

// readJob reads a job's hash. A field that is missing is zero.
func readJob(fields map[string]string) queue.Job {
	read := func(name string) int64 {
		n, _ := strconv.ParseInt(fields[name], 10, 64) // the scripts write numbers alone
		return n
	}
	at := func(name string) time.Time { return fromMillis(read(name)) }
	return queue.Job{
		ID: fields["id"], Kind: fields["kind"], Queue: queue.Name(fields["queue"]), Payload: []byte(fields["payload"]),
		State: queue.State(fields["state"]), Attempt: int(read("attempt")), MaxAttempts: int(read("max")), Losses: int(read("losses")),
		Unique: fields["unique"], ScheduledAt: at("at"),
		Progress:  queue.Progress{Step: fields["step"], Done: read("done"), Total: read("total")},
		LastError: fields["error"], Cancelled: fields["cancelled"] == "1",
		CreatedAt: at("created"), StartedAt: at("started"), FinishedAt: at("finished"), Worker: fields["worker"], Lease: read("lease"),
	}
}

// ids runs a script that returns IDs.
func (q *Queue) ids(ctx context.Context, args []string, script *redisconn.Script) (ids []string, err error) {
	err = q.run(ctx, script, args, func(result rueidis.RedisResult) error {
		var err error
		ids, err = result.AsStrSlice()
		return err
	})
	return ids, err
}

// count runs a script that returns a number.
func (q *Queue) count(ctx context.Context, args []string, script *redisconn.Script) (n int, err error) {
	err = q.run(ctx, script, args, func(result rueidis.RedisResult) error {
		got, err := result.AsInt64()
		n = int(got)
		return err
	})
	return n, err
}
