package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"hearth"
)

func beat(t *testing.T, s hearth.DeviceStore, beats ...hearth.Heartbeat) {
	t.Helper()
	if err := s.RecordHeartbeats(t.Context(), beats); err != nil {
		t.Fatal(err)
	}
}

// heartbeatsPutBack: who was heard by a clock that was ahead was heard now, and is heard from then on.
func heartbeatsPutBack(t *testing.T, s hearth.DeviceStore) {
	second := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	made := createDevices(t, s, device(1), device(2), device(3))
	ahead, kept, right := made[0], made[1], made[2]
	beat(t, s, hearth.Heartbeat{Key: ahead.Key, At: second(3600)}, hearth.Heartbeat{Key: right.Key, At: second(5)},
		hearth.Heartbeat{Key: kept.Key, At: second(3600), Until: second(4000)})
	back := []hearth.Heartbeat{{Key: ahead.Key, At: second(10)}, {Key: kept.Key, At: second(10), Until: second(410)}, {Key: right.Key, At: second(10)}, {Key: 999_999, At: epoch}}
	for range 2 {
		if err := s.PutBackHeartbeats(t.Context(), back); err != nil {
			t.Fatal(err)
		}
	}
	want := func(d hearth.Device, last, until time.Time) {
		t.Helper()
		got, err := s.Device(t.Context(), d.ID)
		if err != nil || !got.LastActiveAt.Equal(last) || !got.OfflineAt.Equal(until) {
			t.Errorf("%s: heard %v, online until %v, %v; want %v, %v", d.Name, got.LastActiveAt, got.OfflineAt, err, last, until)
		}
	}
	want(ahead, second(10), time.Time{})
	want(kept, second(10), second(410))
	want(right, second(5), time.Time{})
	beat(t, s, hearth.Heartbeat{Key: ahead.Key, At: second(11)})
	want(ahead, second(11), time.Time{})
}

func heartbeatsForward(t *testing.T, s hearth.DeviceStore) {
	devices := createDevices(t, s, device(1), device(2), device(3))
	a, b, silent := devices[0], devices[1], devices[2]
	beat(t, s,
		hearth.Heartbeat{Key: a.Key, At: epoch.Add(2 * time.Second)},
		hearth.Heartbeat{Key: b.Key, At: epoch.Add(time.Second)},
		hearth.Heartbeat{Key: a.Key, At: epoch.Add(time.Second)},
		hearth.Heartbeat{Key: 999_999, At: epoch},
	)
	beat(t, s, hearth.Heartbeat{Key: b.Key, At: epoch})
	beat(t, s)
	for id, want := range map[string]time.Time{
		a.ID: epoch.Add(2 * time.Second), b.ID: epoch.Add(time.Second), silent.ID: {},
	} {
		if d := mustDevice(t, s, id); !d.LastActiveAt.Equal(want) || d.Version != 1 || d.Status != hearth.StatusActive {
			t.Errorf("%s was last heard %v (version %d, %s), want %v", id, d.LastActiveAt, d.Version, d.Status, want)
		}
	}
}

// heartbeatsUntil: a device that keeps a connection is offline when that says so, whatever its interval.
func heartbeatsUntil(t *testing.T, s hearth.DeviceStore) {
	fast := device(1)
	fast.Interval = 10 // offline after 30 s of silence
	d := createDevices(t, s, fast)[0]
	second := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	online := func(at int, want bool) {
		t.Helper()
		got := mustDevice(t, s, d.ID).Connection(second(at)) == hearth.Online
		listed := 0
		for _, err := range s.OnlineDevices(t.Context(), second(at)) {
			if err != nil {
				t.Fatal(err)
			}
			listed++
		}
		counts, err := s.CountDevices(t.Context(), hearth.Reach{All: true}, second(at))
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: hearth.Reach{All: true}, Connection: hearth.Online, Now: second(at)}, hearth.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if got != want || (listed == 1) != want || (counts.Online == 1) != want || (len(list.Items) == 1) != want {
			t.Errorf("after %d s the device is online: %v, listed %d, counted %d, found %d; want %v", at, got, listed, counts.Online, len(list.Items), want)
		}
	}
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(100), Until: second(300)})
	online(299, true)
	online(300, false)
	// A heartbeat without a connection does not shorten it, one whose silence counts for longer replaces it.
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(110)})
	online(299, true)
	online(300, false)
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(280)})
	online(309, true)
	online(310, false)
	// The end of a connection is at once, also within the same millisecond; an older heartbeat changes nothing of it.
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(400), Until: second(700)})
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(400), Until: second(400)})
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(399)})
	online(399, true)
	online(400, false)
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(401), Until: second(701)}, hearth.Heartbeat{Key: d.Key, At: second(402), Until: second(402)})
	online(402, false)
	beat(t, s, hearth.Heartbeat{Key: d.Key, At: second(403)})
	online(432, true)
	online(433, false)
}

// deviceErrors: the latest thing that could not be stored stands with the device, without a new version.
func deviceErrors(t *testing.T, s hearth.DeviceStore) {
	d := createDevices(t, s, device(1))[0]
	for n := range 2 {
		want := &hearth.DeviceError{Code: hearth.CodeMalformedBody, Message: fmt.Sprintf("no %d \"ü\"", n), Topic: "t/a", At: epoch.Add(time.Duration(n) * time.Millisecond)}
		if err := s.SetDeviceError(t.Context(), d.ID, *want); err != nil {
			t.Fatal(err)
		}
		want.At = want.At.UTC()
		if got := mustDevice(t, s, d.ID); got.Version != 1 || got.LastError == nil || got.LastError.Message != want.Message ||
			got.LastError.Code != want.Code || got.LastError.Topic != want.Topic || !got.LastError.At.Equal(want.At) {
			t.Errorf("the error is %+v of version %d, want %+v", got.LastError, got.Version, want)
		}
	}
	if err := s.SetDeviceError(t.Context(), "nothing", hearth.DeviceError{}); err != nil {
		t.Errorf("the error of a device that is gone: %v", err)
	}
}

func heartbeatsStatus(t *testing.T, s hearth.DeviceStore) {
	first, second := device(1), device(2)
	second.Status, second.Idle = hearth.StatusInactive, true
	devices := createDevices(t, s, first, second)
	status := func(n int, want hearth.DeviceStatus) {
		t.Helper()
		if d := mustDevice(t, s, devices[n].ID); d.Status != want || d.Version != 1 || d.Idle {
			t.Errorf("device %d has the status %s (version %d, idle %v), want %s", n, d.Status, d.Version, d.Idle, want)
		}
	}
	beat(t, s,
		hearth.Heartbeat{Key: devices[0].Key, At: epoch.Add(time.Second), Status: hearth.StatusActive},
		hearth.Heartbeat{Key: devices[0].Key, At: epoch.Add(time.Second), Status: hearth.StatusError},
		hearth.Heartbeat{Key: devices[1].Key, At: epoch.Add(time.Second)},
	)
	status(0, hearth.StatusError)
	status(1, hearth.StatusActive)
	// An owner's own "inactive" is not taken back by a heartbeat, and an old heartbeat still tells its status.
	beat(t, s, hearth.Heartbeat{Key: devices[1].Key, At: epoch.Add(2 * time.Second), Status: hearth.StatusInactive})
	beat(t, s, hearth.Heartbeat{Key: devices[1].Key, At: epoch.Add(3 * time.Second)})
	beat(t, s, hearth.Heartbeat{Key: devices[0].Key, At: epoch, Status: hearth.StatusInactive})
	status(0, hearth.StatusInactive)
	status(1, hearth.StatusInactive)
}

func heartbeatsIdle(t *testing.T, s hearth.DeviceStore) {
	silent := epoch.Add(time.Hour)
	old, heard, young, broken, other := device(1), device(2), device(3), device(4), device(5)
	old.LastActiveAt = silent.Add(-time.Millisecond)
	heard.LastActiveAt = silent
	young.CreatedAt = silent
	broken.Status = hearth.StatusError
	devices := createDevices(t, s, old, heard, young, broken, other)
	var got []string
	for range 3 {
		idled, err := s.IdleDevices(t.Context(), silent, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range idled {
			if d.Status != hearth.StatusInactive || !d.Idle {
				t.Errorf("%s came back %s, idle %v", d.ID, d.Status, d.Idle)
			}
			sameDevices(t, mustDevice(t, s, d.ID), d)
		}
		got = append(got, idsOf(idled)...)
	}
	slices.Sort(got)
	if want := []string{old.ID, other.ID}; !slices.Equal(got, want) {
		t.Errorf("idle are %v, want %v", got, want)
	}
	beat(t, s, hearth.Heartbeat{Key: devices[0].Key, At: silent.Add(time.Minute)})
	if d := mustDevice(t, s, old.ID); d.Status != hearth.StatusActive || d.Idle || d.Version != 1 {
		t.Errorf("after a heartbeat: %s, idle %v, version %d", d.Status, d.Idle, d.Version)
	}
}

func heartbeatsOnline(t *testing.T, s hearth.DeviceStore) {
	now := epoch.Add(time.Hour)
	var batch []hearth.Device
	want := map[string]bool{}
	for n := range 1200 {
		d := device(n)
		d.Interval = 10
		switch n % 3 {
		case 0:
			d.LastActiveAt = now.Add(-30*time.Second + time.Millisecond)
			want[d.ID] = true
		case 1:
			d.LastActiveAt = now.Add(-30 * time.Second)
		}
		batch = append(batch, d)
	}
	createDevices(t, s, batch...)
	for d, err := range s.OnlineDevices(t.Context(), now) {
		if err != nil {
			t.Fatal(err)
		}
		if !want[d.ID] {
			t.Errorf("%s is not online, or came twice", d.ID)
		}
		delete(want, d.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d online devices were left out", len(want))
	}
	for _, err := range s.OnlineDevices(t.Context(), now) {
		if err != nil {
			t.Fatal(err)
		}
		break // stopping early must not be a fault
	}
}

func tokenHash(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

func addToken(t *testing.T, s hearth.DeviceStore, deviceID, name string) hearth.DeviceToken {
	t.Helper()
	token := hearth.DeviceToken{ID: "token " + name, DeviceID: deviceID, Hash: tokenHash(name), CreatedAt: epoch, CreatedBy: "maker of " + name}
	if err := s.CreateDeviceToken(t.Context(), token, anyDevice, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return token
}

func tokensRoundTrip(t *testing.T, s hearth.DeviceStore) {
	devices := createDevices(t, s, device(1), device(2))
	mineID, otherID := devices[0].ID, devices[1].ID
	a, b := addToken(t, s, mineID, "a"), addToken(t, s, mineID, "b")
	addToken(t, s, otherID, "c")
	got, err := s.DeviceTokenByHash(t.Context(), a.Hash)
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, a)
	a.LastUsedAt = epoch.Add(time.Hour)
	if err := s.TouchDeviceToken(t.Context(), a.ID, a.LastUsedAt); err != nil {
		t.Fatal(err)
	}
	if err := s.TouchDeviceToken(t.Context(), "nothing", a.LastUsedAt); err != nil {
		t.Errorf("touching a token that is gone: %v", err)
	}
	list, err := s.DeviceTokens(t.Context(), mineID)
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, list, []hearth.DeviceToken{a, b})

	for maker, want := range map[string][]string{"maker of a": {mineID}, "maker of c": {otherID}, "": nil} {
		if got, err := s.DevicesOfTokens(t.Context(), maker); err != nil || !slices.Equal(got, want) {
			t.Errorf("the devices of the tokens by %q: %v %v", maker, got, err)
		}
	}

	wantCode(t, s.DeleteDeviceToken(t.Context(), otherID, a.ID, hearth.SideEffects{}), hearth.CodeNotFound)
	if err := s.DeleteDeviceToken(t.Context(), mineID, a.ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteDeviceToken(t.Context(), mineID, a.ID, hearth.SideEffects{}), hearth.CodeNotFound)
	_, err = s.DeviceTokenByHash(t.Context(), a.Hash)
	wantCode(t, err, hearth.CodeNotFound)
	wantCode(t, s.CreateDeviceToken(t.Context(), hearth.DeviceToken{ID: "x", DeviceID: "nothing", Hash: tokenHash("x")}, anyDevice, hearth.SideEffects{}), hearth.CodeNotFound)
}

func tokensBound(t *testing.T, s hearth.DeviceStore) {
	id := createDevices(t, s, device(1))[0].ID
	for n := range hearth.MaxDeviceTokens {
		addToken(t, s, id, fmt.Sprint(n))
	}
	err := s.CreateDeviceToken(t.Context(), hearth.DeviceToken{ID: "more", DeviceID: id, Hash: tokenHash("more")}, anyDevice, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeConflict)
}
