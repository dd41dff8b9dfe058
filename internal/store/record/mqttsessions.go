package record

import (
	"context"
	"encoding/json"
	"time"

	"hearth"
)

var _ hearth.MQTTSessionStore = (*Aggregates)(nil)

// mqttSession is the stored form of hearth.MQTTSession.
type mqttSession struct {
	DeviceID string    `json:"device_id"`
	Filters  text      `json:"filters,omitempty"` // JSON: QoS by filter
	Expiry   int64     `json:"expiry"`            // seconds
	SavedAt  time.Time `json:"saved_at,omitzero"`
}

var mqttSessions = describe(&Kind[mqttSession]{Schema: Schema{
	Name: "mqtt_sessions", Noun: "MQTT session", ID: []string{"device_id"}, Of: map[string]string{"device_id": "devices"},
}})

func (r mqttSession) session() hearth.MQTTSession {
	s := hearth.MQTTSession{DeviceID: r.DeviceID, Expiry: time.Duration(r.Expiry) * time.Second, SavedAt: r.SavedAt}
	_ = json.Unmarshal([]byte(r.Filters), &s.Filters) // it was encoded here
	return s
}

// SaveMQTTSession implements hearth.MQTTSessionStore. The step that makes a session holds the device, so that none is left behind by one that is
// deleted meanwhile.
func (a *Aggregates) SaveMQTTSession(ctx context.Context, s hearth.MQTTSession) error {
	filters, err := json.Marshal(s.Filters)
	if err != nil {
		return err
	}
	after := mqttSession{s.DeviceID, text(filters), int64(s.Expiry / time.Second), s.SavedAt}
	w := Write{Name: "SaveMQTTSession", Key: "mqtt_sessions/" + s.DeviceID}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		_, err := mqttSessions.Get(ctx, tx, s.DeviceID)
		isNew, err := absent(err)
		switch {
		case err != nil:
			return err
		case !isNew:
			return mqttSessions.Replace(ctx, tx, after)
		}
		if err := devices.Hold(ctx, tx, s.DeviceID); err != nil {
			return err
		}
		return mqttSessions.Insert(ctx, tx, after)
	})
}

// MQTTSession implements hearth.MQTTSessionStore.
func (a *Aggregates) MQTTSession(ctx context.Context, deviceID string) (hearth.MQTTSession, error) {
	return get(ctx, a.b, "MQTTSession", mqttSessions, mqttSession.session, deviceID)
}

// DeleteMQTTSession implements hearth.MQTTSessionStore.
func (a *Aggregates) DeleteMQTTSession(ctx context.Context, deviceID string) error {
	_, err := a.b.Remove(ctx, "DeleteMQTTSession", &mqttSessions.Schema, Filter{Eq("device_id", deviceID)}, "device_id", 1)
	return err
}
