package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth"
)

// manyDevices returns devices of user u1 that several writes store, with serials, and their audit entries.
func manyDevices(prefix string) (devices []hearth.Device, effects hearth.SideEffects) {
	for i := range 3*sliceDevices + 1 {
		d := hearth.Device{
			ID: fmt.Sprintf("%s%d", prefix, i), Name: "n", Type: "t", Serial: fmt.Sprint("s", i), Status: hearth.StatusActive, Interval: 1, OwnerID: "u1",
			CreatedAt: time.UnixMilli(int64(i + 1)).UTC(), UpdatedAt: time.UnixMilli(1).UTC(),
		}
		devices = append(devices, d)
		effects.Audit = append(effects.Audit, hearth.AuditEntry{At: d.CreatedAt, Action: "device.create", Target: "device:" + d.ID, Result: "ok"})
	}
	return devices, effects
}

// wantDevices checks how many devices each way of reading sees, how many entries the audit has, and that nothing is unfinished.
func wantDevices(t *testing.T, s *Store, devices, entries int64) {
	t.Helper()
	reach := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1")}}
	for _, reach := range []hearth.Reach{reach, {All: true}} {
		for _, filter := range []hearth.DeviceFilter{{Reach: reach}, {Reach: reach, Type: "t"}} {
			list, err := s.Devices(t.Context(), filter, hearth.Page{Count: true, Limit: 1})
			if err != nil || list.Total != devices || (len(list.Items) == 0) != (devices == 0) {
				t.Errorf("%+v lists %d of %d devices, want %d (%v)", filter, len(list.Items), list.Total, devices, err)
			}
		}
		if counts, err := s.CountDevices(t.Context(), reach, time.Now()); err != nil || counts.Total != devices {
			t.Errorf("there are %+v devices, want %d (%v)", counts, devices, err)
		}
	}
	if head, err := s.AuditHead(t.Context()); err != nil || head.Seq != entries {
		t.Errorf("the audit has %d entries, want %d (%v)", head.Seq, entries, err)
	}
}

// stored returns how many rows there are of devices, whether or not they are seen, of batches and of late writes.
func stored(t *testing.T, s *Store) (all [3]int) {
	t.Helper()
	err := s.read(t.Context(), "", func(r *reader) error {
		return r.row(`SELECT (SELECT count(*) FROM devices), (SELECT count(*) FROM devices_unfinished), (SELECT count(*) FROM late_writes)`).
			Scan(&all[0], &all[1], &all[2])
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// halfStored stores devices but for the last write.
func halfStored(t *testing.T, s *Store, devices []hearth.Device, effects hearth.SideEffects) *deviceBatch {
	t.Helper()
	late, err := lateEffectsOf(t.Context(), effects)
	b := &deviceBatch{s: s, devices: devices, scopes: map[hearth.Scope]int64{}}
	if err == nil {
		err = b.begin(t.Context(), nil)
	}
	if err == nil {
		err = b.store(t.Context(), 0, len(devices), late)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestManyDevicesAreSeenAllOrNone(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	devices, effects := manyDevices("a")
	n := int64(len(devices))
	b := halfStored(t, s, devices, effects)
	wantDevices(t, s, 0, 0)
	if _, err := s.Device(t.Context(), devices[0].ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a device of an unfinished batch is read: %v", err)
	}
	if some, err := s.DevicesByKey(t.Context(), []int64{b.first}); err != nil || len(some) != 0 {
		t.Errorf("read by key: %v, %v", some, err)
	}
	// Others go on, and get other keys. Who wants a serial of these is told to come again.
	other := hearth.Device{ID: "one", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u1", CreatedAt: time.UnixMilli(1).UTC()}
	made, err := s.CreateDevices(t.Context(), []hearth.Device{other}, hearth.SideEffects{})
	if err != nil || made[0].Key < b.first+n {
		t.Fatalf("another device has the key %d, the unfinished ones those up to %d (%v)", made[0].Key, b.first+n-1, err)
	}
	other.ID, other.Serial = "other", devices[0].Serial
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{other}, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("a serial of an unfinished batch: %v", err)
	}
	if err := b.finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantDevices(t, s, n+1, 0)
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{other}, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a serial of a finished batch: %v", err)
	}
	// What the batch left to be written is written by whoever comes next: here by the start of an archive, which has to have it.
	for _, err := range s.Archive(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	wantDevices(t, s, n+1, n)
	if all := stored(t, s); all != [3]int{int(n) + 1, 0, 0} {
		t.Errorf("devices, batches, late writes: %v", all)
	}
}

func TestManyDevicesAreStoredByManyWrites(t *testing.T) {
	t.Parallel()
	s, w := openWitnessed(t)
	devices, effects := manyDevices("a")
	effects.Jobs = []hearth.OutboxJob{{ID: "j", Kind: "k", Queue: "q", Payload: []byte(`{}`)}}
	effects.Idempotency = &hearth.IdempotencyRecord{Caller: "user:u1", Key: "k", Operation: "create-devices", CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	var wg sync.WaitGroup
	var replays, creations int
	var mu sync.Mutex
	for range 8 {
		wg.Go(func() {
			made, err := s.CreateDevices(context.WithoutCancel(t.Context()), devices, effects)
			mu.Lock()
			defer mu.Unlock()
			switch _, replayed := errors.AsType[*hearth.Replayed](err); {
			case replayed:
				replays++
			case err == nil && len(made) == len(devices) && made[0].Key > 0 && made[0].Version == 1:
				creations++
			default:
				t.Errorf("%d devices, %v", len(made), err)
			}
		})
	}
	wg.Wait()
	if creations != 1 || replays != 7 {
		t.Errorf("%d created, %d were answered with the first", creations, replays)
	}
	wantDevices(t, s, int64(len(devices)), int64(len(devices)))
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
	if w.ended["StoreDevices"] < 4 || w.ended["WriteLateEffects"] < 4 {
		t.Errorf("the writes were %v", w.ended)
	}
}

func TestManyDevicesThatAreRefusedLeaveNothing(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	devices, effects := manyDevices("a")
	last := len(devices) - 1
	for place, refused := range map[string]func(d *hearth.Device){
		fmt.Sprintf("items[%d].serial", last): func(d *hearth.Device) { d.Serial = devices[0].Serial },
		"":                                    func(d *hearth.Device) { d.ID = devices[0].ID },
	} {
		before := devices[last]
		refused(&devices[last])
		_, err := s.CreateDevices(t.Context(), devices, effects)
		problem, ok := errors.AsType[*hearth.Error](err)
		if !ok || problem.Code != hearth.CodeConflict || place != "" && (len(problem.Fields) != 1 || problem.Fields[0].Location != place) {
			t.Errorf("refused with %v, want a conflict at %q", err, place)
		}
		wantDevices(t, s, 0, 0)
		if all := stored(t, s); all != [3]int{} {
			t.Errorf("devices, batches, late writes that are left: %v", all)
		}
		devices[last] = before
	}
	if _, err := s.CreateDevices(t.Context(), devices, effects); err != nil {
		t.Error(err)
	}
}

// What a process left that ended while it stored devices is never seen, and keeps no serial.
func TestUnfinishedDevicesAreRemoved(t *testing.T) {
	t.Parallel()
	now := time.Now()
	path := newFile(t)
	open := func() *Store {
		s, err := Open(t.Context(), Options{Path: path, Clock: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	devices, effects := manyDevices("a")
	b := halfStored(t, s, devices, effects)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	b.s = s
	if all := stored(t, s); all[0] != len(devices) || all[1] != 1 {
		t.Errorf("a batch that may still be finished: devices, batches, late writes: %v", all)
	}
	now = now.Add(staleAfter + time.Second)
	// A serial is free at once, the rest is removed by whoever creates many devices next, or by the start.
	one := devices[0]
	one.ID = "one"
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{one}, hearth.SideEffects{}); err != nil {
		t.Errorf("a serial that a crash has left: %v", err)
	}
	if err := b.finish(t.Context(), nil); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("a batch of which a serial was given away is finished: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	if all := stored(t, s); all != [3]int{1, 0, 0} {
		t.Errorf("devices, batches, late writes after another start: %v", all)
	}
	wantDevices(t, s, 1, 0)
}
