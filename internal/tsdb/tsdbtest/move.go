package tsdbtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// engineMoves moves a device about while another process believes it where it was.
func engineMoves(t *testing.T, p *processes) {
	ctx, db := t.Context(), p.all[0]
	now := noon
	engines := make([]*tsdb.Engine, 2)
	for i := range engines {
		var err error
		engines[i], err = tsdb.New(p.all[i%len(p.all)].Backend, quiet(4, func() time.Time { return now }))
		must(t, err)
	}
	device, err := db.AddDevice(ctx, scopes[0])
	must(t, err)
	neighbour, err := db.AddDevice(ctx, scopes[0])
	must(t, err)
	stored := map[int64]int{}
	appendLogs := func(e *tsdb.Engine, device int64) {
		t.Helper()
		var entries []hearth.LogEntry
		for i := range 40 {
			entries = append(entries, hearth.LogEntry{Device: device, Event: "e", Value: hearth.Number(float64(i)), At: noon.AddDate(0, 0, i%7).UnixMilli()})
		}
		_, err := e.AppendLogs(ctx, entries, nil, hearth.SideEffects{})
		must(t, err)
		stored[device] += len(entries)
	}
	// check holds that the device's logs are all in one scope, whoever asks, and the neighbour's where they were.
	check := func(where hearth.Scope, missing int) {
		t.Helper()
		for _, e := range engines {
			countedInEveryWay(t, e)
			for _, scope := range scopes {
				want := map[int64]int{}
				if scope == where {
					want[device] = stored[device] - missing
				}
				if scope == scopes[0] {
					want[neighbour] = stored[neighbour]
				}
				got := map[int64]int{}
				numbers := map[uint64]bool{}
				for _, entry := range scanned(t, e, hearth.LogScan{Reach: hearth.Reach{Scopes: []hearth.Scope{scope}}, Span: everything}) {
					got[entry.Device]++
					numbers[entry.Seq] = true
				}
				if got[device] != want[device] || got[neighbour] != want[neighbour] || len(numbers) != got[device]+got[neighbour] {
					t.Errorf("scope %s has %v, want %v", scope, got, want)
				}
			}
			page, err := e.Logs(ctx, hearth.LogQuery{Device: device, Span: everything, Limit: 10_000})
			must(t, err)
			if len(page) != stored[device]-missing {
				t.Errorf("the device has %d logs, want %d", len(page), stored[device]-missing)
			}
		}
	}
	reclaim := func() {
		t.Helper()
		for more := true; more; {
			var err error
			more, err = engines[1].Reclaim(ctx)
			must(t, err)
		}
	}
	appendLogs(engines[0], device)
	appendLogs(engines[1], neighbour)
	appendLogs(engines[1], device)
	must(t, engines[0].FoldAll(ctx))
	appendLogs(engines[1], device)
	must(t, db.MoveDevice(ctx, engines[0], device, scopes[1]))
	deleted, err := engines[0].DeleteLogs(ctx, hearth.LogDeletion{Device: device, Span: everything})
	must(t, err)
	if int(deleted) != stored[device] {
		t.Errorf("%d logs were deleted, want %d", deleted, stored[device])
	}
	stored[device] = 0
	reclaim()
	check(scopes[1], 0)
	must(t, db.MoveDevice(ctx, engines[0], device, scopes[0]))
	engines[1].Forget(device)
	appendLogs(engines[1], device)
	for i, to := range []hearth.Scope{scopes[1], scopes[0], scopes[1]} {
		must(t, db.MoveDevice(ctx, engines[0], device, to))
		check(to, 0)
		if i == 1 {
			reclaim()
			check(to, 0)
		}
	}
	reclaim()
	check(scopes[1], 0)

	// A process that has not heard of it stores a log where the device was: it is found there.
	from := scopes[1]
	_, err = engines[1].Logs(ctx, hearth.LogQuery{Device: device, Span: everything, Limit: 1})
	must(t, err)
	must(t, db.MoveDevice(ctx, engines[0], device, scopes[0]))
	appendLogs(engines[1], device)
	reclaim()
	check(scopes[0], 0)
	now = now.Add(time.Hour)
	reclaim()
	check(scopes[0], 0)
	for _, e := range engines {
		mended, err := e.Reconcile(ctx, noon.AddDate(0, 0, -1))
		must(t, err)
		if mended != 0 {
			t.Errorf("%d days were wrong", mended)
		}
	}
	for _, scope := range []hearth.Scope{from} {
		keys, err := p.all[0].Backend.ScopeKeys(ctx, []hearth.Scope{scope})
		must(t, err)
		if left := chunksOf(t, p.all[0].Backend, keys[scope]); len(left) > 0 {
			t.Errorf("%d chunks stay in %s", len(left), scope)
		}
	}
	must(t, db.DeleteDevice(context.WithoutCancel(ctx), device))
	for _, e := range engines {
		e.Forget(device)
	}
	stored[device] = 0
	reclaim()
	check(scopes[0], 0)
}

func chunksOf(t *testing.T, b tsdb.Backend, scope int64) (keys []tsdb.Key) {
	t.Helper()
	must(t, b.View(t.Context(), tsdb.ViewOptions{Operation: "Test", Scopes: []int64{scope}}, func(s tsdb.Snapshot) error {
		query := tsdb.Query{Table: tsdb.Chunks, Scopes: []int64{scope}, Major: tsdb.Everything, Minor: tsdb.Everything}
		return s.Find(t.Context(), query, func(d *tsdb.Doc) error {
			keys = append(keys, d.Key)
			return nil
		})
	}))
	return slices.Clip(keys)
}
