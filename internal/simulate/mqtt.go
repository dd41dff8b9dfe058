package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const (
	keepAlive = time.Minute
	// patience bounds the wait for an answer of the server.
	patience    = 30 * time.Second
	atLeastOnce = 1
)

// mqttLink is a device that speaks MQTT.
type mqttLink struct {
	url, serial, token string

	client mqtt.Client
}

var _ link = (*mqttLink)(nil)

func (l *mqttLink) connect(ctx context.Context, orders func(order), deltas func(map[string]any)) error {
	o := mqtt.NewClientOptions().AddBroker(l.url).SetClientID(l.serial).SetUsername(l.token).SetKeepAlive(keepAlive).SetConnectTimeout(patience).
		SetOrderMatters(false).SetConnectRetry(false).SetAutoReconnect(true).SetMaxReconnectInterval(patience)
	// A connection that comes back subscribes again: the server then sends what the device does not know.
	o.SetOnConnectHandler(func(c mqtt.Client) {
		c.Subscribe("c", atLeastOnce, func(_ mqtt.Client, m mqtt.Message) {
			var c struct {
				ID     string          `json:"id"`
				Name   string          `json:"name"`
				Params json.RawMessage `json:"params"`
			}
			if json.Unmarshal(m.Payload(), &c) == nil {
				orders(order{c.ID, c.Name, c.Params})
			}
		})
		c.Subscribe("d", atLeastOnce, func(_ mqtt.Client, m mqtt.Message) {
			var delta map[string]any
			if json.Unmarshal(m.Payload(), &delta) == nil && len(delta) > 0 {
				deltas(delta)
			}
		})
	})
	l.client = mqtt.NewClient(o)
	return wait(ctx, l.client.Connect())
}

func (l *mqttLink) leave() { l.client.Disconnect(0) }

func (l *mqttLink) send(ctx context.Context, reports []report) error {
	type telemetry struct {
		TS     int64          `json:"ts"`
		Values map[string]any `json:"values"`
	}
	list := make([]telemetry, len(reports))
	for i, r := range reports {
		list[i] = telemetry{r.at.UnixMilli(), r.values}
	}
	return l.publish(ctx, "t", list)
}

func (l *mqttLink) state(ctx context.Context, changed map[string]any) error {
	return l.publish(ctx, "r", changed)
}

func (l *mqttLink) answer(ctx context.Context, id string, a answer) error {
	if a.failure != "" {
		return l.publish(ctx, "c/"+id, map[string]any{"ok": false, "error": a.failure})
	}
	return l.publish(ctx, "c/"+id, map[string]any{"ok": true, "result": a.result})
}

func (l *mqttLink) publish(ctx context.Context, topic string, payload any) error {
	text, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode for the topic %s: %w", topic, err)
	}
	return wait(ctx, l.client.Publish(topic, atLeastOnce, false, text))
}

// wait returns once the server has answered.
func wait(ctx context.Context, t mqtt.Token) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New("the server does not answer")
	}
}
