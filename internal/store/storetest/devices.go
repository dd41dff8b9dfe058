package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth"
)

// Devices is the suite for hearth.DeviceStore. open returns an empty store; it is called once a test, in parallel.
func Devices(t *testing.T, open func(*testing.T) hearth.DeviceStore) {
	for name, test := range map[string]func(*testing.T, hearth.DeviceStore){
		"gives back what was created":                    devicesRoundTrip,
		"creates all or none":                            devicesAllOrNone,
		"an answered creation creates nothing again":     devicesOnce,
		"an update is one step and counts the version":   devicesUpdate,
		"concurrent updates all count":                   devicesConcurrentUpdates,
		"a refused update or deletion changes nothing":   devicesRefusal,
		"a deleted device is gone with its tokens":       devicesDelete,
		"keys are never used again":                      devicesKeys,
		"a device changes hands with its logs":           devicesTransfer,
		"a refused transfer changes nothing":             devicesTransferRefused,
		"a serial is one device's of its scope":          devicesSerials,
		"of creations with one serial one comes about":   devicesSerialRace,
		"lists in every order, page by page":             devicesOrders,
		"pages hold their place under inserts":           devicesStablePages,
		"filters, each alone and together":               devicesFilters,
		"a search in any script":                         devicesSearch,
		"never crosses scopes":                           devicesScopes,
		"refuses a sort or cursor that it does not know": devicesBadPages,
		"heartbeats move the last sign of life forward":  heartbeatsForward,
		"heartbeats from ahead are put back":             heartbeatsPutBack,
		"a connection decides when a device is offline":  heartbeatsUntil,
		"the latest error stands with the device":        deviceErrors,
		"heartbeats change statuses without a version":   heartbeatsStatus,
		"a silent device becomes idle, a heard one not":  heartbeatsIdle,
		"gives the devices that are online":              heartbeatsOnline,
		"gives devices by key":                           devicesByKey,
		"counts devices, active ones and online ones":    devicesCounts,
		"keeps tokens by their hash":                     tokensRoundTrip,
		"keeps at most 1000 tokens of a device":          tokensBound,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// epoch is the time at which the suite's devices are made.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// device returns a valid device of user u1; n makes ids that ascend.
func device(n int) hearth.Device {
	return hearth.Device{
		ID: fmt.Sprintf("0195a000-0000-7000-8000-%012d", n), Name: fmt.Sprintf("device %d", n), Type: "sensor",
		Status: hearth.StatusActive, Interval: 60, OwnerID: "u1", CreatedAt: epoch, UpdatedAt: epoch,
	}
}

func createDevices(t *testing.T, s hearth.DeviceStore, devices ...hearth.Device) []hearth.Device {
	t.Helper()
	for _, d := range devices {
		if d.OrganizationID != "" {
			ensureOrganization(t, s, d.OrganizationID)
		}
	}
	created, err := s.CreateDevices(t.Context(), devices, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// ensureOrganization makes the organization, which a device can belong to only if it is there.
func ensureOrganization(t *testing.T, s any, id string) {
	t.Helper()
	store, ok := s.(organizations)
	if !ok {
		t.Fatal("the store keeps no organizations")
	}
	if _, err := store.Organization(t.Context(), id); err == nil {
		return
	}
	owner := person(t, store, "owner-of-"+id)
	org := hearth.Organization{ID: id, Name: id, CreatedAt: epoch, UpdatedAt: epoch}
	if err := store.CreateOrganization(t.Context(), org, owner, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func mustDevice(t *testing.T, s hearth.DeviceStore, id string) hearth.Device {
	t.Helper()
	d, err := s.Device(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantCode(t *testing.T, err error, code hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != code {
		t.Errorf("got the code %q (%v), want %q", got, err, code)
	}
}

func sameDevices(t *testing.T, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func devicesRoundTrip(t *testing.T, s hearth.DeviceStore) {
	full := device(1)
	full.Name, full.Tags = "Küche 'x'; --", []string{"b", "a", `"quoted"`}
	full.Metadata, full.OrganizationID = json.RawMessage(`{"a":[1.50,null,{"b":"ü"}]}`), ""
	full.Interval, full.Status, full.LastActiveAt = 5, hearth.StatusError, epoch.Add(time.Second)
	created := createDevices(t, s, full, device(2))
	if created[0].Key <= 0 || created[0].Key == created[1].Key || created[0].Version != 1 {
		t.Errorf("keys %d and %d, version %d", created[0].Key, created[1].Key, created[0].Version)
	}
	full.Key, full.Version = created[0].Key, 1
	sameDevices(t, mustDevice(t, s, full.ID), full)
	some, err := s.DevicesByID(t.Context(), []string{"nothing", device(2).ID, full.ID})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(some, func(a, b hearth.Device) int { return int(a.Key - b.Key) })
	sameDevices(t, some, created)
	_, err = s.Device(t.Context(), "nothing")
	wantCode(t, err, hearth.CodeNotFound)
}

func devicesAllOrNone(t *testing.T, s hearth.DeviceStore) {
	createDevices(t, s, device(5))
	batch := []hearth.Device{device(6), device(7), device(5)}
	_, err := s.CreateDevices(t.Context(), batch, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeConflict)
	_, err = s.Device(t.Context(), batch[0].ID)
	wantCode(t, err, hearth.CodeNotFound)
}

func once(fingerprint string) hearth.SideEffects {
	return hearth.SideEffects{Idempotency: &hearth.IdempotencyRecord{
		Caller: "user:u1", Key: "k", Fingerprint: fingerprint, Operation: "create-device", Created: []byte("first"),
		CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}}
}

func devicesOnce(t *testing.T, s hearth.DeviceStore) {
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{device(1)}, once("a")); err != nil {
		t.Fatal(err)
	}
	_, err := s.CreateDevices(t.Context(), []hearth.Device{device(2)}, once("a"))
	replayed, ok := errors.AsType[*hearth.Replayed](err)
	if !ok || string(replayed.Record.Created) != "first" || replayed.Record.Operation != "create-device" || replayed.Record.FirstLog != 0 {
		t.Errorf("got %v, want what was created first", err)
	}
	_, err = s.CreateDevices(t.Context(), []hearth.Device{device(2)}, once("b"))
	wantCode(t, err, hearth.CodeIdempotencyMismatch)
	_, err = s.Device(t.Context(), device(2).ID)
	wantCode(t, err, hearth.CodeNotFound)
}

func devicesUpdate(t *testing.T, s hearth.DeviceStore) {
	before := createDevices(t, s, device(1))[0]
	want := before
	want.Name, want.Type, want.Status, want.Idle = "new", "lamp", hearth.StatusInactive, true
	want.Tags, want.Metadata, want.Interval = []string{"t"}, json.RawMessage(`{}`), 7
	want.UpdatedAt, want.Version = epoch.Add(time.Minute), 2
	entries := []hearth.AuditEntry{{At: epoch, Action: "device.update"}}
	got, err := s.UpdateDevice(t.Context(), before.ID, func(d hearth.Device) (hearth.Device, error) {
		sameDevices(t, d, before)
		entries[0].Changes = map[string]hearth.Change{"name": {Before: d.Name, After: "new"}}
		changed := want
		changed.Version = d.Version
		return changed, nil
	}, hearth.SideEffects{Audit: entries})
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, got, want)
	sameDevices(t, mustDevice(t, s, before.ID), want)
	cleared, err := s.UpdateDevice(t.Context(), before.ID, func(d hearth.Device) (hearth.Device, error) {
		d.Tags, d.Metadata = nil, nil
		return d, nil
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, mustDevice(t, s, before.ID), cleared)
	if cleared.Metadata != nil || len(cleared.Tags) != 0 || cleared.Version != 3 {
		t.Errorf("cleared fields came back: %+v", cleared)
	}
}

func devicesConcurrentUpdates(t *testing.T, s hearth.DeviceStore) {
	id := createDevices(t, s, device(1))[0].ID
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				_, err := s.UpdateDevice(t.Context(), id, func(d hearth.Device) (hearth.Device, error) {
					d.Interval++
					return d, nil
				}, hearth.SideEffects{})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if d := mustDevice(t, s, id); d.Interval != 60+writers*rounds || d.Version != 1+writers*rounds {
		t.Errorf("interval %d, version %d: an update was lost", d.Interval, d.Version)
	}
}

func devicesRefusal(t *testing.T, s hearth.DeviceStore) {
	before := createDevices(t, s, device(1))[0]
	refusal := hearth.Errorf(hearth.CodeVersionMismatch, "no")
	_, err := s.UpdateDevice(t.Context(), before.ID, func(d hearth.Device) (hearth.Device, error) {
		d.Name = "new"
		return d, refusal
	}, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeVersionMismatch)
	err = s.DeleteDevice(t.Context(), before.ID, func(hearth.Device) error { return refusal }, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeVersionMismatch)
	sameDevices(t, mustDevice(t, s, before.ID), before)
}

func devicesDelete(t *testing.T, s hearth.DeviceStore) {
	d := createDevices(t, s, device(1))[0]
	addToken(t, s, d.ID, "t1")
	var seen hearth.Device
	check := func(d hearth.Device) error { seen = d; return nil }
	if err := s.DeleteDevice(t.Context(), d.ID, check, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	sameDevices(t, seen, d)
	_, err := s.Device(t.Context(), d.ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.DeviceTokenByHash(t.Context(), tokenHash("t1"))
	wantCode(t, err, hearth.CodeNotFound)
	wantCode(t, s.DeleteDevice(t.Context(), d.ID, check, hearth.SideEffects{}), hearth.CodeNotFound)
	_, err = s.UpdateDevice(t.Context(), d.ID, func(d hearth.Device) (hearth.Device, error) { return d, nil }, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeNotFound)
	if err := s.RecordHeartbeats(t.Context(), []hearth.Heartbeat{{DeviceID: d.ID, Key: d.Key, At: epoch}}); err != nil {
		t.Errorf("a heartbeat of a device that is gone: %v", err)
	}
}

func wantSerialTaken(t *testing.T, err error, location string) {
	t.Helper()
	wantCode(t, err, hearth.CodeConflict)
	if e, ok := errors.AsType[*hearth.Error](err); !ok || len(e.Fields) != 1 || e.Fields[0].Location != location {
		t.Errorf("got %v, want that %s is taken", err, location)
	}
}

func withSerial(d hearth.Device, serial string) hearth.Device {
	d.Serial = serial
	return d
}

func setSerial(s hearth.DeviceStore, t *testing.T, id, serial string) error {
	_, err := s.UpdateDevice(t.Context(), id, func(d hearth.Device) (hearth.Device, error) { return withSerial(d, serial), nil }, hearth.SideEffects{})
	return err
}

func devicesSerials(t *testing.T, s hearth.DeviceStore) {
	other, org := withSerial(device(3), "A"), withSerial(device(4), "A")
	other.OwnerID, org.OrganizationID = "u2", "o1"
	first := createDevices(t, s, withSerial(device(1), "A"), device(2), other, org)[0]
	sameDevices(t, mustDevice(t, s, first.ID), first)
	_, err := s.CreateDevices(t.Context(), []hearth.Device{device(5), withSerial(device(6), "A")}, hearth.SideEffects{})
	wantSerialTaken(t, err, "items[1].serial")
	_, err = s.CreateDevices(t.Context(), []hearth.Device{withSerial(device(5), "new"), device(7), withSerial(device(6), "new")}, hearth.SideEffects{})
	wantSerialTaken(t, err, "items[2].serial")
	_, err = s.Device(t.Context(), device(5).ID)
	wantCode(t, err, hearth.CodeNotFound)
	wantSerialTaken(t, setSerial(s, t, device(2).ID, "A"), "serial")
	for _, change := range []struct{ id, serial string }{{first.ID, "a"}, {device(2).ID, "A"}, {first.ID, ""}, {first.ID, "b"}} {
		if err := setSerial(s, t, change.id, change.serial); err != nil {
			t.Fatalf("%s → %q: %v", change.id, change.serial, err)
		}
		if d := mustDevice(t, s, change.id); d.Serial != change.serial {
			t.Errorf("got the serial %q, want %q", d.Serial, change.serial)
		}
	}
	for serial, want := range map[string][]string{"A": {device(2).ID}, "b": {first.ID}, "a": nil} {
		if got := pages(t, s, hearth.DeviceFilter{Reach: mine, Serial: serial}, hearth.Page{}); !slices.Equal(got, want) {
			t.Errorf("serial %s: got %v, want %v", serial, got, want)
		}
	}
	if got := pages(t, s, hearth.DeviceFilter{Reach: hearth.Reach{All: true}, Serial: "A"}, hearth.Page{Sort: "created_at"}); len(got) != 3 {
		t.Errorf("serial A everywhere: got %v", got)
	}
	// A deleted device lets go of its serial.
	remove(t, s, first.ID)
	createDevices(t, s, withSerial(device(8), "b"))
}

func devicesSerialRace(t *testing.T, s hearth.DeviceStore) {
	const callers = 8
	made := make([]error, callers)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			_, made[i] = s.CreateDevices(t.Context(), []hearth.Device{withSerial(device(i), "one")}, hearth.SideEffects{})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range made {
		if err == nil {
			won++
			continue
		}
		wantSerialTaken(t, err, "items[0].serial")
	}
	if won != 1 {
		t.Errorf("%d of %d creations with one serial came about", won, callers)
	}
}

func devicesKeys(t *testing.T, s hearth.DeviceStore) {
	var last int64
	for n := range 5 {
		d := createDevices(t, s, device(n))[0]
		if d.Key <= last {
			t.Errorf("key %d came after %d", d.Key, last)
		}
		last = d.Key
		if err := s.DeleteDevice(t.Context(), d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
}
