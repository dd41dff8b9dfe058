package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// watcher is a Publisher that remembers.
type watcher struct {
	mu     sync.Mutex
	events []hearth.Event
}

func (w *watcher) Publish(events ...hearth.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, events...)
}

// take returns what was published since the last time, as "type id", with the connection of updates.
func (w *watcher) take() (events []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		line := string(e.Type) + " " + e.DeviceID
		if d, ok := e.Data.(hearth.Device); ok && e.Type == hearth.EventDeviceUpdate {
			line = fmt.Sprintf("%s %s %s", line, d.Status, d.Connection(e.At))
		}
		events = append(events, line)
	}
	w.events = nil
	return events
}

var (
	ann   = hearth.Caller{UserID: "ann", Role: hearth.RoleUser, IP: "192.0.2.1", RequestID: "r1"}
	bob   = hearth.Caller{UserID: "bob", Role: hearth.RoleUser}
	admin = hearth.Caller{UserID: "root", Role: hearth.RoleAdmin}
)

type fixture struct {
	*Service
	store   *sqlite.Store
	watcher *watcher
}

func setup(t testing.TB, dir string, change func(*Options)) *fixture {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	b := &fixture{store: store, watcher: &watcher{}}
	options := Options{Store: store, Publisher: b.watcher}
	if change != nil {
		change(&options)
	}
	if b.Service, err = New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func (b *fixture) close() {
	b.Stop()
	if err := b.store.Close(); err != nil {
		panic(err)
	}
}

func (b *fixture) create(t testing.TB, caller hearth.Caller, input NewDevice) hearth.Device {
	t.Helper()
	if input.Name == "" {
		input.Name = "a lamp"
	}
	if input.Type == "" {
		input.Type = "lamp"
	}
	d, err := b.Create(t.Context(), caller, input, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (b *fixture) beat(t testing.TB, caller hearth.Caller, id string, status hearth.DeviceStatus) hearth.Heartbeat {
	t.Helper()
	answer, err := b.Heartbeat(t.Context(), caller, id, status)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func wantCode(t testing.TB, err error, code hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != code {
		t.Errorf("got the code %q (%v), want %q", got, err, code)
	}
}

func ptr[T any](v T) *T { return &v }

func TestADeviceIsCreatedWithDefaults(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	d := b.create(t, ann, NewDevice{Metadata: []byte(` {"b":1, "a":2}`)})
	if d.Status != hearth.StatusActive || d.Interval != hearth.DefaultHeartbeatInterval || d.OwnerID != "ann" || string(d.Metadata) != `{"a":2,"b":1}` {
		t.Errorf("got %+v", d)
	}
	if events := b.watcher.take(); !slices.Equal(events, []string{"device-update " + d.ID + " active never"}) {
		t.Errorf("published %v", events)
	}
}

func TestABatchNamesWhatIsWrongAndCreatesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	inputs := []NewDevice{{Name: "a", Type: "t"}, {Name: " ", Type: "t"}, {Name: "a", Type: "t", Metadata: []byte(`[]`)}, {Name: "a", Type: "t", Interval: -1}}
	_, err := b.CreateBatch(t.Context(), ann, inputs, nil)
	wantCode(t, err, hearth.CodeValidationFailed)
	refusal, ok := errors.AsType[*hearth.Error](err)
	if !ok {
		t.Fatal(err)
	}
	for _, location := range []string{"body.items[1].name", "body.items[2].metadata", "body.items[3].heartbeat_interval"} {
		if !slices.ContainsFunc(refusal.Fields, func(f hearth.FieldError) bool { return f.Location == location }) {
			t.Errorf("%s is not named in %v", location, refusal.Fields)
		}
	}
	list, err := b.Devices(t.Context(), ann, Query{Page: hearth.Page{Count: true}})
	if err != nil || list.Total != 0 {
		t.Errorf("%d devices (%v), want none", list.Total, err)
	}
	for _, size := range []int{0, hearth.MaxDeviceBatch + 1} {
		_, err := b.CreateBatch(t.Context(), ann, make([]NewDevice, size), nil)
		wantCode(t, err, hearth.CodeValidationFailed)
	}
}

func TestWhoMayDoWhatWithADevice(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	own := b.create(t, ann, NewDevice{})
	other := b.create(t, ann, NewDevice{})
	inOrg := func(role hearth.OrgRole) hearth.Caller {
		return hearth.Caller{UserID: "carl", Role: hearth.RoleUser, Orgs: map[string]hearth.OrgRole{"o1": role}}
	}
	ctx := t.Context()
	calls := map[string]func(hearth.Caller, string) error{
		"read":      func(c hearth.Caller, id string) error { _, err := b.Device(ctx, c, id); return err },
		"heartbeat": func(c hearth.Caller, id string) error { _, err := b.Heartbeat(ctx, c, id, ""); return err },
		"update": func(c hearth.Caller, id string) error {
			_, err := b.Update(ctx, c, id, Change{Name: ptr("x")}, nil)
			return err
		},
		"new token":   func(c hearth.Caller, id string) error { _, err := b.CreateToken(ctx, c, id, false, nil); return err },
		"list tokens": func(c hearth.Caller, id string) error { _, err := b.Tokens(ctx, c, id, hearth.Page{}); return err },
		"old token":   func(c hearth.Caller, id string) error { return b.DeleteToken(ctx, c, id, "nothing") },
		"delete": func(c hearth.Caller, id string) error {
			return b.Delete(ctx, c, id, func(hearth.Device) error { return audited.ErrUnchanged })
		},
	}
	// The codes of read, heartbeat and everything else.
	for name, c := range map[string]struct {
		caller              hearth.Caller
		id                  string
		read, report, other hearth.Code
	}{
		"the owner":        {ann, own.ID, "", "", ""},
		"an admin":         {admin, own.ID, "", "", ""},
		"another user":     {bob, own.ID, hearth.CodeNotFound, hearth.CodeNotFound, hearth.CodeNotFound},
		"no caller":        {hearth.Caller{}, own.ID, hearth.CodeNotFound, hearth.CodeNotFound, hearth.CodeNotFound},
		"a remote owner":   {inOrg(hearth.OrgOwner), own.ID, hearth.CodeNotFound, hearth.CodeNotFound, hearth.CodeNotFound},
		"the device":       {hearth.Caller{DeviceID: own.ID}, own.ID, "", "", hearth.CodeForbidden},
		"another device":   {hearth.Caller{DeviceID: other.ID}, own.ID, hearth.CodeNotFound, hearth.CodeNotFound, hearth.CodeNotFound},
		"a missing device": {ann, "nothing", hearth.CodeNotFound, hearth.CodeNotFound, hearth.CodeNotFound},
	} {
		for call, do := range calls {
			want := map[string]hearth.Code{"read": c.read, "heartbeat": c.report}
			code, ok := want[call]
			if !ok {
				code = c.other
			}
			if code == "" && call == "old token" {
				code = hearth.CodeNotFound // the token
			}
			if code == "" && call == "delete" {
				code = hearth.CodeInternal // check's own error: it was asked
			}
			if got := hearth.ErrorCode(do(c.caller, c.id)); got != code {
				t.Errorf("%s, %s: got %q, want %q", name, call, got, code)
			}
		}
	}
}

func TestAChangeKeepsToItsPreconditionAndLeavesATrace(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	d := b.create(t, ann, NewDevice{Tags: []string{"x"}, Metadata: []byte(`{"a":1}`)})
	stale := hearth.Errorf(hearth.CodeVersionMismatch, "stale")
	_, err := b.Update(t.Context(), ann, d.ID, Change{Name: ptr("new")}, func(hearth.Device) error { return stale })
	wantCode(t, err, hearth.CodeVersionMismatch)
	_, err = b.Update(t.Context(), bob, d.ID, Change{Name: ptr("new")}, func(hearth.Device) error { return stale })
	wantCode(t, err, hearth.CodeNotFound)
	_, err = b.Update(t.Context(), ann, d.ID, Change{Name: ptr(""), Interval: ptr(0)}, nil)
	wantCode(t, err, hearth.CodeValidationFailed)

	same, err := b.Update(t.Context(), ann, d.ID, Change{Name: ptr(d.Name)}, nil)
	if err != nil || same.Version != 1 {
		t.Errorf("a change of nothing gave version %d (%v)", same.Version, err)
	}
	after, err := b.Update(t.Context(), ann, d.ID, Change{Name: ptr("new"), Tags: ptr([]string(nil)), Metadata: ptr(json.RawMessage(nil))}, nil)
	if err != nil || after.Version != 2 || after.Name != "new" || after.Tags != nil || after.Metadata != nil {
		t.Errorf("got %+v (%v)", after, err)
	}
	if events := b.watcher.take(); len(events) != 2 {
		t.Errorf("published %v, want one creation and one change", events)
	}
}
