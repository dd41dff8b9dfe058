package dialect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth"
)

// patterns reads JSON and plain values by patterns of topics, such as site/{device}/{event}.
type patterns struct {
	zone *time.Location
	of   []pattern
}

// pattern is one of them.
type pattern struct {
	levels []string
	// base is what comes before {event}, with {device} in it: commands go to a topic below it.
	base []string
}

// The last levels below a device that are no events: what the device says of itself, and what it is sent.
const (
	levelStatus   = "status"
	levelReported = "reported"
	levelResult   = "result"
	levelDesired  = "desired"
	levelCommand  = "command"
)

// CheckPattern says what is wrong with a pattern: a sentence's end; "" if nothing is.
func CheckPattern(text string) string {
	_, err := parsePattern(text)
	if err != nil {
		return err.Error()
	}
	return ""
}

func parsePattern(text string) (p pattern, err error) {
	if len(text) > 256 || !strings.Contains(text, "/") || strings.HasPrefix(text, "$") {
		return p, errors.New("must be a topic of up to 256 bytes such as site/{device}/{event}")
	}
	p.levels = strings.Split(text, "/")
	devices := 0
	for i, level := range p.levels {
		switch {
		case level == "{device}":
			devices++
		case level == "{event}" && i == len(p.levels)-1:
			p.base = p.levels[:i]
		case level == "+":
		case level == "" || strings.ContainsAny(level, "{}+#\x00"):
			return p, errors.New("has a level that is neither a name, + nor {device}; {event} is the last one")
		}
	}
	if devices != 1 {
		return p, errors.New("must have {device} once")
	}
	if p.base == nil {
		p.base = p.levels
	}
	if slices.Contains(p.base, "+") {
		p.base = nil // a message would go to nobody knows whom
	}
	return p, nil
}

func newPatterns(texts []string, zone *time.Location) (*patterns, error) {
	made := &patterns{zone: zone}
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("the topic %s %w", text, err)
		}
		made.of = append(made.of, p)
	}
	return made, nil
}

func (p *patterns) filters() (filters []Filter) {
	for _, one := range p.of {
		levels := slices.Clone(one.levels)
		for i, level := range levels {
			switch level {
			case "{device}":
				levels[i] = "+"
			case "{event}":
				levels[i] = "#"
				filters = append(filters, Filter{Topic: strings.Join(levels[:i], "/") + "/" + levelStatus, All: true})
			}
		}
		filters = append(filters, Filter{Topic: strings.Join(levels, "/")})
	}
	return filters
}

// match returns the device and the event of a topic; the event is "" where the pattern has none.
func (p pattern) match(topic string) (device, event string, ok bool) {
	levels := strings.Split(topic, "/")
	if len(levels) < len(p.levels) {
		return "", "", false
	}
	for i, want := range p.levels {
		switch want {
		case "{device}":
			device = levels[i]
		case "{event}":
			event = strings.Join(levels[i:], "/")
			return device, event, device != "" && event != ""
		case "+":
		default:
			if levels[i] != want {
				return "", "", false
			}
		}
	}
	return device, "", device != "" && len(levels) == len(p.levels)
}

func (p *patterns) read(m Message, now time.Time) (Result, bool) {
	for _, one := range p.of {
		if device, event, ok := one.match(m.Topic); ok {
			return p.readEvent(device, event, m.Payload, now), true
		}
	}
	return Result{}, false
}

func (p *patterns) readEvent(device, event string, payload []byte, now time.Time) Result {
	report := Report{Device: device}
	done := func(problem string) Result { return Result{Reports: []Report{report}, Problem: problem} }
	switch first, rest, _ := strings.Cut(event, "/"); {
	case event == levelDesired || event == levelCommand:
		return Result{} // hearth sent it
	case event == levelStatus:
		switch strings.ToLower(strings.TrimSpace(string(payload))) {
		case "online", "true", "1", "on":
			report.Presence = Online
			return done("")
		case "offline", "false", "0", "off":
			report.Presence = Offline
			return done("")
		}
	case event == levelReported:
		state, err := object(payload)
		if err != nil {
			return Result{Problem: err.Error()}
		}
		report.State = state
		return done("")
	case first == levelResult && rest != "":
		return resultOf(device, rest, payload)
	}
	values := readings{}
	value, err := decode(payload)
	switch value.(type) {
	case map[string]any, []any:
	default:
		if err == nil || len(payload) > 0 && payload[0] != '{' && payload[0] != '[' {
			stored, ok := plain(payload)
			event = cmp.Or(event, "value")
			values.put(event, stored, ok)
			report.Readings = values.entries
			return done("")
		}
		return Result{Problem: errNotJSON.Error()}
	}
	p.objects(event, value, &values, now)
	report.Readings = values.entries
	return done(values.problem())
}

// objects reads an object of values, {"ts", "values"}, or an array of these.
func (p *patterns) objects(event string, value any, values *readings, now time.Time) {
	if list, ok := value.([]any); ok {
		if _, objects := first(list).(map[string]any); objects {
			for _, one := range list {
				p.objects(event, one, values, now)
			}
			return
		}
	}
	values.at = 0
	members, ok := value.(map[string]any)
	if !ok {
		values.add(event, value)
		return
	}
	if at, ok := parseTime(members["ts"], p.zone, now); ok {
		values.at = at
		delete(members, "ts")
		if nested := inner(members, "values"); nested != nil && len(members) == 1 {
			members = nested
		}
	}
	for _, name := range sorted(members) {
		values.add(joined(event, name), members[name])
	}
}

func first(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// resultOf reads {"ok", "result", "error"} of a command.
func resultOf(device, command string, payload []byte) Result {
	members, err := object(payload)
	ok, hasOK := members["ok"].(bool)
	if err != nil || !hasOK {
		return Result{Problem: `the result of a command must be {"ok":true,"result":…} or {"ok":false,"error":"…"}`}
	}
	answer := hearth.CommandAnswer{OK: ok}
	switch {
	case ok && members["result"] != nil:
		answer.Result = encode(members["result"])
	case !ok:
		answer.Error = text(members, "error")
	}
	return Result{Reports: []Report{{Device: device, Known: true, Answer: &Answer{CommandID: command, CommandAnswer: answer}}}}
}

// below returns a topic below a device's.
func (p *patterns) below(device, level string) (topic string, ok bool) {
	if !validLevel(device) {
		return "", false
	}
	for _, one := range p.of {
		if one.base == nil {
			continue
		}
		levels := slices.Clone(one.base)
		levels[slices.Index(levels, "{device}")] = device
		return strings.Join(append(levels, level), "/"), true
	}
	return "", false
}

func (p *patterns) desired(device string, delta map[string]any) []Message {
	topic, ok := p.below(device, levelDesired)
	if !ok {
		return nil
	}
	return []Message{{Topic: topic, Payload: encode(delta)}}
}

func (p *patterns) command(device string, c hearth.Command) ([]Message, error) {
	topic, ok := p.below(device, levelCommand)
	if !ok {
		return nil, errors.New("no topic of the integration leads to one device: it has + in it")
	}
	params := any(nil)
	if len(c.Params) > 0 {
		params = c.Params
	}
	return []Message{{Topic: topic, Payload: encode(map[string]any{"id": c.ID, "name": c.Name, "params": params})}}, nil
}
