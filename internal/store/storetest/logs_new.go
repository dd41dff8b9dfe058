package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
)

// noEffects are the side effects of a write that has none.
func noEffects(int) (hearth.SideEffects, error) { return hearth.SideEffects{}, nil }

func logsNew(t *testing.T, s LogStore) {
	devices := createDevices(t, s, device(1), device(2), device(3))
	d := devices[0]
	stored := []hearth.LogEntry{entry(d, "a", 1, 0), entry(d, "a", 2, time.Minute)}
	appendLogs(t, s, stored...)
	remove(t, s, devices[2].ID)
	another, later, gone := entry(devices[1], "a", 1, 0), entry(d, "a", 1, time.Millisecond), entry(devices[2], "a", 1, 0)
	typed, text := stored[0], stored[0]
	typed.Value, text.Value = hearth.Boolean(true), hearth.Text("1")
	call := []hearth.LogEntry{stored[1], another, stored[0], later, typed, another, text, gone, text, entry(d, "b", 1, 0)}
	want := []hearth.LogEntry{another, later, typed, text, gone, entry(d, "b", 1, 0)}
	got, first, err := s.AppendNewLogs(t.Context(), slices.Clone(call), nil, noEffects)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("stored are %+v, %v; want %+v", got, err, want)
	}
	page, err := s.Logs(t.Context(), hearth.LogQuery{Device: devices[1].Key, Span: everything, Limit: 9})
	if err != nil || len(page) != 1 || page[0].Seq != first {
		t.Errorf("the first log that was stored is %+v, %v; want the number %d", page, err, first)
	}
	counted(t, s, hearth.Reach{All: true}, 7)
	if got, _, err = s.AppendNewLogs(t.Context(), slices.Clone(call), nil, noEffects); err != nil || !slices.Equal(got, []hearth.LogEntry{gone}) {
		t.Errorf("stored again are %+v, %v; want none but that of no device", got, err)
	}
	counted(t, s, hearth.Reach{All: true}, 7)
	if got, _, err = s.AppendNewLogs(t.Context(), nil, nil, noEffects); err != nil || len(got) != 0 {
		t.Errorf("of no logs are stored %+v, %v", got, err)
	}
}

// logsNewOnce covers that side effects are those of what was stored, and that a repeated write is one.
func logsNewOnce(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	call := []hearth.LogEntry{entry(d, "a", 1, 0), entry(d, "a", 1, 0)}
	now := time.Now()
	once := func(n int) (hearth.SideEffects, error) {
		return hearth.SideEffects{Idempotency: &hearth.IdempotencyRecord{
			Caller: "c", Key: "k", Fingerprint: "f", Operation: "o", Created: []byte{byte(n)}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}}, nil
	}
	check := &hearth.Checkpoint{ID: "i", Rows: 2}
	_, first, err := s.AppendNewLogs(t.Context(), slices.Clone(call), check, once)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.ImportCheckpoint(t.Context(), "i"); err != nil || c.Rows != 2 {
		t.Errorf("the checkpoint is %+v, %v", c, err)
	}
	_, _, err = s.AppendNewLogs(t.Context(), slices.Clone(call), nil, once)
	replayed, ok := errors.AsType[*hearth.Replayed](err)
	if !ok || !slices.Equal(replayed.Record.Created, []byte{1}) || replayed.Record.FirstLog != first {
		t.Errorf("the repeated write returns %v, %+v; want what the first one created", err, replayed)
	}
	failed := errors.New("no")
	_, _, err = s.AppendNewLogs(t.Context(), []hearth.LogEntry{entry(d, "b", 1, 0)}, nil, func(int) (hearth.SideEffects, error) {
		return hearth.SideEffects{}, failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("side effects that fail return %v", err)
	}
	counted(t, s, hearth.Reach{All: true}, 1)
}

func logsNewConcurrent(t *testing.T, s LogStore) { NewLogsAtOnce(t, s, s) }

// NewLogsAtOnce covers that what several calls at once have in common is stored once, whichever stores of one database they go to.
func NewLogsAtOnce(t *testing.T, stores ...LogStore) {
	t.Helper()
	s := stores[0]
	devices := createDevices(t, s, device(1), device(2), device(3))
	const rounds, workers, size = 15, 6, 20
	total := 0
	for round := range rounds {
		var wg sync.WaitGroup
		stored := make([]int, workers)
		for worker := range workers {
			// Each shares a half with the next.
			var call []hearth.LogEntry
			for i := range size {
				n := worker*size/2 + i
				call = append(call, entry(devices[n%3], "a", float64(n), time.Duration(round)*time.Minute))
			}
			wg.Go(func() {
				got, _, err := stores[worker%len(stores)].AppendNewLogs(context.Background(), call, nil, noEffects)
				if err != nil {
					t.Error(err)
				}
				stored[worker] = len(got)
			})
		}
		wg.Wait()
		for _, n := range stored {
			total += n
		}
	}
	if want := rounds * (workers + 1) * size / 2; total != want {
		t.Errorf("%d logs were stored, want %d", total, want)
	}
	seen := map[hearth.LogEntry]bool{}
	for _, e := range scanned(t, s, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everything}) {
		if e.Seq = 0; seen[e] {
			t.Errorf("%+v is stored twice", e)
		}
		seen[e] = true
	}
	counted(t, s, hearth.Reach{All: true}, int64(total))
}
