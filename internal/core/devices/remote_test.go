package devices

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
)

// relay passes the changes of one service's devices to another, as instances do.
type relay struct {
	to   *Service
	mine *watcher
}

func (r *relay) Publish(events ...hearth.Event) {
	r.mine.Publish(events...)
	for _, e := range events {
		if d, ok := e.Data.(hearth.Device); ok && e.Type == hearth.EventDeviceUpdate && r.to != nil {
			r.to.ChangedRemotely(d.ID, e.Scope, d.LastActiveAt, d.OfflineAt)
		}
	}
}

// Two instances that watch the same devices publish each change once between them.
func TestOneOfTwoInstancesPublishesAConnection(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var turned [2]atomic.Int32
		var all [2]*fixture
		var relays [2]*relay
		for i := range all {
			relays[i] = &relay{}
			all[i] = setup(t, dir, func(o *Options) {
				o.Shared, o.Publisher = true, relays[i]
				o.Leads = func() bool { return i == 0 }
				o.OnConnection = func(context.Context, hearth.Device) { turned[i].Add(1) }
			})
			relays[i].mine = all[i].watcher
		}
		relays[0].to, relays[1].to = all[1].Service, all[0].Service
		for _, b := range all {
			b.Start()
		}
		d := all[0].create(t, ann, NewDevice{Name: "d", Interval: 10})
		expect := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			got := 0
			for i, b := range all {
				got += int(turned[i].Swap(0))
				for _, line := range b.watcher.take() {
					if line == "device-update "+d.ID+" active offline" {
						got += 100
					}
				}
			}
			if got != want {
				t.Errorf("%s: published %d times, want %d (100 for each event of silence)", what, got, want)
			}
		}
		all[1].beat(t, ann, d.ID, "")
		time.Sleep(time.Second)
		expect("heard by one that does not lead", 1)
		all[0].beat(t, ann, d.ID, "")
		time.Sleep(time.Second)
		expect("heard by the other", 0)
		for range 10 { // the leader hears nothing of it for longer than the device may be silent
			time.Sleep(10 * time.Second)
			all[1].beat(t, ann, d.ID, "")
		}
		time.Sleep(time.Second)
		expect("heard by one alone", 0)
		time.Sleep(40 * time.Second)
		expect("silent", 101)
		all[1].beat(t, ann, d.ID, "")
		time.Sleep(time.Second)
		expect("back", 1)
		for _, b := range all {
			b.close()
		}
	})
}

func TestAChangeElsewhereIsReadAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), func(o *Options) { o.Shared = true })
	d := b.create(t, ann, NewDevice{Name: "before"})
	if _, err := b.Resolve(t.Context(), ann, []string{d.ID}); err != nil {
		t.Fatal(err)
	}
	list := func() hearth.List[hearth.Device] {
		t.Helper()
		list, err := b.Devices(t.Context(), ann, Query{})
		if err != nil {
			t.Fatal(err)
		}
		return list.List
	}
	list()
	// As another process would.
	changed, err := b.store.UpdateDevice(t.Context(), d.ID, func(d hearth.Device) (hearth.Device, error) {
		d.Name = "after"
		return d, nil
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	b.ChangedRemotely(d.ID, changed.Scope(), changed.LastActiveAt, changed.OfflineAt)
	if items := list().Items; len(items) != 1 || items[0].Name != "after" {
		t.Errorf("the list has %+v", items)
	}
	found, err := b.Resolve(t.Context(), ann, []string{d.ID})
	if err != nil || found[0] == nil || found[0].Name != "after" {
		t.Errorf("found %+v, %v", found[0], err)
	}
	if err := b.store.DeleteDevice(t.Context(), d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	b.RemovedRemotely(d.ID, changed.Scope())
	if items := list().Items; len(items) != 0 {
		t.Errorf("the list still has %+v", items)
	}
	if found, err := b.Resolve(t.Context(), ann, []string{d.ID}); err != nil || found[0] != nil {
		t.Errorf("still found: %+v, %v", found[0], err)
	}
}
