package mongodb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth"
)

// quiet folds only when a test says so.
var quiet = LogOptions{FoldRows: 1 << 20, FoldAge: time.Hour, ChunkRows: 4} // never written to

func makeDevices(t testing.TB, s *Store, owners ...string) []hearth.Device {
	t.Helper()
	var devices []hearth.Device
	for i, owner := range owners {
		devices = append(devices, hearth.Device{
			ID: fmt.Sprintf("0195a000-0000-7000-8000-%012d", i), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60,
			OwnerID: owner, CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0),
		})
	}
	devices, err := s.CreateDevices(t.Context(), devices, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

// logsOfDay returns n logs that go through the devices, the hours of some days, and two events.
func logsOfDay(devices []hearth.Device, n int) []hearth.LogEntry {
	entries := make([]hearth.LogEntry, n)
	for i := range entries {
		entries[i] = hearth.LogEntry{
			Device: devices[i%len(devices)].Key, Event: []string{"a", "b"}[i/2%2], Value: float64(i%7) / 2,
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
	for _, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: all, Span: everSpan()}) {
		if err != nil {
			t.Fatal(err)
		}
		scanned++
	}
	groupings := []hearth.Grouping{
		{Sketch: true}, {ByDevice: true}, {ByEvent: true, Step: hearth.StepDay, Sketch: true}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour},
		{Step: hearth.StepMinute}, {ByDevice: true, Sketch: true, Step: hearth.StepDay},
	}
	out, err := s.Rollups(t.Context(), hearth.RollupQuery{Reach: all, Span: everSpan(), Groupings: groupings})
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

// crasher lets a store go on until the step of that number, and no further.
type crasher struct {
	mu    sync.Mutex
	left  int
	steps []string
}

func (c *crasher) at(step string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, step)
	if c.left--; c.left < 0 {
		return errCrash
	}
	return nil
}

// A store is stopped before each of its steps in turn, of appending, with a checkpoint too, and of folding; another one, on whose clock the first one's time is over, goes on. What was acknowledged is there
// once, what was not is there whole or not at all, and the rollups equal the logs before and after.
func TestACrashBetweenAnyTwoStepsOfTheLogsIsRepaired(t *testing.T) {
	t.Parallel()
	uri := newDatabase(t)
	later := func() time.Time { return time.Now().Add(time.Hour) }
	second := openAt(t, Options{URI: uri, Logs: quiet, Clock: later, Grace: time.Millisecond})
	owners := []string{"u1", "u2", "u1", "u3"}
	acknowledged := int64(0)
	for left := 0; ; left++ {
		first := openAt(t, Options{URI: uri, Logs: quiet, Grace: time.Millisecond})
		prefix := fmt.Sprintf("%04d", left)
		var devices []hearth.Device
		for i, owner := range owners {
			devices = append(devices, hearth.Device{
				ID: fmt.Sprint(prefix, "-", i), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: owner,
				CreatedAt: time.Unix(0, 0), UpdatedAt: time.Unix(0, 0),
			})
		}
		devices, err := first.CreateDevices(t.Context(), devices, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		c := &crasher{left: left}
		first.crash = c.at
		n, err := lifeOfLogs(t.Context(), first, devices, prefix)
		first.crash = nil
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		crashed := err != nil
		acknowledged += n
		before := sumUp(t, second)
		if before < acknowledged {
			t.Fatalf("stopped at %v: %d logs were acknowledged, %d are there", c.steps[len(c.steps)-1:], acknowledged, before)
		}
		if extra := before - acknowledged; extra != 0 && extra != appendedAtOnce {
			t.Fatalf("stopped at %v: %d logs are there, %d were acknowledged: a part of a batch", c.steps[len(c.steps)-1:], before, acknowledged)
		}
		acknowledged = before
		if err := second.repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.logs.foldAll(t.Context()); err != nil {
			t.Fatalf("stopped at %v: %v", c.steps[len(c.steps)-1:], err)
		}
		repaired := sumUp(t, second)
		if extra := repaired - acknowledged; extra != 0 && extra != appendedAtOnce {
			t.Fatalf("stopped at %v: %d logs after the repair, %d before", c.steps[len(c.steps)-1:], repaired, acknowledged)
		}
		acknowledged = repaired
		if mended, err := second.ReconcileRollups(t.Context(), time.Unix(0, 0)); err != nil || mended != 0 {
			t.Fatalf("stopped at %v: %d days did not equal the logs, %v", c.steps[len(c.steps)-1:], mended, err)
		}
		if !crashed {
			if len(c.steps) < 15 {
				t.Errorf("only the steps %v were seen", c.steps)
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
		if err := s.logs.foldAll(ctx); err != nil {
			return n, err
		}
	}
	return n, nil
}
