package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

func TestReadsOfASnapshotSeeOneMomentWhateverIsWritten(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Logs: tiny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	devices := 0
	write := func() {
		t.Helper()
		devices++
		id := fmt.Sprint("device", devices)
		made, err := s.CreateDevices(t.Context(), []hearth.Device{{
			ID: id, Name: id, Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: time.Now(), UpdatedAt: time.Now(),
		}}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			entry := hearth.LogEntry{Device: made[0].Key, Event: fmt.Sprint("e", devices), Value: hearth.Number(1), At: int64(i)}
			if _, err := s.AppendLogs(t.Context(), []hearth.LogEntry{entry}, nil, hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.FoldLogs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look := func(ctx context.Context) string {
		t.Helper()
		all, ever := hearth.Reach{All: true}, hearth.Export{}.Span()
		list, err := s.Devices(ctx, hearth.DeviceFilter{Reach: all}, hearth.Page{Count: true})
		if err != nil {
			t.Fatal(err)
		}
		rollups, err := s.Rollups(ctx, hearth.RollupQuery{Reach: all, Span: ever, Groupings: []hearth.Grouping{{ByEvent: true}}})
		if err != nil {
			t.Fatal(err)
		}
		var logs int64
		for _, r := range rollups[0] {
			logs += r.Count
		}
		count, err := s.CountLogs(ctx, all)
		if err != nil {
			t.Fatal(err)
		}
		scanned := 0
		for _, err := range s.ScanLogs(ctx, hearth.LogScan{Reach: all, Span: ever}) {
			if err != nil {
				t.Fatal(err)
			}
			scanned++
		}
		return fmt.Sprint(list.Total, logs, count, scanned)
	}
	write()
	failure := errors.New("the function's own")
	err = s.Snapshot(t.Context(), func(ctx context.Context) error {
		for range 3 {
			write()
			if got := look(ctx); got != "1 30 30 30" {
				t.Errorf("after %d devices were written the snapshot has %s", devices, got)
			}
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("the error is %v", err)
	}
	if got := look(t.Context()); got != "4 120 120 120" {
		t.Errorf("outside there are %s", got)
	}
}
