package dialect

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth"
)

// zigbee reads Zigbee2MQTT with its default base topic: zigbee2mqtt/{friendly name}, …/set, …/availability, and bridge/….
type zigbee struct {
	// settable are the members that can be set, by device; of devices that the bridge has not described there are none.
	settable remembered[map[string]bool]
	seen     remembered[struct{}]
}

func newZigbee() *zigbee {
	return &zigbee{settable: remembered[map[string]bool]{}, seen: remembered[struct{}]{}}
}

func (*zigbee) filters() []Filter {
	return []Filter{
		{Topic: "zigbee2mqtt/bridge/devices", All: true}, {Topic: "zigbee2mqtt/bridge/state", All: true},
		{Topic: "zigbee2mqtt/+/availability", All: true}, {Topic: "zigbee2mqtt/+/+/availability", All: true},
		{Topic: "zigbee2mqtt/#"},
	}
}

func (z *zigbee) read(m Message, _ time.Time) (Result, bool) {
	name, ok := strings.CutPrefix(m.Topic, "zigbee2mqtt/")
	if !ok {
		return Result{}, false
	}
	switch {
	case name == "bridge/devices":
		return z.announced(m.Payload), true
	case name == "bridge/state":
		return z.bridge(m.Payload), true
	case name == "bridge" || strings.HasPrefix(name, "bridge/"):
		return Result{}, true
	}
	last := name[strings.LastIndexByte(name, '/')+1:]
	switch {
	case last == "availability":
		return availability(strings.TrimSuffix(name, "/availability"), m.Payload), true
	case last == "set" || last == "get" || strings.Contains(name, "/set/") || strings.Contains(name, "/get/"):
		return Result{}, true
	case name == "":
		return Result{}, true
	}
	return z.state(name, m.Payload), true
}

// announced reads the list of devices.
func (z *zigbee) announced(payload []byte) (result Result) {
	var devices []struct {
		FriendlyName string `json:"friendly_name"`
		Type         string `json:"type"`
		Disabled     bool   `json:"disabled"`
		Manufacturer string `json:"manufacturer"`
		ModelID      string `json:"model_id"`
		Version      string `json:"software_build_id"`
		Definition   *struct {
			Model       string   `json:"model"`
			Vendor      string   `json:"vendor"`
			Description string   `json:"description"`
			Exposes     []expose `json:"exposes"`
		} `json:"definition"`
	}
	if err := json.Unmarshal(payload, &devices); err != nil {
		return Result{Problem: "the list of devices cannot be read"}
	}
	for _, d := range devices {
		if d.Type == "Coordinator" || d.Disabled || d.FriendlyName == "" || !z.seen.put(d.FriendlyName, struct{}{}) {
			continue
		}
		about := About{Name: d.FriendlyName, Type: "sensor", Manufacturer: d.Manufacturer, Model: d.ModelID, Version: d.Version}
		if d.Definition != nil {
			about.Manufacturer, about.Model = d.Definition.Vendor, d.Definition.Model
			settable := map[string]bool{}
			for _, e := range d.Definition.Exposes {
				about.Type = e.collect(settable, about.Type, 0)
			}
			z.settable.put(d.FriendlyName, settable)
		}
		result.Reports = append(result.Reports, Report{Device: d.FriendlyName, About: &about})
	}
	return result
}

// expose is something that a device has: a value, or a light, switch and so on with values.
type expose struct {
	Type     string   `json:"type"`
	Property string   `json:"property"`
	Access   int      `json:"access"` // bit 2: it can be set
	Features []expose `json:"features"`
}

// collect notes what can be set, and returns the type of the device.
func (e expose) collect(settable map[string]bool, kind string, depth int) string {
	switch e.Type {
	case "light", "switch", "cover", "lock", "fan", "climate":
		if kind == "sensor" {
			kind = e.Type
		}
	}
	const canSet = 2
	if e.Access&canSet != 0 && e.Property != "" && len(settable) < maxReadings {
		settable[e.Property] = true
	}
	if e.Type == "composite" || depth == maxNesting { // it is set as a whole
		return kind
	}
	for _, feature := range e.Features {
		kind = feature.collect(settable, kind, depth+1)
	}
	return kind
}

// bridge has all devices be offline when their bridge is.
func (z *zigbee) bridge(payload []byte) (result Result) {
	if presence(payload) != Offline {
		return Result{}
	}
	for _, device := range slices.Sorted(maps.Keys(z.seen)) {
		result.Reports = append(result.Reports, Report{Device: device, Presence: Offline, Known: true})
	}
	return result
}

// availability reads {"state":"online"}, or online alone.
func availability(device string, payload []byte) Result {
	if says := presence(payload); says != Unknown {
		return Result{Reports: []Report{{Device: device, Presence: says}}}
	}
	return Result{}
}

func presence(payload []byte) Presence {
	says := string(payload)
	if members, err := object(payload); err == nil {
		says = text(members, "state")
	}
	switch says {
	case "online":
		return Online
	case "offline":
		return Offline
	}
	return Unknown
}

func (z *zigbee) state(device string, payload []byte) Result {
	members, err := object(payload)
	if err != nil {
		return Result{Problem: err.Error()}
	}
	z.seen.put(device, struct{}{})
	values := readings{}
	report := Report{Device: device, State: map[string]any{}}
	for _, name := range sorted(members) {
		value := members[name]
		on, isSwitch := onOff(value)
		isState := name == "state" || strings.HasPrefix(name, "state_")
		switch {
		case value == nil || name == "update" || name == "last_seen" || name == "device":
			continue
		case isState && isSwitch:
			report.State["power"+strings.TrimPrefix(name, "state")] = on
			values.put(name, hearth.Boolean(on), true)
		default:
			if z.canSet(device, name) {
				report.State[name] = value
			}
			values.add(name, value)
		}
	}
	report.Readings = values.entries
	report.Answer = &Answer{CommandAnswer: hearth.CommandAnswer{OK: true}, Matches: func(name string, params json.RawMessage) bool {
		set, err := object(params)
		if name != "set" || err != nil {
			return false
		}
		for member := range set {
			if _, said := members[member]; !said && member != "transition" {
				return false
			}
		}
		return true
	}}
	return Result{Reports: []Report{report}, Problem: values.problem()}
}

// canSet reports whether a member of a device's state can be set.
func (z *zigbee) canSet(device, name string) bool {
	if described, ok := z.settable[device]; ok {
		return described[name]
	}
	switch name {
	case "state", "brightness", "color", "color_temp", "color_mode", "position", "tilt", "fan_mode", "occupied_heating_setpoint", "system_mode":
		return true
	}
	return false
}

func (*zigbee) desired(device string, delta map[string]any) []Message {
	set := map[string]any{}
	for name, value := range delta {
		if suffix, ok := strings.CutPrefix(name, "power"); ok {
			if on, isBoolean := value.(bool); isBoolean {
				set["state"+suffix] = switched(on)
				continue
			}
		}
		set[name] = value
	}
	return []Message{{Topic: "zigbee2mqtt/" + device + "/set", Payload: encode(set)}}
}

func (*zigbee) command(device string, c hearth.Command) ([]Message, error) {
	if c.Name != "set" {
		return nil, errors.New(`a device of Zigbee2MQTT has the command "set" alone, with an object of what to set`)
	}
	if _, err := object(c.Params); err != nil {
		return nil, errors.New("params must be an object of what to set")
	}
	return []Message{{Topic: "zigbee2mqtt/" + device + "/set", Payload: c.Params}}, nil
}
