package mongodb

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"hearth"
	"hearth/internal/testserver"
)

// logsOfDay returns n logs that go through the devices, the hours of some days, and two events.
func logsOfDay(devices []hearth.Device, n int) []hearth.LogEntry {
	entries := make([]hearth.LogEntry, n)
	for i := range entries {
		entries[i] = hearth.LogEntry{
			Device: devices[i%len(devices)].Key, Event: []string{"a", "b"}[i/2%2], Value: hearth.Number(float64(i%7) / 2),
			At: time.Date(2026, 3, 14, 22, 0, 0, 0, time.UTC).Add(time.Duration(i) * 7 * time.Minute).UnixMilli(),
		}
	}
	return entries
}

// sumUp counts all logs in every way that there is, and fails unless all agree; it returns the number.
func sumUp(t testing.TB, s *Store) int64 {
	t.Helper()
	all := hearth.Reach{All: true}
	scanned := int64(0)
	for _, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: all, Span: everSpan}) {
		if err != nil {
			t.Fatal(err)
		}
		scanned++
	}
	groupings := []hearth.Grouping{
		{Sketch: true}, {ByDevice: true}, {ByEvent: true, Step: hearth.StepDay, Sketch: true}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour},
		{Step: hearth.StepMinute}, {ByDevice: true, Sketch: true, Step: hearth.StepDay},
	}
	out, err := s.Rollups(t.Context(), hearth.RollupQuery{Reach: all, Span: everSpan, Groupings: groupings})
	if err != nil {
		t.Fatal(err)
	}
	for i, groups := range out {
		n, inSketch := int64(0), int64(0)
		for _, g := range groups {
			n += g.Count
			if g.Sketch != nil {
				inSketch += g.Sketch.Count()
			}
		}
		if n != scanned || groupings[i].Sketch && inSketch != scanned {
			t.Errorf("grouping %+v has %d logs (%d in sketches), the scan %d", groupings[i], n, inSketch, scanned)
		}
	}
	if n, err := s.CountLogs(t.Context(), all); err != nil || n != scanned {
		t.Errorf("%d logs are counted (%v), the scan has %d", n, err, scanned)
	}
	return scanned
}

// A process loses its connections at one of its commands after the other, of appending, with a checkpoint too, and of folding: before the
// command is done or after it. Another one, on whose clock the first one's time is over, goes on. What was acknowledged is there
// once, what was not is there whole or not at all, and the rollups equal the logs before and after.
func TestACrashBetweenAnyTwoCommandsOfTheLogsIsRepaired(t *testing.T) {
	t.Parallel()
	uri := newDatabase(t)
	through, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	wire := testserver.NewWire(t, through.Host)
	through.Host = wire.Addr()
	var ahead atomic.Int64 // an hour: the first one's time is over; an hour back: its claims are of a clock that was ahead
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	second := openAt(t, Options{URI: uri, Logs: quiet, Clock: clock, Grace: time.Millisecond})
	acknowledged := int64(0)
	for left := 1; ; left += 1 + left/6 { // later ones more and more rarely
		ahead.Store(int64(time.Hour))
		if left%2 == 0 {
			ahead.Store(-int64(time.Hour))
		}
		var mu sync.Mutex
		last, counting := "", 0
		first, err := Open(t.Context(), Options{
			URI: through.String(), Logs: quiet, Grace: time.Millisecond, OperationTimeout: 2 * time.Second,
			commands: &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
				mu.Lock()
				defer mu.Unlock()
				if counting--; counting == 0 {
					last = e.CommandName
					wire.Cut()
				}
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		prefix := fmt.Sprintf("%04d", left)
		var devices []hearth.Device
		for i, owner := range []string{"u1", "u2", "u1", "u3"} {
			devices = append(devices, hearth.Device{
				ID: fmt.Sprint(prefix, "-", i), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: owner,
				CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0),
			})
		}
		if devices, err = first.CreateDevices(t.Context(), devices, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		counting = left
		mu.Unlock()
		n, err := lifeOfLogs(t.Context(), first, devices, prefix)
		mu.Lock()
		crashed := counting <= 0
		counting = 0
		mu.Unlock()
		if err != nil && !crashed {
			t.Fatal(err)
		}
		if crashed {
			wire.Mend()
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		acknowledged += n
		check := func(when string) int64 {
			t.Helper()
			there := sumUp(t, second)
			if extra := there - acknowledged; extra != 0 && (extra != appendedAtOnce || !crashed) {
				t.Fatalf("cut off at command %d, %s: %d logs are there %s, %d were acknowledged", left, last, there, when, acknowledged)
			}
			return there
		}
		acknowledged = check("at once")
		if err := second.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.FoldAll(t.Context()); err != nil {
			t.Fatalf("cut off at command %d, %s: %v", left, last, err)
		}
		acknowledged = check("after the repair")
		if mended, err := second.Reconcile(t.Context(), time.Unix(0, 0)); err != nil || mended != 0 {
			t.Fatalf("cut off at command %d, %s: %d days did not equal the logs, %v", left, last, mended, err)
		}
		if !crashed {
			if left < 30 {
				t.Errorf("only %d commands were seen", left)
			}
			return
		}
	}
}

// appendedAtOnce is how many logs lifeOfLogs appends with each call.
const appendedAtOnce = 9

// lifeOfLogs does what logs go through; n counts those that were acknowledged and are still there.
func lifeOfLogs(ctx context.Context, s *Store, devices []hearth.Device, id string) (n int64, err error) {
	for i := range 2 {
		var checkpoint *hearth.Checkpoint
		if i == 1 {
			checkpoint = &hearth.Checkpoint{ID: id, Rows: 1, Mark: []byte{1}}
		}
		if _, err := s.AppendLogs(ctx, logsOfDay(devices, appendedAtOnce), checkpoint, hearth.SideEffects{}); err != nil {
			return n, err
		}
		n += appendedAtOnce
		if err := s.FoldAll(ctx); err != nil {
			return n, err
		}
	}
	return n, nil
}
