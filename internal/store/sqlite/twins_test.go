package sqlite

import (
	"testing"

	"hearth"
	"hearth/internal/store/storetest"
)

func TestTwins(t *testing.T) {
	t.Parallel()
	storetest.Twins(t, func(t *testing.T) storetest.TwinStore { return openTest(t) })
}

// Two processes share a database: neither goes on from what it remembers of a twin that the other has changed.
func TestTwinsOfTwoProcessesAreTheStoredOnes(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	var stores [2]*Store
	for i := range stores {
		var err error
		if stores[i], err = Open(t.Context(), Options{Path: path}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stores[i].Close(); err != nil {
				t.Error(err)
			}
		})
	}
	person := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x")}
	if err := stores[0].CreateUser(t.Context(), person, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	device := hearth.Device{ID: "d", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "ann"}
	if _, err := stores[0].CreateDevices(t.Context(), []hearth.Device{device}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	patch := func(s *Store, state string, version int64) *hearth.TwinUpdate {
		t.Helper()
		u := &hearth.TwinUpdate{DeviceID: "d", Change: func(before hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
			if version >= 0 && before.DesiredVersion != version {
				return before, nil, hearth.Errorf(hearth.CodeVersionMismatch, "it is %d", before.DesiredVersion)
			}
			entry := hearth.AuditEntry{Action: "twin.update", Target: string(before.Desired) + ">" + state}
			if string(before.Desired) != state {
				before.Desired, before.DesiredVersion = []byte(state), before.DesiredVersion+1
			}
			return before, []hearth.AuditEntry{entry}, nil
		}}
		if err := s.UpdateTwins(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tt := range []struct {
		store   int
		state   string
		ifMatch int64
		code    hearth.Code
		version int64
	}{
		{0, `{"n":1}`, -1, "", 1},
		{0, `{"n":2}`, -1, "", 2},
		{1, `{"n":3}`, -1, "", 3},
		{0, `{"n":2}`, -1, "", 4}, // it remembers this very state, of version 2
		{0, `{"n":2}`, -1, "", 4},
		{1, `{"n":5}`, 3, hearth.CodeVersionMismatch, 0},
		{1, `{"n":5}`, 4, "", 5},
		{0, `{"n":6}`, 5, "", 6},
	} {
		u := patch(stores[tt.store], tt.state, tt.ifMatch)
		if tt.code != "" {
			if hearth.ErrorCode(u.Err) != tt.code {
				t.Errorf("%+v: %v", tt, u.Err)
			}
		} else if u.Err != nil || u.After.DesiredVersion != tt.version {
			t.Errorf("%+v: version %d, %v", tt, u.After.DesiredVersion, u.Err)
		}
	}
	if twin, err := stores[1].Twin(t.Context(), "d"); err != nil || string(twin.Desired) != `{"n":6}` || twin.DesiredVersion != 6 {
		t.Errorf("the twin is %+v, %v", twin, err)
	}
	chain, err := stores[0].AuditChain(t.Context(), 0, 100)
	if err != nil || len(chain) != 6 || chain[3].Target != `{"n":3}>{"n":2}` {
		t.Errorf("the audit has %+v, %v", chain, err)
	}
	if err := stores[1].DeleteDevice(t.Context(), "d", func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if u := patch(stores[0], `{"n":7}`, -1); hearth.ErrorCode(u.Err) != hearth.CodeNotFound {
		t.Errorf("after the device is gone: %v", u.Err)
	}
}
