package storetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// MQTTSessionStore is what the suite of MQTT sessions is about.
type MQTTSessionStore interface {
	hearth.MQTTSessionStore
	hearth.DeviceStore
}

// MQTTSessions is the suite for MQTT sessions. open returns an empty store.
func MQTTSessions(t *testing.T, open func(t *testing.T) MQTTSessionStore) {
	t.Helper()
	s := open(t)
	made, err := s.CreateDevices(t.Context(), []hearth.Device{device(1), device(2)}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := made[0].ID, made[1].ID
	look := func(id string, want *hearth.MQTTSession) {
		t.Helper()
		got, err := s.MQTTSession(t.Context(), id)
		if want == nil {
			if hearth.ErrorCode(err) != hearth.CodeNotFound {
				t.Errorf("got %+v, %v; want none", got, err)
			}
			return
		}
		if diff := cmp.Diff(*want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	save := func(session hearth.MQTTSession) hearth.MQTTSession {
		t.Helper()
		if err := s.SaveMQTTSession(t.Context(), session); err != nil {
			t.Fatal(err)
		}
		return session
	}
	look(first, nil)
	save(hearth.MQTTSession{DeviceID: first, Filters: map[string]byte{"c": 1}, Expiry: time.Hour, SavedAt: epoch})
	of1 := save(hearth.MQTTSession{DeviceID: first, Filters: map[string]byte{"c": 0, "g/+/c": 1}, Expiry: time.Minute, SavedAt: epoch.Add(time.Second)})
	of2 := save(hearth.MQTTSession{DeviceID: second, Expiry: time.Minute, SavedAt: epoch})
	look(first, &of1)
	look(second, &of2)
	for range 2 {
		if err := s.DeleteMQTTSession(t.Context(), second); err != nil {
			t.Error(err)
		}
		look(second, nil)
	}
	anyway := func(hearth.Device) error { return nil }
	if err := s.DeleteDevice(t.Context(), first, anyway, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	look(first, nil)
	if err := s.SaveMQTTSession(t.Context(), of1); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("the session of a device that is gone: %v", err)
	}
}

// lineMQTTSession is a session as archives have it.
type lineMQTTSession struct {
	DeviceID string    `json:"device_id"`
	Filters  lineText  `json:"filters,omitempty"`
	Expiry   int64     `json:"expiry"`
	SavedAt  time.Time `json:"saved_at,omitzero"`
}

func writeMQTTSession(s hearth.MQTTSession) lineMQTTSession {
	filters, _ := json.Marshal(s.Filters) //nolint:errchkjson // numbers by texts
	return lineMQTTSession{s.DeviceID, lineText(filters), int64(s.Expiry / time.Second), s.SavedAt}
}

func readMQTTSession(l lineMQTTSession) hearth.MQTTSession {
	s := hearth.MQTTSession{DeviceID: l.DeviceID, Expiry: time.Duration(l.Expiry) * time.Second, SavedAt: l.SavedAt}
	_ = json.Unmarshal([]byte(l.Filters), &s.Filters)
	return s
}
