package dialect

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"hearth"
)

// espHome reads the firmware ESPHome with its default topics: {name}/{component}/{object}/state, …/command, {name}/status.
type espHome struct {
	// components are those of a device's objects that can be set.
	components remembered[map[string]string]
	// presence is of devices of which nothing else has come: a status alone is too common a topic to make a device of.
	presence remembered[Presence]
}

func newESPHome() *espHome {
	return &espHome{components: remembered[map[string]string]{}, presence: remembered[Presence]{}}
}

func (*espHome) filters() []Filter {
	return []Filter{{Topic: "+/status", All: true}, {Topic: "+/+/+/state"}}
}

func (e *espHome) read(m Message, _ time.Time) (Result, bool) {
	levels := strings.Split(m.Topic, "/")
	device := levels[0]
	switch {
	case device == "" || device == "homeassistant" || device == "zigbee2mqtt":
		return Result{}, false
	case len(levels) == 2 && levels[1] == "status":
		return e.status(device, m.Payload)
	case len(levels) != 4 || levels[3] != "state" || !espComponent(levels[1]):
		return Result{}, false
	}
	return e.state(device, levels[1], levels[2], m.Payload), true
}

// espComponent reports whether a level of a topic is the name of a component.
func espComponent(name string) bool {
	switch name {
	case "sensor", "binary_sensor", "text_sensor":
		return true
	}
	return espSettable(name)
}

func espSettable(name string) bool {
	switch name {
	case "switch", "light", "number", "select", "fan", "cover", "lock", "text", "valve":
		return true
	}
	return false
}

func (e *espHome) status(device string, payload []byte) (Result, bool) {
	says := presence(payload)
	if says == Unknown {
		return Result{}, false
	}
	if _, known := e.components[device]; !known {
		e.presence.put(device, says)
		return Result{Reports: []Report{{Device: device, Presence: says, Known: true}}}, true
	}
	return Result{Reports: []Report{{Device: device, Presence: says}}}, true
}

func (e *espHome) state(device, component, name string, payload []byte) Result {
	report := Report{Device: device}
	if e.components[device] == nil {
		e.components.put(device, map[string]string{})
		report.About = &About{Manufacturer: "ESPHome"}
		report.Presence = e.presence[device]
		delete(e.presence, device)
	}
	if objects := e.components[device]; espSettable(component) && objects != nil && len(objects) < maxReadings {
		objects[name] = component
	}
	values := readings{}
	members, err := object(payload)
	switch on, isSwitch := onOff(string(payload)); {
	case err == nil: // a light: {"state":"ON","brightness":…}
		if on, ok := onOff(members["state"]); ok {
			values.put(name, hearth.Boolean(on), true)
			members["state"] = on
		}
		report.State = map[string]any{name: members}
	case isSwitch:
		values.put(name, hearth.Boolean(on), true)
		report.State = map[string]any{name: on}
	default:
		value, ok := plain(payload)
		if !ok {
			return Result{Reports: []Report{report}} // nan: there is no value
		}
		values.put(name, value, true)
		report.State = map[string]any{name: value}
	}
	if !espSettable(component) {
		report.State = nil
	}
	report.Readings = values.entries
	return Result{Reports: []Report{report}, Problem: values.problem()}
}

func (e *espHome) desired(device string, delta map[string]any) (messages []Message) {
	for _, name := range sorted(delta) {
		if !validLevel(name) {
			continue
		}
		value := delta[name]
		component := e.components[device][name]
		payload := argument(value)
		switch v := value.(type) {
		case map[string]any:
			if on, ok := v["state"].(bool); ok {
				v["state"] = switched(on)
			}
			component, payload = orElse(component, "light"), string(encode(v))
		case bool:
			component = orElse(component, "switch")
			if component == "light" {
				payload = string(encode(map[string]any{"state": switched(v)}))
			}
		case json.Number:
			component = orElse(component, "number")
		case string:
			component = orElse(component, "select")
		}
		messages = append(messages, Message{Topic: device + "/" + component + "/" + name + "/command", Payload: []byte(payload)})
	}
	return messages
}

func orElse(name, other string) string {
	if name == "" {
		return other
	}
	return name
}

func (*espHome) command(device string, c hearth.Command) ([]Message, error) {
	component, name, ok := strings.Cut(c.Name, ".")
	if !ok || !validLevel(component) || !validLevel(name) {
		return nil, errors.New("the name must be a component and an object, such as button.restart")
	}
	payload := "PRESS"
	if len(c.Params) > 0 {
		params, err := decode(c.Params)
		if err != nil {
			return nil, err
		}
		payload = argument(params)
	}
	return []Message{{Topic: device + "/" + component + "/" + name + "/command", Payload: []byte(payload)}}, nil
}
