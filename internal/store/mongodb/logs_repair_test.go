package mongodb

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/tsdb"
)

// A store is stopped before each step of making days anew, which takes a deleted device out of them and packs their logs.
func TestACrashWhileDaysAreMadeAnewIsRepaired(t *testing.T) {
	t.Parallel()
	uri := newDatabase(t)
	later := func() time.Time { return time.Now().Add(time.Hour + time.Minute) }
	second := openAt(t, Options{URI: uri, Logs: quiet, Clock: later, Grace: time.Millisecond})
	devices := makeDevices(t, second, "u1", "u2", "u1", "u2", "u1", "u1", "u1", "u1", "u1", "u1")
	for range 3 {
		if _, err := second.AppendLogs(t.Context(), logsOfDay(devices, 40), nil, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		if err := second.logs.foldAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := int64(120)
	for left := 0; ; left++ {
		// Each lives so much later that it need not wait for the one before it, whose step it ends.
		shift := time.Duration(left+1) * 2 * leaseTime
		first := openAt(t, Options{URI: uri, Logs: quiet, Grace: time.Millisecond, Clock: func() time.Time { return time.Now().Add(shift) }})
		if left < len(devices)-1 {
			if err := first.DeleteDevice(t.Context(), devices[left].ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
			want -= 12
		}
		c := &crasher{left: left}
		first.crash = c.at
		var err error
		for more := true; more && err == nil; {
			more, err = first.Reclaim(t.Context())
		}
		first.crash = nil
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if n := sumUp(t, second); n != want {
			t.Fatalf("stopped at %v: %d logs are there, want %d", c.steps[len(c.steps)-1:], n, want)
		}
		if left%2 == 0 {
			continue // the next one meets what two left behind
		}
		for more := true; more; {
			if more, err = second.Reclaim(t.Context()); err != nil {
				t.Fatalf("stopped at %v: %v", c.steps[len(c.steps)-1:], err)
			}
		}
		if mended, err := second.ReconcileRollups(t.Context(), time.Unix(0, 0)); err != nil || mended != 0 {
			t.Fatalf("stopped at %v: %d days did not equal the logs, %v", c.steps[len(c.steps)-1:], mended, err)
		}
		if n := sumUp(t, second); n != want {
			t.Fatalf("stopped at %v: %d logs after the repair, want %d", c.steps[len(c.steps)-1:], n, want)
		}
		if left >= len(devices)-1 {
			return
		}
	}
}

func TestReconcilingMendsDamagedRollups(t *testing.T) {
	t.Parallel()
	s := openAt(t, Options{URI: newDatabase(t), Logs: quiet})
	devices := makeDevices(t, s, "u1", "u2", "u1")
	if _, err := s.AppendLogs(t.Context(), logsOfDay(devices, 200), nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := s.logs.foldAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	sumUp(t, s)
	block := func(i int) int64 {
		homes, err := s.logs.homesOf(t.Context(), map[int64]bool{devices[i].Key: true})
		if err != nil {
			t.Fatal(err)
		}
		return blockOf(homes[devices[i].Key], devices[i].Key)
	}
	day := tsdb.BucketOf(tsdb.LevelDay, time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC).UnixMilli())
	sum := func(i, level int) bson.M { return bson.M{"block": block(i), "level": level} }
	damage := map[string]func() error{
		"a day counts more": func() error {
			_, err := s.logs.sums.UpdateMany(t.Context(), sum(0, tsdb.LevelDay), bson.M{"$inc": bson.M{"now.n": 5}})
			return err
		},
		"an hour is gone": func() error {
			_, err := s.logs.sums.DeleteOne(t.Context(), sum(1, tsdb.LevelHour))
			return err
		},
		"a month is gone": func() error {
			_, err := s.logs.sums.DeleteOne(t.Context(), sum(1, tsdb.LevelMonth))
			return err
		},
		"a sum is cut off": func() error {
			_, err := s.logs.sums.UpdateMany(t.Context(), sum(0, tsdb.LevelHour), bson.M{"$set": bson.M{"now.totals": []byte{1}}})
			return err
		},
		"days of devices are gone": func() error {
			_, err := s.logs.days.DeleteMany(t.Context(), bson.M{"day": day})
			return err
		},
	}
	for name, do := range damage {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if mended, err := s.ReconcileRollups(t.Context(), time.Unix(0, 0)); err != nil || mended == 0 {
			t.Errorf("%s: %d days were mended, %v", name, mended, err)
		}
		if n := sumUp(t, s); n != 200 {
			t.Errorf("%s: %d logs after mending, want 200", name, n)
		}
		if mended, err := s.ReconcileRollups(t.Context(), time.Unix(0, 0)); err != nil || mended != 0 {
			t.Errorf("%s: %d days were mended again, %v", name, mended, err)
		}
	}
}
