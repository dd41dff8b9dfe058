package storetest

import (
	"errors"
	"testing"
	"time"

	"hearth"
	"hearth/internal/cause"
)

// commandWrites checks that each of the writes of one step has its own result.
func commandWrites(t *testing.T, s CommandStore) {
	device, full := commandDevice(t, s, 1), commandDevice(t, s, 2)
	before, refused := createCommand(t, s, ordered(full, 1)), errors.New("no")
	add := func(device string, n int) *hearth.CommandWrite {
		c := ordered(device, n)
		c.CreatedAt = epoch
		return &hearth.CommandWrite{New: &c, Effects: hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(n)}}}
	}
	change := func(id string, n int, err error) *hearth.CommandWrite {
		w := &hearth.CommandWrite{ID: id, Change: func(c hearth.Command) (hearth.Command, error) { return c.Sent(epoch), err }}
		w.Effects.JobsAfter = func() ([]hearth.OutboxJob, error) {
			job := outboxJob(n)
			job.Kind = string(w.After.State)
			return []hearth.OutboxJob{job}, nil
		}
		return w
	}
	sent := change(before.ID, 6, nil)
	writes := []*hearth.CommandWrite{
		add(device, 2), add("no such device", 3), add(device, 4), add(full, 5), sent, change("none", 7, nil), change(before.ID, 8, refused),
	}
	traced := cause.With(t.Context(), "trace")
	for i, w := range writes {
		if w.Ctx = traced; i%2 == 1 {
			w.Ctx = t.Context()
		}
	}
	if err := s.WriteCommands(traced, writes...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		code  hearth.Code
		first bool
		seq   int64
	}{
		{first: true, seq: epoch.UnixMilli()}, {code: hearth.CodeNotFound}, {seq: epoch.UnixMilli() + 1}, {seq: before.Seq + 1}, {seq: before.Seq},
		{code: hearth.CodeNotFound}, {code: hearth.ErrorCode(refused)},
	} {
		w := writes[i]
		if hearth.ErrorCode(w.Err) != want.code || w.First != want.first || w.Err == nil && w.After.Seq != want.seq {
			t.Errorf("write %d: %v, first %v, number %d; want %q, %v, %d", i, w.Err, w.First, w.After.Seq, want.code, want.first, want.seq)
		}
		if w.Err != nil {
			continue
		}
		got, err := s.Command(t.Context(), w.After.ID)
		if err != nil || got.Seq != w.After.Seq || got.State != w.After.State {
			t.Errorf("write %d stored %+v, %v", i, got, err)
		}
	}
	if !errors.Is(writes[6].Err, refused) || sent.After.State != hearth.CommandSent || sent.After.Attempts != 1 {
		t.Errorf("refused with %v, and sent %+v", writes[6].Err, sent.After)
	}
	jobs, err := s.PendingOutbox(t.Context(), 10)
	if err != nil || len(jobs) != 4 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	causes := map[string]string{outboxJob(2).ID: "trace", outboxJob(4).ID: "trace", outboxJob(5).ID: "", outboxJob(6).ID: "trace"}
	for _, job := range jobs {
		want, ok := causes[job.ID]
		if got := cause.Of(job.Payload); !ok || got != want {
			t.Errorf("job %s is marked with %q, want %q", job.ID, got, want)
		}
		if job.ID == outboxJob(6).ID && job.Kind != string(hearth.CommandSent) {
			t.Errorf("a job was made of a command that was %q", job.Kind)
		}
	}
	// The first of a queue is one before which all have ended.
	over := change(writes[0].After.ID, 9, nil)
	over.Change = func(c hearth.Command) (hearth.Command, error) { return c.At(c.ExpiresAt.Add(time.Second)), nil }
	over.Ctx = t.Context()
	if err := s.WriteCommands(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	next := add(device, 10)
	next.Ctx = t.Context()
	if err := s.WriteCommands(t.Context(), next); err != nil || next.First {
		t.Errorf("behind one that has not ended: %v, first %v", err, next.First)
	}
}
