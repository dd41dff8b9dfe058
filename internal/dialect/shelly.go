package dialect

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth"
)

// shelly reads devices of Shelly's second generation and later: {id}/events/rpc, {id}/status/{component}, {id}/online, {id}/rpc.
type shelly struct{ seen remembered[shellyDevice] }

// shellyDevice is what is known of a device.
type shellyDevice struct {
	// lamp says that its first output is light:0.
	lamp bool
}

// asker begins the topic that devices answer on: hearth/rpc, or hearth/{command}/rpc.
const asker = "hearth"

func newShelly() *shelly { return &shelly{seen: remembered[shellyDevice]{}} }

func (*shelly) filters() []Filter {
	return []Filter{
		{Topic: "+/online", All: true}, {Topic: "+/events/rpc"}, {Topic: "+/status/+"}, {Topic: asker + "/rpc"}, {Topic: asker + "/+/rpc"},
	}
}

func (s *shelly) read(m Message, now time.Time) (Result, bool) {
	levels := strings.Split(m.Topic, "/")
	device := levels[0]
	switch {
	case device == asker && levels[len(levels)-1] == "rpc" && (len(levels) == 2 || len(levels) == 3):
		return s.answered(levels, m.Payload, now), true
	case !s.is(device):
		return Result{}, false
	case len(levels) == 2 && levels[1] == "online":
		return s.online(device, m.Payload), true
	case len(levels) == 3 && levels[1] == "events" && levels[2] == "rpc":
		return s.notified(device, m.Payload, now), true
	case len(levels) == 3 && levels[1] == "status":
		return s.status(device, levels[2], m.Payload), true
	}
	return Result{}, false
}

// is reports whether a topic's first level names a device. A device that has another prefix than its id is not recognised.
func (s *shelly) is(name string) bool {
	_, known := s.seen[name]
	return known || strings.HasPrefix(strings.ToLower(name), "shelly")
}

// about returns what the id of a device says: the model and its address, such as shellyplus1pm-a0b1c2d3e4f5.
func aboutShelly(device string) *About {
	model, _, _ := strings.Cut(device, "-")
	about := About{Type: "switch", Manufacturer: "Shelly", Model: model}
	switch {
	case strings.Contains(model, "dimmer"), strings.Contains(model, "rgbw"), strings.Contains(model, "bulb"):
		about.Type = "light"
	case strings.Contains(model, "ht"), strings.Contains(model, "em"), strings.Contains(model, "smoke"), strings.Contains(model, "uni"):
		about.Type = "sensor"
	}
	return &about
}

func (s *shelly) online(device string, payload []byte) Result {
	report := Report{Device: device, About: aboutShelly(device), Presence: Offline}
	if string(payload) != "true" {
		return Result{Reports: []Report{report}}
	}
	report.Presence = Online
	s.remember(device)
	ask := func(method string) Message {
		return Message{Topic: device + "/rpc", Payload: encode(map[string]any{"id": 1, "src": asker, "method": method})}
	}
	return Result{Reports: []Report{report}, Publish: []Message{ask("Shelly.GetDeviceInfo"), ask("Shelly.GetStatus")}}
}

func (s *shelly) remember(device string) {
	if _, known := s.seen[device]; !known {
		s.seen.put(device, shellyDevice{})
	}
}

// notified reads a notification: what has changed of the components.
func (s *shelly) notified(device string, payload []byte, now time.Time) Result {
	members, err := object(payload)
	if err != nil {
		return Result{Problem: err.Error()}
	}
	switch text(members, "method") {
	case "NotifyStatus", "NotifyFullStatus":
	default:
		return Result{}
	}
	return s.components(device, inner(members, "params"), now)
}

// status reads the full state of one component.
func (s *shelly) status(device, component string, payload []byte) Result {
	members, err := object(payload)
	if err != nil {
		return Result{Problem: err.Error()}
	}
	return s.components(device, map[string]any{component: members}, time.Time{})
}

// components reads what is said of components, and of the time it is of.
func (s *shelly) components(device string, components map[string]any, now time.Time) Result {
	s.remember(device)
	values := readings{}
	if at, ok := parseTime(components["ts"], time.UTC, now); ok {
		values.at = at
	}
	report := Report{Device: device, State: map[string]any{}}
	for _, component := range sorted(components) {
		members := inner(components, component)
		kind, _, numbered := strings.Cut(component, ":")
		if members == nil || !numbered {
			continue // sys, wifi, mqtt: how the device itself is
		}
		if kind == "light" {
			s.seen.put(device, shellyDevice{lamp: true})
		}
		state := map[string]any{}
		for _, name := range sorted(members) {
			value := members[name]
			switch name {
			case "id", "source", "timer_started_at", "timer_duration", "errors":
				continue
			case "output":
				state[name] = value
				if on, ok := value.(bool); ok {
					values.put(component+".output", hearth.Boolean(on), true)
				}
				continue
			case "brightness", "temp", "rgb", "white", "current_pos", "state", "target_C", "value":
				state[name] = value
			}
			if parts, ok := value.(map[string]any); ok { // energy: {"total", "by_minute", "minute_ts"}
				delete(parts, "by_minute")
				delete(parts, "minute_ts")
			}
			values.add(component+"."+name, value)
		}
		if on, ok := state["output"].(bool); ok && (component == "switch:0" || component == "light:0") {
			report.State["power"] = on
			delete(state, "output")
		}
		if len(state) > 0 {
			report.State[component] = state
		}
	}
	report.Readings = values.entries
	return Result{Reports: []Report{report}, Problem: values.problem()}
}

// answered reads the answer to a request: of a command, on hearth/{command}/rpc, or of one about the device itself.
func (s *shelly) answered(levels []string, payload []byte, now time.Time) Result {
	members, err := object(payload)
	device := text(members, "src")
	if err != nil || !s.is(device) || len(device) > hearth.MaxDeviceName {
		return Result{}
	}
	result, failure := inner(members, "result"), inner(members, "error")
	if len(levels) == 3 {
		answer := Answer{CommandID: levels[1], CommandAnswer: hearth.CommandAnswer{OK: true, Result: encode(members["result"])}}
		if failure != nil {
			answer.CommandAnswer = hearth.CommandAnswer{Error: "the device answered: " + argument(failure["code"]) + " " + text(failure, "message")}
		}
		return Result{Reports: []Report{{Device: device, Answer: &answer, Known: true}}}
	}
	switch {
	case failure != nil:
		return Result{Problem: device + " answered: " + argument(failure["code"]) + " " + text(failure, "message")}
	case text(result, "model") != "":
		about := aboutShelly(device)
		about.Model, about.Version = text(result, "model"), text(result, "ver")
		about.Name = text(result, "name")
		return Result{Reports: []Report{{Device: device, About: about}}}
	case inner(result, "sys") != nil:
		return s.components(device, result, now)
	}
	return Result{}
}

func (s *shelly) desired(device string, delta map[string]any) (messages []Message) {
	sets := map[string]map[string]any{}
	for name, value := range delta {
		if name == "power" {
			component := "switch:0"
			if s.seen[device].lamp {
				component = "light:0"
			}
			if sets[component] == nil {
				sets[component] = map[string]any{}
			}
			sets[component]["on"] = value
			continue
		}
		members, ok := value.(map[string]any)
		if !ok {
			continue
		}
		if sets[name] == nil {
			sets[name] = map[string]any{}
		}
		for member, wanted := range members {
			switch member {
			case "output":
				member = "on"
			case "current_pos":
				member = "pos"
			}
			sets[name][member] = wanted
		}
	}
	for id, component := range slices.Sorted(maps.Keys(sets)) {
		kind, number, _ := strings.Cut(component, ":")
		n, err := strconv.Atoi(number)
		if err != nil || kind == "" {
			continue
		}
		params := sets[component]
		params["id"] = n
		method := strings.ToUpper(kind[:1]) + kind[1:] + ".Set"
		if kind == "cover" {
			method = "Cover.GoToPosition"
		}
		messages = append(messages, Message{Topic: device + "/rpc", Payload: encode(map[string]any{
			"id": id + 2, "src": asker, "method": method, "params": params,
		})})
	}
	return messages
}

func (*shelly) command(device string, c hearth.Command) ([]Message, error) {
	if !strings.Contains(c.Name, ".") {
		return nil, errors.New("the name must be a method, such as Switch.Toggle")
	}
	request := map[string]any{"id": 1, "src": asker + "/" + c.ID, "method": c.Name}
	if len(c.Params) > 0 {
		request["params"] = c.Params
	}
	return []Message{{Topic: device + "/rpc", Payload: encode(request)}}, nil
}
