package devices

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
)

func TestAConnectionDecidesWhenADeviceIsOffline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, turned := watched(t, dir)
		d := b.create(t, ann, NewDevice{Name: "d", Interval: 10})
		device := hearth.Caller{DeviceID: d.ID}
		connect := func(silence time.Duration) *Connection {
			t.Helper()
			kept, err := b.Connect(t.Context(), device, silence)
			if err != nil {
				t.Fatal(err)
			}
			return kept
		}
		disconnect := func(kept *Connection, leaves bool) {
			t.Helper()
			if err := b.Disconnect(t.Context(), leaves, kept); err != nil {
				t.Fatal(err)
			}
		}
		first := connect(5 * time.Minute)
		time.Sleep(time.Second)
		expect(t, "connected", turned(), "d online")
		time.Sleep(4 * time.Minute)
		b.HeardFrom(first)
		time.Sleep(4 * time.Minute)
		expect(t, "for longer than its intervals", turned())
		disconnect(first, true)
		time.Sleep(time.Second)
		expect(t, "it leaves", turned(), "d offline")

		lost := connect(20 * time.Second)
		b.HeardFrom(lost) // within the second: it does not count twice
		time.Sleep(15 * time.Second)
		disconnect(lost, false)
		expect(t, "connected again, and lost", turned(), "d online")
		time.Sleep(7 * time.Second)
		expect(t, "its silence is over", turned(), "d offline")

		// The end of a connection that another one took over changes nothing.
		old := connect(time.Minute)
		taken := connect(10 * time.Minute)
		disconnect(old, true)
		b.beat(t, ann, d.ID, "")
		time.Sleep(9 * time.Minute)
		expect(t, "taken over", turned(), "d online")
		disconnect(taken, true)
		time.Sleep(time.Second)
		expect(t, "the new one leaves", turned(), "d offline")
		b.beat(t, ann, d.ID, "")
		time.Sleep(time.Second)
		expect(t, "its heartbeats go on", turned(), "d online")
		time.Sleep(31 * time.Second)
		expect(t, "and end", turned(), "d offline")

		// Logs count again as soon as the device has left; those from before it left do not.
		last := connect(time.Minute)
		found, err := b.Resolve(t.Context(), ann, []string{d.ID})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		expect(t, "connected for the last time", turned(), "d online")
		b.Reported(found)
		disconnect(last, true)
		time.Sleep(time.Second)
		expect(t, "a log, and it leaves", turned(), "d offline")
		disconnect(connect(time.Minute), true)
		time.Sleep(100 * time.Millisecond)
		b.Reported(found)
		time.Sleep(time.Second)
		if got, err := b.store.Device(t.Context(), d.ID); err != nil || got.Connection(time.Now()) != hearth.Online {
			t.Errorf("after a log a moment after it left: %+v %v", got, err)
		}
		time.Sleep(30 * time.Second)
		if got, err := b.store.Device(t.Context(), d.ID); err != nil || got.Connection(time.Now()) != hearth.Offline {
			t.Errorf("after three intervals more: %+v %v", got, err)
		}
		b.close()
	})
}

func TestAnErrorOfADeviceIsPublishedWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b, _ := watched(t, dir)
		d := b.create(t, ann, NewDevice{Name: "d"})
		if _, err := b.Devices(t.Context(), ann, Query{}); err != nil {
			t.Fatal(err)
		}
		b.watcher.take()
		failure := hearth.DeviceError{Code: hearth.CodeMalformedBody, Message: "the payload is not JSON", Topic: "t", At: time.Now()}
		if err := b.Failed(t.Context(), d.ID, failure); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if events := b.watcher.take(); !slices.Contains(events, "device-update "+d.ID+" active never") {
			t.Errorf("published %v", events)
		}
		list, err := b.Devices(t.Context(), ann, Query{})
		if err != nil || len(list.Items) != 1 || list.Items[0].LastError == nil || list.Items[0].LastError.Message != failure.Message {
			t.Errorf("the list has %+v, %v", list.Items, err)
		}
		b.close()
	})
}
