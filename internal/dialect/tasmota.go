package dialect

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"hearth"
)

// tasmota reads the firmware Tasmota with its default topics: tele/{topic}/SENSOR, stat/{topic}/RESULT, cmnd/{topic}/{command}.
type tasmota struct{ zone *time.Location }

func newTasmota(zone *time.Location) tasmota { return tasmota{zone} }

func (tasmota) filters() []Filter {
	return []Filter{
		{Topic: "tasmota/discovery/+/config", All: true}, {Topic: "tele/+/LWT", All: true},
		{Topic: "tele/+/SENSOR"}, {Topic: "tele/+/STATE"}, {Topic: "stat/+/RESULT"},
	}
}

func (t tasmota) read(m Message, now time.Time) (Result, bool) {
	levels := strings.Split(m.Topic, "/")
	if len(levels) == 4 && levels[0] == "tasmota" && levels[1] == "discovery" && levels[3] == "config" {
		return announcedTasmota(m.Payload), true
	}
	if len(levels) != 3 || levels[0] != "tele" && levels[0] != "stat" || levels[1] == "" {
		return Result{}, false
	}
	report := Report{Device: levels[1]}
	switch levels[0] + "/" + levels[2] {
	case "tele/LWT":
		report.Presence = Offline
		if string(m.Payload) == "Online" {
			report.Presence = Online
		}
		report.About = &About{Manufacturer: "Tasmota"}
		return Result{Reports: []Report{report}}, true
	case "tele/SENSOR", "tele/STATE", "stat/RESULT":
	default:
		return Result{}, false
	}
	members, err := object(m.Payload)
	if err != nil {
		return Result{Problem: err.Error()}, true
	}
	values := readings{}
	if at, ok := parseTime(members["Time"], t.zone, now); ok {
		values.at = at
	}
	switch levels[2] {
	case "SENSOR":
		for _, name := range sorted(members) {
			if name != "Time" && !strings.HasSuffix(name, "Unit") {
				values.add(name, members[name])
			}
		}
	case "STATE":
		report.State = settings(members, &values)
		values.add("Wifi.RSSI", inner(members, "Wifi")["RSSI"])
	default:
		report.State = settings(members, &values)
		report.Answer = answeredTasmota(members, m.Payload)
	}
	report.Readings = values.entries
	return Result{Reports: []Report{report}, Problem: values.problem()}, true
}

// announcedTasmota reads what a device publishes about itself: dn and fn are its names, t its topic, rl the kinds of its relays.
func announcedTasmota(payload []byte) Result {
	members, err := object(payload)
	if err != nil {
		return Result{Problem: err.Error()}
	}
	device := text(members, "t")
	if device == "" {
		return Result{Problem: "the announcement has no topic"}
	}
	about := About{
		Name: text(members, "dn"), Type: "sensor", Manufacturer: "Tasmota", Model: text(members, "md"), Version: text(members, "sw"),
	}
	if names, _ := members["fn"].([]any); len(names) > 0 {
		if name, _ := names[0].(string); name != "" {
			about.Name = name
		}
	}
	relays, _ := members["rl"].([]any)
	for _, relay := range relays {
		switch relay {
		case json.Number("1"):
			about.Type = "switch"
		case json.Number("2"):
			about.Type = "light"
		case json.Number("3"):
			about.Type = "cover"
		}
		if about.Type != "sensor" {
			break
		}
	}
	return Result{Reports: []Report{{Device: device, About: &about}}}
}

// settings returns the members of a state that can be set: POWER as power, with a boolean, the others as they are.
func settings(members map[string]any, values *readings) map[string]any {
	state := map[string]any{}
	for _, name := range sorted(members) {
		value := members[name]
		if power, ok := strings.CutPrefix(name, "POWER"); ok && len(power) <= 2 {
			if on, ok := onOff(value); ok {
				state["power"+power] = on
				values.put("power"+power, hearth.Boolean(on), true)
			}
			continue
		}
		switch name {
		case "Time", "Uptime", "UptimeSec", "Heap", "SleepMode", "Sleep", "LoadAvg", "MqttCount", "Wifi", "Berry", "Command", "Hostname", "IPAddress":
			continue
		}
		switch value.(type) {
		case json.Number, string, bool:
			state[name] = value
			if _, isNumber := value.(json.Number); isNumber {
				values.add(name, value)
			}
		}
	}
	return state
}

// answeredTasmota returns the answer to a command that a result is: its name, or its beginning, is one of the result's members.
func answeredTasmota(members map[string]any, payload []byte) *Answer {
	answer := Answer{CommandAnswer: hearth.CommandAnswer{OK: true, Result: hearth.CanonicalJSON(payload)}}
	if failure := text(members, "Command"); failure == "Unknown" || failure == "Error" {
		answer.CommandAnswer = hearth.CommandAnswer{Error: "the device answered: " + failure}
		answer.Matches = func(string, json.RawMessage) bool { return true }
		return &answer
	}
	answer.Matches = func(name string, _ json.RawMessage) bool {
		for member := range members {
			if strings.EqualFold(withoutIndex(member), withoutIndex(name)) {
				return true
			}
		}
		return false
	}
	return &answer
}

// withoutIndex returns the name of a command without the number of its relay: a device with one relay answers Power1 with POWER.
func withoutIndex(name string) string { return strings.TrimRight(name, "0123456789") }

func (tasmota) desired(device string, delta map[string]any) (messages []Message) {
	for _, name := range sorted(delta) {
		if !validLevel(name) {
			continue
		}
		command := name
		if index, ok := strings.CutPrefix(name, "power"); ok {
			command = "Power" + index
		}
		messages = append(messages, Message{Topic: "cmnd/" + device + "/" + command, Payload: []byte(argument(delta[name]))})
	}
	return messages
}

func (tasmota) command(device string, c hearth.Command) ([]Message, error) {
	if !validLevel(c.Name) {
		return nil, errors.New("the name is no command of Tasmota")
	}
	payload := ""
	if len(c.Params) > 0 {
		params, err := decode(c.Params)
		if err != nil {
			return nil, err
		}
		if members, ok := params.(map[string]any); ok && len(members) == 1 && members["value"] != nil {
			params = members["value"]
		}
		payload = argument(params)
	}
	return []Message{{Topic: "cmnd/" + device + "/" + c.Name, Payload: []byte(payload)}}, nil
}

// validLevel reports whether a name may be a level of a topic.
func validLevel(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsAny(name, "/+#\x00")
}
