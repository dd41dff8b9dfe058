package twins_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"hearth"
	"hearth/internal/core/twins"
)

// store keeps twins in memory. Each step waits for a release, whose error it has.
type store struct {
	twins   map[string]hearth.Twin
	steps   []string // the devices of each step
	audited int
	release chan error
}

func (s *store) Twin(_ context.Context, id string) (hearth.Twin, error) { return s.twins[id], nil }

func (s *store) UpdateTwins(_ context.Context, updates ...*hearth.TwinUpdate) error {
	var ids []string
	for _, u := range updates {
		ids = append(ids, u.DeviceID)
	}
	s.steps = append(s.steps, strings.Join(ids, " "))
	if err := <-s.release; err != nil {
		return err
	}
	for _, u := range updates {
		if u.DeviceID == "gone" {
			u.Err = hearth.NotFound("device")
			continue
		}
		var entries []hearth.AuditEntry
		before := s.twins[u.DeviceID]
		before.DeviceID = u.DeviceID
		u.After, entries, u.Err = u.Change(before)
		s.twins[u.DeviceID] = u.After
		s.audited += len(entries)
	}
	return nil
}

// everyDevice knows devices of ann of every id.
type everyDevice struct{}

func (everyDevice) Resolve(_ context.Context, _ hearth.Caller, ids []string) (found []*hearth.Device, _ error) {
	for _, id := range ids {
		found = append(found, &hearth.Device{ID: id, OwnerID: "ann"})
	}
	return found, nil
}

// fixture is a service over a store, with what it publishes.
type fixture struct {
	*twins.Service
	store   *store
	events  []string
	desired []string
}

// Publish implements hearth.Publisher.
func (f *fixture) Publish(events ...hearth.Event) {
	for _, e := range events {
		view := e.Data.(hearth.TwinView)
		f.events = append(f.events, fmt.Sprint(e.DeviceID, " ", view.DesiredVersion, ".", view.ReportedVersion))
	}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{store: &store{twins: map[string]hearth.Twin{}, release: make(chan error)}}
	var err error
	f.Service, err = twins.New(twins.Options{
		Store: f.store, Directory: everyDevice{}, Publisher: f,
		OnDesired: func(id string, version int64) { f.desired = append(f.desired, fmt.Sprint(id, " ", version)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// patch patches in a goroutine, and waits until the patch waits.
func (f *fixture) patch(ctx context.Context, id string, side hearth.TwinSide, body string) chan error {
	result := make(chan error, 1)
	go func() {
		_, err := f.Patch(ctx, hearth.Caller{UserID: "ann"}, id, side, json.RawMessage(body), nil)
		result <- err
	}()
	synctest.Wait()
	return result
}

func TestPatchesThatWaitShareTheNextStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		results := []chan error{
			f.patch(t.Context(), "a", hearth.TwinDesired, `{"n":1}`), f.patch(t.Context(), "a", hearth.TwinDesired, `{"n":2}`),
			f.patch(t.Context(), "b", hearth.TwinReported, `{"n":2}`), f.patch(t.Context(), "a", hearth.TwinReported, `{"n":2}`),
			f.patch(t.Context(), "a", hearth.TwinDesired, `{"n":3}`), f.patch(t.Context(), "gone", hearth.TwinReported, `{"n":1}`),
			f.patch(t.Context(), "b", hearth.TwinReported, `{"n":2.0}`),
		}
		f.store.release <- nil
		f.store.release <- nil
		for i, result := range results {
			if err := <-result; (err != nil) != (i == 5) || err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
				t.Errorf("patch %d: %v", i, err)
			}
		}
		if want := []string{"a", "a b gone"}; !slices.Equal(f.store.steps, want) {
			t.Errorf("the steps are %q, want %q", f.store.steps, want)
		}
		if want := []string{"a 1.0", "a 2.0", "a 2.1", "a 3.1", "b 0.1"}; !slices.Equal(f.events, want) {
			t.Errorf("the events are %q, want %q", f.events, want)
		}
		if want := []string{"a 1", "a 3"}; !slices.Equal(f.desired, want) || f.store.audited != 3 {
			t.Errorf("desired versions %q, want %q; %d audit entries, want 3", f.desired, want, f.store.audited)
		}
	})
}

func TestADeviceWithManyPatchesLeavesRoomToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var results []chan error
		for n := range 200 { // the first is written alone
			results = append(results, f.patch(t.Context(), "busy", hearth.TwinReported, fmt.Sprintf(`{"n":%d}`, n)))
		}
		large := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 20<<10))
		for range 4 { // three of them are a turn
			results = append(results, f.patch(t.Context(), "large", hearth.TwinReported, large))
		}
		results = append(results, f.patch(t.Context(), "other", hearth.TwinReported, `{"n":1}`))
		close(f.store.release)
		for _, result := range results {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		if want := []string{"busy", "busy", "large other busy", "large busy", "busy"}; !slices.Equal(f.store.steps, want) {
			t.Errorf("the steps are %q, want %q", f.store.steps, want)
		}
		if last := string(f.store.twins["busy"].Reported); last != `{"n":199}` || f.store.twins["busy"].ReportedVersion != 200 {
			t.Errorf("the twin is %s in version %d", last, f.store.twins["busy"].ReportedVersion)
		}
	})
}

func TestWaitingPatchesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		results := []chan error{f.patch(t.Context(), "a", hearth.TwinReported, `{"n":0}`)}
		large := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 60<<10))
		for range 33 { // of 61 each
			results = append(results, f.patch(ctx, "a", hearth.TwinReported, large))
		}
		if err := <-f.patch(ctx, "a", hearth.TwinReported, large); hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("one too many: %v", err)
		}
		results = append(results, f.patch(t.Context(), "b", hearth.TwinReported, `{"n":1}`))
		cancel() // they are withdrawn
		synctest.Wait()
		results = append(results, f.patch(t.Context(), "a", hearth.TwinReported, `{"n":1}`))
		f.store.release <- nil
		f.store.release <- nil
		for i, result := range results {
			if err := <-result; errors.Is(err, context.Canceled) != (0 < i && i < 34) {
				t.Errorf("patch %d: %v", i, err)
			}
		}
		if want := []string{"a", "a b"}; !slices.Equal(f.store.steps, want) {
			t.Errorf("the steps are %q, want %q", f.store.steps, want)
		}
	})
}

func TestAStepThatFailsFailsItsPatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		first, full := f.patch(t.Context(), "a", hearth.TwinDesired, `{"n":0}`), errors.New("the disk is full")
		second := f.patch(t.Context(), "a", hearth.TwinDesired, `{"n":1}`)
		f.store.release <- full
		if err := <-first; !errors.Is(err, full) {
			t.Errorf("the error is %v", err)
		}
		f.store.release <- nil
		if err := <-second; err != nil {
			t.Error(err)
		}
		if want := []string{"a 1.0"}; !slices.Equal(f.events, want) {
			t.Errorf("the events are %q, want %q", f.events, want)
		}
	})
}
