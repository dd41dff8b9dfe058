package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/jsonobject"
)

// TwinStore is what the suite of twins is about.
type TwinStore interface {
	hearth.TwinStore
	hearth.DeviceStore
	Audit(ctx context.Context, filter hearth.AuditFilter, page hearth.Page) (hearth.List[hearth.AuditEntry], error)
}

// Twins is the suite for twins. open returns an empty store; it is called once a test, in parallel.
func Twins(t *testing.T, open func(t *testing.T) TwinStore) {
	for name, test := range map[string]func(*testing.T, TwinStore){
		"returns what was stored":                          twinRoundTrip,
		"a device without a twin has an empty one":         twinEmpty,
		"a refused change and one of nothing write it not": twinUnchanged,
		"the desired version stands with the device":       twinDesiredVersion,
		"audit entries come with the change":               twinAudit,
		"each update of a step has its own result":         twinTogether,
		"goes with its device":                             twinDeletion,
		"patches from many sides lose nothing":             twinRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func twinDevice(t *testing.T, s TwinStore, n int) hearth.Device {
	t.Helper()
	created, err := s.CreateDevices(t.Context(), []hearth.Device{device(n)}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return created[0]
}

// updateTwin is UpdateTwins of one.
func updateTwin(t *testing.T, s TwinStore, id string, change func(hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error)) (hearth.Twin, error) {
	t.Helper()
	u := &hearth.TwinUpdate{DeviceID: id, Change: change}
	err := s.UpdateTwins(context.WithoutCancel(t.Context()), u)
	return u.After, cmp.Or(err, u.Err)
}

// patched returns a twin with a side changed by a merge patch, in a new version.
func patched(t hearth.Twin, side hearth.TwinSide, patch string, at time.Time) (hearth.Twin, error) {
	state, version, changedAt := sideOf(&t, side)
	merged, problem := jsonobject.MergePatch(*state, json.RawMessage(patch), hearth.MaxTwinDepth)
	if problem != "" {
		return t, errors.New(problem)
	}
	if merged.Changed {
		*state, *changedAt = merged.Object, at
		*version++
	}
	return t, nil
}

func sideOf(t *hearth.Twin, side hearth.TwinSide) (state *json.RawMessage, version *int64, at *time.Time) {
	if side == hearth.TwinDesired {
		return &t.Desired, &t.DesiredVersion, &t.DesiredAt
	}
	return &t.Reported, &t.ReportedVersion, &t.ReportedAt
}

// patchTwin applies a merge patch.
func patchTwin(t *testing.T, s TwinStore, id string, side hearth.TwinSide, patch string, at time.Time) hearth.Twin {
	t.Helper()
	after, err := updateTwin(t, s, id, func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
		after, err := patched(before, side, patch, at)
		return after, nil, err
	})
	if err != nil {
		t.Error(err)
	}
	return after
}

func wantTwin(t *testing.T, s TwinStore, want hearth.Twin) {
	t.Helper()
	got, err := s.Twin(t.Context(), want.DeviceID)
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func twinRoundTrip(t *testing.T, s TwinStore) {
	d := twinDevice(t, s, 1)
	desired := `{"":{},"$set":{"a.b":[null,{"x":null}]},"__proto__":"\"\\","big":123456789012345678901234567890,"price":1.10,"tiny":1e-300,"é\u2028":"𝄞"}`
	first := patchTwin(t, s, d.ID, hearth.TwinDesired, desired, epoch)
	want := hearth.Twin{DeviceID: d.ID, Desired: json.RawMessage(desired), DesiredVersion: 1, DesiredAt: epoch}
	if diff := gocmp.Diff(want, first); diff != "" {
		t.Errorf("returned (-want +got):\n%s", diff)
	}
	wantTwin(t, s, want)
	later := epoch.Add(time.Second)
	patchTwin(t, s, d.ID, hearth.TwinReported, `{"price":1.1}`, later)
	want.Reported, want.ReportedVersion, want.ReportedAt = json.RawMessage(`{"price":1.1}`), 1, later
	wantTwin(t, s, want)
	patchTwin(t, s, d.ID, hearth.TwinReported, `{"price":null}`, later)
	want.Reported, want.ReportedVersion = json.RawMessage(`{}`), 2
	wantTwin(t, s, want)
}

func twinEmpty(t *testing.T, s TwinStore) {
	d := twinDevice(t, s, 1)
	wantTwin(t, s, hearth.Twin{DeviceID: d.ID})
	_, err := s.Twin(t.Context(), device(2).ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = updateTwin(t, s, device(2).ID, func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
		t.Error("the twin of a device that is not there is changed")
		return before, nil, nil
	})
	wantCode(t, err, hearth.CodeNotFound)
}

func twinUnchanged(t *testing.T, s TwinStore) {
	d := twinDevice(t, s, 1)
	refused := errors.New("refused")
	for _, result := range []error{refused, nil} {
		_, err := updateTwin(t, s, d.ID, func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
			before.Desired = json.RawMessage(`{"a":1}`)
			return before, []hearth.AuditEntry{{Action: "twin.update"}}, result
		})
		if !errors.Is(err, result) {
			t.Errorf("%v came back as %v", result, err)
		}
	}
	wantTwin(t, s, hearth.Twin{DeviceID: d.ID})
	if list, err := s.Audit(t.Context(), hearth.AuditFilter{}, hearth.Page{}); err != nil || len(list.Items) > 0 {
		t.Errorf("audited %v (%v)", list.Items, err)
	}
}

func twinDesiredVersion(t *testing.T, s TwinStore) {
	d, other := twinDevice(t, s, 1), twinDevice(t, s, 2)
	patchTwin(t, s, d.ID, hearth.TwinReported, `{"a":1}`, epoch)
	patchTwin(t, s, d.ID, hearth.TwinDesired, `{"a":1}`, epoch)
	patchTwin(t, s, d.ID, hearth.TwinDesired, `{"a":2}`, epoch)
	patchTwin(t, s, d.ID, hearth.TwinReported, `{"a":2}`, epoch)
	// What the owner and heartbeats change leaves it alone.
	changed, err := s.UpdateDevice(t.Context(), d.ID, func(d hearth.Device) (hearth.Device, error) { d.Name = "new"; return d, nil }, hearth.SideEffects{})
	if err != nil || changed.Version != 2 || changed.DesiredVersion != 2 {
		t.Errorf("after an update: %+v (%v)", changed, err)
	}
	if err := s.RecordHeartbeats(t.Context(), []hearth.Heartbeat{{DeviceID: d.ID, Key: d.Key, At: epoch}}); err != nil {
		t.Fatal(err)
	}
	devices, err := s.DevicesByID(t.Context(), []string{d.ID, other.ID})
	if err != nil || len(devices) != 2 {
		t.Fatal(devices, err)
	}
	for _, got := range devices {
		if want := map[string]int64{d.ID: 2}[got.ID]; got.DesiredVersion != want {
			t.Errorf("%s has the desired version %d, want %d", got.ID, got.DesiredVersion, want)
		}
	}
}

func twinTogether(t *testing.T, s TwinStore) {
	known, fresh, still := twinDevice(t, s, 1), twinDevice(t, s, 2), twinDevice(t, s, 3)
	patchTwin(t, s, known.ID, hearth.TwinDesired, `{"a":1}`, epoch)
	refused := errors.New("refused")
	patch := func(id string, result error) *hearth.TwinUpdate {
		return &hearth.TwinUpdate{DeviceID: id, Change: func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
			after, _ := patched(before, hearth.TwinDesired, `{"b":2}`, epoch)
			return after, []hearth.AuditEntry{{Action: "twin.update", Target: id, At: epoch}}, result
		}}
	}
	updates := []*hearth.TwinUpdate{patch(known.ID, nil), patch(device(9).ID, nil), patch(still.ID, refused), patch(fresh.ID, nil)}
	if err := s.UpdateTwins(t.Context(), updates...); err != nil {
		t.Fatal(err)
	}
	wantCode(t, updates[1].Err, hearth.CodeNotFound)
	if !errors.Is(updates[2].Err, refused) || updates[0].Err != nil || updates[3].Err != nil {
		t.Errorf("results %v, %v, %v", updates[0].Err, updates[2].Err, updates[3].Err)
	}
	wantTwin(t, s, hearth.Twin{DeviceID: known.ID, Desired: json.RawMessage(`{"a":1,"b":2}`), DesiredVersion: 2, DesiredAt: epoch})
	wantTwin(t, s, hearth.Twin{DeviceID: still.ID})
	wantTwin(t, s, updates[3].After)
	if updates[3].After.DesiredVersion != 1 {
		t.Errorf("a new twin is %+v", updates[3].After)
	}
	list, err := s.Audit(t.Context(), hearth.AuditFilter{}, hearth.Page{})
	if err != nil || len(list.Items) != 2 || list.Items[0].Target != fresh.ID || list.Items[1].Target != known.ID {
		t.Errorf("audited %+v, %v", list.Items, err)
	}
}

func twinAudit(t *testing.T, s TwinStore) {
	d := twinDevice(t, s, 1)
	for n := range 3 {
		_, err := updateTwin(t, s, d.ID, func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
			after, _ := patched(before, hearth.TwinDesired, fmt.Sprintf(`{"n":%d}`, n), epoch)
			entry := hearth.AuditEntry{At: epoch, ActorID: "a", Action: "twin.update", Target: "device:" + d.ID, Result: "ok"}
			return after, []hearth.AuditEntry{entry, entry}[:n], nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.Audit(t.Context(), hearth.AuditFilter{Action: "twin.update"}, hearth.Page{}); err != nil || len(list.Items) != 3 {
		t.Errorf("audited %v (%v)", list.Items, err)
	}
}

func twinDeletion(t *testing.T, s TwinStore) {
	d := twinDevice(t, s, 1)
	patchTwin(t, s, d.ID, hearth.TwinDesired, `{"a":1}`, epoch)
	if err := s.DeleteDevice(t.Context(), d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Twin(t.Context(), d.ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = updateTwin(t, s, d.ID, func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
		before.DesiredVersion++
		return before, nil, nil
	})
	wantCode(t, err, hearth.CodeNotFound)
}

// Every writer sets keys of its own, on both sides of one twin, while it is made: each of them is there in the end.
func twinRace(t *testing.T, s TwinStore) {
	const writers, each = 8, 15
	d := twinDevice(t, s, 1)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				side := []hearth.TwinSide{hearth.TwinDesired, hearth.TwinReported}[w%2]
				patchTwin(t, s, d.ID, side, fmt.Sprintf(`{"w%d":{"k%d":%d}}`, w, n, n), epoch)
			}
		})
	}
	wg.Wait()
	got, err := s.Twin(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, side := range []hearth.TwinSide{hearth.TwinDesired, hearth.TwinReported} {
		var state map[string]map[string]int
		text, _, _ := sideOf(&got, side)
		if err := json.Unmarshal(*text, &state); err != nil {
			t.Fatal(err)
		}
		for _, of := range state {
			keys += len(of)
		}
		if got.Version(side) != writers/2*each {
			t.Errorf("the %s version is %d, want %d", side, got.Version(side), writers/2*each)
		}
	}
	if keys != writers*each {
		t.Errorf("%d of %d keys are there", keys, writers*each)
	}
}
