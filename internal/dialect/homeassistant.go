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

// discovery reads what devices announce for Home Assistant, for each entity or for a device as a whole, and their states on the topics that
// they name.
type discovery struct {
	// claims reports whether another dialect of the integration reads a topic: what is announced for it is that dialect's.
	claims func(topic string) bool
	// entities are by the topic of their announcement and their place in it; topics are those of states and availability.
	entities map[string]map[string]*entity
	topics   map[string][]*entity
	// unread are the announcements that a problem was returned for.
	unread remembered[struct{}]
	// kinds are the types of devices by their entities.
	kinds remembered[string]
}

// entity is one thing of a device: a sensor, a switch.
type entity struct {
	device    string
	component string
	name      string // the event, and the member of the state
	state     string // topic; "" if it has none
	value     *template
	// on and off are what the state says of a switch; turnOn and turnOff what it is sent on the command topic.
	on, off, turnOn, turnOff string
	command                  string
	json                     bool // the state and the command are objects
	availability             []available
}

// available is a topic that says whether the device is there.
type available struct {
	topic, yes, no string
	value          *template
}

func newDiscovery(claims func(string) bool) *discovery {
	return &discovery{
		claims: claims, entities: map[string]map[string]*entity{}, topics: map[string][]*entity{}, unread: remembered[struct{}]{},
		kinds: remembered[string]{},
	}
}

func (*discovery) filters() []Filter {
	return []Filter{{Topic: "homeassistant/+/+/config", All: true}, {Topic: "homeassistant/+/+/+/config", All: true}}
}

func (d *discovery) read(m Message, _ time.Time) (Result, bool) {
	if Matches("homeassistant/+/+/config", m.Topic) || Matches("homeassistant/+/+/+/config", m.Topic) {
		return d.announced(m), true
	}
	entities, ok := d.topics[m.Topic]
	if !ok {
		return Result{}, false
	}
	return d.stated(m, entities), true
}

// announced reads an announcement; an empty one withdraws the former.
func (d *discovery) announced(m Message) Result {
	d.withdraw(m.Topic)
	if len(m.Payload) == 0 {
		return Result{}
	}
	levels := strings.Split(m.Topic, "/")
	members, err := object(m.Payload)
	if err != nil {
		return d.problem(m.Topic, err.Error())
	}
	expand(members)
	about, id := aboutHome(inner(members, "device"))
	if id == "" {
		if id = text(members, "unique_id"); id == "" {
			id = strings.Join(levels[2:len(levels)-1], "/")
		}
		about.Name = orElse(text(members, "name"), id)
	}
	about.Name = orElse(about.Name, id)
	made := map[string]*entity{}
	problem := ""
	add := func(place, component string, of map[string]any) {
		one, err := newEntity(id, component, of)
		if err != nil {
			problem = err.Error()
			return
		}
		if one != nil && (one.state == "" || !d.claims(one.state)) && (one.command == "" || !d.claims(one.command)) {
			made[place] = one
		}
	}
	if levels[1] == "device" {
		components := inner(members, "components")
		for _, place := range sorted(components) {
			of := inner(components, place)
			expand(of)
			for _, name := range []string{"~", "state_topic", "command_topic", "availability_topic", "availability", "payload_available", "payload_not_available"} {
				if _, has := of[name]; !has && of != nil && members[name] != nil {
					of[name] = members[name]
				}
			}
			if of != nil {
				of["object_id"] = orElse(text(of, "object_id"), place)
				add(place, text(of, "platform"), of)
			}
		}
	} else {
		members["object_id"] = orElse(text(members, "object_id"), levels[len(levels)-2])
		add("", levels[1], members)
	}
	result := Result{}
	if problem != "" {
		result = d.problem(m.Topic, problem)
	}
	if len(made) == 0 {
		return result
	}
	if !d.enter(m.Topic, made, &result) {
		return d.problem(m.Topic, "there are too many topics of Home Assistant's discovery")
	}
	about.Type = d.kind(id, made)
	result.Reports = []Report{{Device: id, About: &about}}
	return result
}

// problem returns what cannot be read, once for each announcement.
func (d *discovery) problem(topic, text string) Result {
	if _, said := d.unread[topic]; said || !d.unread.put(topic, struct{}{}) {
		return Result{}
	}
	return Result{Problem: text}
}

// enter notes entities and what is to be subscribed to for them.
func (d *discovery) enter(topic string, made map[string]*entity, result *Result) bool {
	if len(d.entities) >= maxTopics || len(d.topics)+2*len(made) > maxTopics {
		return false
	}
	d.entities[topic] = made
	for _, place := range slices.Sorted(maps.Keys(made)) {
		one := made[place]
		if one.state != "" {
			d.listen(Filter{Topic: one.state}, one, result)
		}
		for _, a := range one.availability {
			d.listen(Filter{Topic: a.topic, All: true}, one, result)
		}
	}
	return true
}

func (d *discovery) listen(filter Filter, one *entity, result *Result) {
	if len(d.topics[filter.Topic]) == 0 {
		result.Subscribe = append(result.Subscribe, filter)
	}
	if !slices.Contains(d.topics[filter.Topic], one) && len(d.topics[filter.Topic]) < maxReadings {
		d.topics[filter.Topic] = append(d.topics[filter.Topic], one)
	}
}

// withdraw forgets what a topic announced.
func (d *discovery) withdraw(topic string) {
	gone := d.entities[topic]
	delete(d.entities, topic)
	for _, one := range gone {
		topics := []string{one.state}
		for _, a := range one.availability {
			topics = append(topics, a.topic)
		}
		for _, of := range topics {
			left := slices.DeleteFunc(d.topics[of], func(e *entity) bool { return e == one })
			if d.topics[of] = left; len(left) == 0 {
				delete(d.topics, of)
			}
		}
	}
}

// aboutHome returns what a device says of itself, and its id; "" if it has none.
func aboutHome(device map[string]any) (about About, id string) {
	expandDevice(device)
	about = About{
		Name: text(device, "name"), Manufacturer: text(device, "manufacturer"), Model: text(device, "model"), Version: text(device, "sw_version"),
		Area: text(device, "suggested_area"),
	}
	switch ids := device["identifiers"].(type) {
	case string:
		return about, ids
	case []any:
		id, _ = first(ids).(string)
	}
	if connections, ok := device["connections"].([]any); ok && id == "" {
		if pair, ok := first(connections).([]any); ok && len(pair) == 2 {
			id, _ = pair[1].(string)
		}
	}
	return about, id
}

// kind returns the type of a device that has further entities: that of the first that can be switched, else sensor.
func (d *discovery) kind(device string, made map[string]*entity) string {
	if known := d.kinds[device]; known != "" {
		return known
	}
	for _, kind := range []string{"light", "switch", "cover", "lock", "fan", "climate", "valve", "siren"} {
		for _, one := range made {
			if one.component == kind {
				d.kinds.put(device, kind)
				return kind
			}
		}
	}
	return "sensor"
}

// newEntity returns an entity, or nil for one that has no values and no commands.
func newEntity(device, component string, of map[string]any) (*entity, error) {
	switch component {
	case "", "camera", "image", "tag", "device_automation", "device_tracker", "notify", "scene", "update":
		return nil, nil //nolint:nilnil // no entity is a value
	}
	base := text(of, "~")
	topic := func(name string) string {
		t := text(of, name)
		switch {
		case strings.HasPrefix(t, "~"):
			t = base + t[1:]
		case strings.HasSuffix(t, "~"):
			t = t[:len(t)-1] + base
		}
		if len(t) > 1024 || strings.ContainsAny(t, "+#\x00") {
			return ""
		}
		return t
	}
	one := &entity{
		device: device, component: component, name: eventName(orElse(text(of, "object_id"), text(of, "unique_id"))),
		state: topic("state_topic"), command: topic("command_topic"), json: text(of, "schema") == "json",
		turnOn: said(of["payload_on"], "ON"), turnOff: said(of["payload_off"], "OFF"),
	}
	one.on, one.off = said(of["state_on"], one.turnOn), said(of["state_off"], one.turnOff)
	if component == "button" {
		one.turnOn = said(of["payload_press"], "PRESS")
	}
	if component == "lock" {
		one.turnOn, one.turnOff = said(of["payload_lock"], "LOCK"), said(of["payload_unlock"], "UNLOCK")
		one.on, one.off = said(of["state_locked"], "LOCKED"), said(of["state_unlocked"], "UNLOCKED")
	}
	if !hearth.ValidEvent(one.name) {
		return nil, errors.New("the name of an entity is longer than 64 characters")
	}
	var err error
	if one.value, err = parseTemplate(orElse(text(of, "value_template"), text(of, "state_value_template"))); err != nil {
		return nil, err
	}
	return one, one.availabilities(of, topic)
}

// availabilities reads where an entity says whether it is there.
func (e *entity) availabilities(of map[string]any, topic func(string) string) error {
	yes, no := said(of["payload_available"], "online"), said(of["payload_not_available"], "offline")
	if t := topic("availability_topic"); t != "" {
		value, err := parseTemplate(text(of, "availability_template"))
		e.availability = append(e.availability, available{t, yes, no, value})
		return err
	}
	list, _ := of["availability"].([]any)
	for i, one := range list {
		members, ok := one.(map[string]any)
		if !ok || i == maxArray {
			continue
		}
		expand(members)
		t := text(members, "topic")
		if strings.HasPrefix(t, "~") {
			t = text(of, "~") + t[1:]
		}
		if t == "" || strings.ContainsAny(t, "+#\x00") {
			continue
		}
		value, err := parseTemplate(text(members, "value_template"))
		if err != nil {
			return err
		}
		e.availability = append(e.availability, available{t, said(members["payload_available"], yes), said(members["payload_not_available"], no), value})
	}
	return nil
}

// said returns a value as a payload has it.
func said(value any, otherwise string) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	}
	return otherwise
}

// stated reads a message on a topic that entities named.
func (d *discovery) stated(m Message, entities []*entity) Result {
	byDevice := map[string]*Report{}
	values := map[string]*readings{}
	var order []string
	for _, one := range entities {
		report := byDevice[one.device]
		if report == nil {
			report = &Report{Device: one.device, State: map[string]any{}}
			byDevice[one.device], values[one.device] = report, &readings{}
			order = append(order, one.device)
		}
		for _, a := range one.availability {
			if a.topic == m.Topic {
				report.Presence = a.read(m.Payload, report.Presence)
			}
		}
		if one.state == m.Topic {
			one.read(m.Payload, report, values[one.device])
		}
	}
	result := Result{}
	for _, device := range order {
		byDevice[device].Readings = values[device].entries
		result.Reports = append(result.Reports, *byDevice[device])
	}
	return result
}

func (a available) read(payload []byte, before Presence) Presence {
	value, ok := a.value.apply(payload)
	if !ok {
		return before
	}
	switch said(value, "") {
	case a.yes:
		return Online
	case a.no:
		return Offline
	}
	return before
}

// read adds the state that a payload says of an entity.
func (e *entity) read(payload []byte, report *Report, values *readings) {
	value, ok := e.value.apply(payload)
	if e.json {
		members, err := object(payload)
		value, ok = members["state"], err == nil && members["state"] != nil
	}
	if !ok {
		return
	}
	switch e.component {
	case "switch", "light", "binary_sensor", "fan", "siren", "lock":
		on := said(value, "") == e.on
		if !on && said(value, "") != e.off {
			return
		}
		value = on
		values.put(e.name, hearth.Boolean(on), true)
	default:
		if s, isText := value.(string); isText {
			stored, ok := plain([]byte(s))
			if !ok {
				return
			}
			value = stored
			values.put(e.name, stored, true)
		} else {
			values.add(e.name, value)
		}
	}
	if e.command != "" {
		report.State[e.name] = value
	}
}

// settable returns the entity of a device that is set by a name.
func (d *discovery) settable(device, name string) *entity {
	for _, made := range d.entities {
		for _, one := range made {
			if one.device == device && one.name == name && one.command != "" {
				return one
			}
		}
	}
	return nil
}

func (d *discovery) desired(device string, delta map[string]any) (messages []Message) {
	for _, name := range sorted(delta) {
		if one := d.settable(device, name); one != nil {
			messages = append(messages, Message{Topic: one.command, Payload: one.order(delta[name])})
		}
	}
	return messages
}

// order returns what an entity is sent to become a value.
func (e *entity) order(value any) []byte {
	on, isSwitch := value.(bool)
	switch {
	case e.json && isSwitch:
		return encode(map[string]any{"state": switched(on)})
	case isSwitch && on:
		return []byte(e.turnOn)
	case isSwitch:
		return []byte(e.turnOff)
	}
	return []byte(argument(value))
}

func (d *discovery) command(device string, c hearth.Command) ([]Message, error) {
	one := d.settable(device, c.Name)
	if one == nil {
		return nil, errors.New("the device has announced no entity of that name with a command topic")
	}
	value := any(true) // a button
	if len(c.Params) > 0 {
		var err error
		if value, err = decode(c.Params); err != nil {
			return nil, err
		}
	}
	return []Message{{Topic: one.command, Payload: one.order(value)}}, nil
}
