package devices

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
)

// watched returns a started service in a bubble of its own time. turned returns the changes of connection.
func watched(t *testing.T, dir string) (b *fixture, turned func() []string) {
	var mu sync.Mutex
	var changes []string
	b = setup(t, dir, func(o *Options) {
		o.OnConnection = func(_ context.Context, d hearth.Device) {
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, fmt.Sprintf("%s %s", d.Name, d.Connection(time.Now())))
		}
	})
	b.Start()
	synctest.Wait()
	return b, func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		out := changes
		changes = nil
		slices.Sort(out)
		return out
	}
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: turned %q, want %q", what, got, want)
	}
}

func TestADeviceGoesOfflineAfterThreeSilentIntervals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, turned := watched(t, dir)
		slow := b.create(t, ann, NewDevice{Name: "slow", Interval: 60})
		quick := b.create(t, ann, NewDevice{Name: "quick", Interval: 10})
		b.beat(t, ann, slow.ID, "")
		b.beat(t, ann, quick.ID, "")
		time.Sleep(time.Second)
		expect(t, "after the first heartbeats", turned(), "quick online", "slow online")
		time.Sleep(28 * time.Second) // 29 s
		expect(t, "before three intervals", turned())
		b.beat(t, ann, quick.ID, "")
		time.Sleep(29 * time.Second) // 58 s: 29 s after quick's second
		expect(t, "a heartbeat puts it off", turned())
		time.Sleep(3 * time.Second)
		expect(t, "exact to two seconds", turned(), "quick offline")
		b.beat(t, ann, quick.ID, "")
		time.Sleep(time.Second)
		expect(t, "back again", turned(), "quick online")
		b.watcher.take()
		if _, err := b.Update(t.Context(), ann, slow.ID, Change{Interval: ptr(22)}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // 67 s: 66 s of silence
		expect(t, "a shorter interval counts at once", turned(), "slow offline")
		events := b.watcher.take()
		if want := "device-update " + slow.ID + " active offline"; !slices.Contains(events, want) {
			t.Errorf("published %v, want %s", events, want)
		}
		if err := b.Delete(t.Context(), ann, quick.ID, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		expect(t, "a deleted device", turned())
		b.close()
	})
}

// A clock that was an hour ahead is put right: a device that is silent since is offline after its three intervals, one that goes on is online.
func TestAClockThatWasAheadIsPutRight(t *testing.T) {
	t.Parallel()
	for name, restarted := range map[string]bool{"while the program runs": false, "while it is stopped": true} {
		dir := t.TempDir()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ahead atomic.Int64
				start := func() *fixture {
					b := setup(t, dir, func(o *Options) {
						o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
					})
					b.Start()
					return b
				}
				ahead.Store(int64(time.Hour))
				b := start()
				quiet := b.create(t, ann, NewDevice{Name: "quiet", Interval: 10})
				steady := b.create(t, ann, NewDevice{Name: "steady", Interval: 10})
				b.beat(t, ann, quiet.ID, "")
				b.beat(t, ann, steady.ID, "")
				time.Sleep(5 * time.Second)
				if restarted {
					b.close()
				}
				ahead.Store(0)
				if restarted {
					b = start()
				}
				for range 8 {
					time.Sleep(5 * time.Second)
					b.beat(t, ann, steady.ID, "")
				}
				synctest.Wait()
				for _, want := range []struct {
					device     hearth.Device
					connection hearth.Connection
				}{{quiet, hearth.Offline}, {steady, hearth.Online}} {
					d, err := b.Device(t.Context(), ann, want.device.ID)
					if err != nil || d.Connection(time.Now()) != want.connection || d.LastActiveAt.After(time.Now()) {
						t.Errorf("%s is %s, heard at %v, %v; want %s", d.Name, d.Connection(time.Now()), d.LastActiveAt, err, want.connection)
					}
				}
				if n, err := b.store.CountDevices(t.Context(), hearth.Reach{All: true}, time.Now()); err != nil || n.Online != 1 {
					t.Errorf("%d devices are online, %v; want 1", n.Online, err)
				}
				b.close()
			})
		})
	}
}

func TestARestartGoesOnWatching(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, turned := watched(t, dir)
		d := b.create(t, ann, NewDevice{Name: "d", Interval: 10})
		b.beat(t, ann, d.ID, "")
		time.Sleep(time.Second)
		expect(t, "at first", turned(), "d online")
		b.close()
		b, turned = watched(t, dir)
		time.Sleep(28 * time.Second)
		expect(t, "still online", turned())
		time.Sleep(3 * time.Second)
		expect(t, "silent since before the restart", turned(), "d offline")
		b.close()
	})
}

func TestAHeartbeatElsewhereKeepsADeviceOnline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, turned := watched(t, dir)
		d := b.create(t, ann, NewDevice{Name: "d", Interval: 10})
		b.beat(t, ann, d.ID, "")
		time.Sleep(20 * time.Second)
		turned()
		// As another process would.
		if err := b.store.RecordHeartbeats(t.Context(), []hearth.Heartbeat{{Key: d.Key, At: time.Now()}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(29 * time.Second)
		expect(t, "heard by another", turned())
		time.Sleep(3 * time.Second)
		expect(t, "silent everywhere", turned(), "d offline")
		b.close()
	})
}

func TestAStatusIsWhatWasToldLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := watched(t, dir)
		d := b.create(t, ann, NewDevice{})
		if answer := b.beat(t, ann, d.ID, hearth.StatusError); answer.Status != hearth.StatusError || answer.Connection != hearth.Online || !answer.At.Equal(hearth.Millis(time.Now())) {
			t.Errorf("answered %+v", answer)
		}
		if answer := b.beat(t, ann, d.ID, ""); answer.Status != hearth.StatusError {
			t.Errorf("a heartbeat without a status answered %s", answer.Status)
		}
		_, err := b.Heartbeat(t.Context(), ann, d.ID, "broken")
		wantCode(t, err, hearth.CodeValidationFailed)
		if _, err := b.Update(t.Context(), ann, d.ID, Change{Status: ptr(hearth.StatusActive)}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(23 * time.Hour)
		if n, err := b.Deactivate(t.Context()); n != 0 || err != nil {
			t.Errorf("%d devices idle after 23 h (%v)", n, err)
		}
		b.watcher.take()
		time.Sleep(time.Hour + time.Minute)
		if n, err := b.Deactivate(t.Context()); n != 1 || err != nil {
			t.Errorf("%d devices idle after 24 h (%v)", n, err)
		}
		expect(t, "idle", b.watcher.take(), "device-update "+d.ID+" inactive offline")
		if answer := b.beat(t, ann, d.ID, ""); answer.Status != hearth.StatusActive {
			t.Errorf("a heartbeat of an idle device answered %s", answer.Status)
		}
		time.Sleep(time.Second)
		expect(t, "awake", b.watcher.take(), "device-heartbeat "+d.ID, "device-update "+d.ID+" active online")
		b.close()
	})
}

func TestAListShowsHeartbeatsAndChangesAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := watched(t, dir)
		first := b.create(t, ann, NewDevice{Name: "first"})
		one := func(query Query) hearth.Device {
			t.Helper()
			list, err := b.Devices(t.Context(), ann, query)
			if err != nil || len(list.Items) == 0 {
				t.Fatalf("%d devices (%v)", len(list.Items), err)
			}
			return list.Items[0]
		}
		byName := Query{Page: hearth.Page{Sort: "name"}}
		if d := one(byName); d.Name != "first" || !d.LastActiveAt.IsZero() {
			t.Errorf("got %+v", d)
		}
		kept := b.lists.pages.Len()
		b.beat(t, ann, first.ID, hearth.StatusError)
		if d := one(byName); d.Status != hearth.StatusError || d.Connection(time.Now()) != hearth.Online {
			t.Errorf("after a heartbeat: %s, %s", d.Status, d.Connection(time.Now()))
		}
		if b.lists.pages.Len() != kept || b.lists.every != 1 {
			t.Error("a heartbeat ended a kept page")
		}
		if _, err := b.Update(t.Context(), ann, first.ID, Change{Name: ptr("b")}, nil); err != nil {
			t.Fatal(err)
		}
		if d := one(byName); d.Name != "b" || d.Status != hearth.StatusError {
			t.Errorf("after a change: %+v", d)
		}
		b.create(t, ann, NewDevice{Name: "a"})
		if d := one(byName); d.Name != "a" {
			t.Errorf("after a creation the first is %s", d.Name)
		}
		b.create(t, bob, NewDevice{Name: "0"})
		if d := one(byName); d.Name != "a" {
			t.Errorf("another's device %s is listed", d.Name)
		}
		if _, err := b.Devices(t.Context(), ann, Query{OrganizationID: "o1"}); hearth.ErrorCode(err) != hearth.CodeNotFound {
			t.Errorf("a strange organization: %v", err)
		}
		b.close()
	})
}
