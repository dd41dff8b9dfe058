// Package dialect translates between the messages of devices as they are sold and what hearth knows of devices: readings, a reported state,
// whether the device is connected. It does no I/O and keeps no clock. A dialect may remember what devices announced, within bounds.
package dialect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hearth"
)

// The names of the dialects.
const (
	HomeAssistant = "homeassistant"
	Zigbee2MQTT   = "zigbee2mqtt"
	Tasmota       = "tasmota"
	Shelly        = "shelly"
	ESPHome       = "esphome"
	SenML         = "senml"
	Sparkplug     = "sparkplug"
	JSON          = "json"
)

const (
	// maxDevices bounds the devices that a dialect remembers something of, maxTopics the topics of Home Assistant's discovery.
	maxDevices = 20_000
	maxTopics  = 20_000
	// maxNesting is how deep values are nested; maxArray the elements of an array of values; maxReadings the values of one message.
	maxNesting  = 8
	maxArray    = 32
	maxReadings = 2000
)

// Message is one that a broker carries.
type Message struct {
	Topic   string
	Payload []byte
	// Retained says that the broker kept the message: it may be old.
	Retained bool
}

// Filter is what is to be subscribed to.
type Filter struct {
	Topic string
	// All says that every client that shares the work needs the messages: announcements and availability.
	All bool
}

// Presence is what a message says of a device's connection.
type Presence int8

// The presences: the zero value says nothing.
const (
	Unknown Presence = iota
	Online
	Offline
)

// About is what a device says of itself. Empty fields say nothing, and the type sensor says less than another one.
type About struct {
	Name         string
	Type         string // such as light, switch, sensor
	Manufacturer string
	Model        string
	Version      string // of its firmware
	Area         string
}

// Answer is what a device says that a command came to.
type Answer struct {
	// CommandID names the command. Without it, the answer is of the device's first open command that Matches.
	CommandID string
	Matches   func(name string, params json.RawMessage) bool
	hearth.CommandAnswer
}

// Report is what a message says of one device.
type Report struct {
	// Dialect and Device name the device in an integration: Device is its address in the dialect.
	Dialect, Device string
	// About is nil where the message is no announcement.
	About *About
	// Known says that the message says nothing for which a device is to be made.
	Known bool
	// Readings without a time have an At of 0: they are of the time of arrival. Each can be stored once At is set.
	Readings []hearth.LogEntry
	// State is a merge patch of the reported state; nil: none.
	State    map[string]any
	Presence Presence
	Answer   *Answer
}

// Result is what a message says.
type Result struct {
	Reports []Report
	// Subscribe are filters that the message makes necessary.
	Subscribe []Filter
	// Publish are messages that are to be sent back.
	Publish []Message
	// Problem says what could not be read; "": everything was.
	Problem string
}

// Options are what a Translator works with.
type Options struct {
	Dialects []string
	// Topics are the patterns of the dialect JSON, such as site/{device}/{event}.
	Topics []string
	// Zone is that of times without one; nil: UTC.
	Zone *time.Location
	// Alone says that all messages come to this translator: it may count them.
	Alone bool
}

// codec is one dialect.
type codec interface {
	// filters returns what to subscribe to.
	filters() []Filter
	// read returns what a message says; ok is false for a topic that is not the dialect's.
	read(m Message, now time.Time) (result Result, ok bool)
	// desired returns the messages that have a device become what delta says.
	desired(device string, delta map[string]any) []Message
	// command returns the messages of a command. An error says why the device has no such command.
	command(device string, c hearth.Command) ([]Message, error)
}

// Translator translates the messages of one broker. It is not safe for use by several goroutines at once.
type Translator struct {
	names  []string
	codecs map[string]codec
}

// Names returns the names of all dialects, in the order in which a topic is read: Home Assistant's discovery comes last, because devices
// announce there what their own dialect says better.
func Names() []string {
	return []string{Tasmota, Zigbee2MQTT, Shelly, Sparkplug, SenML, JSON, ESPHome, HomeAssistant}
}

// New returns a translator. It fails for a dialect that is unknown and a pattern that is wrong.
func New(o Options) (*Translator, error) {
	o.Zone = cmp.Or(o.Zone, time.UTC)
	t := &Translator{codecs: map[string]codec{}}
	for _, name := range o.Dialects {
		made, err := newCodec(name, o, t)
		if err != nil {
			return nil, err
		}
		t.codecs[name] = made
	}
	for _, name := range Names() {
		if t.codecs[name] != nil {
			t.names = append(t.names, name)
		}
	}
	return t, nil
}

func newCodec(name string, o Options, t *Translator) (codec, error) {
	switch name {
	case Tasmota:
		return newTasmota(o.Zone), nil
	case Zigbee2MQTT:
		return newZigbee(), nil
	case Shelly:
		return newShelly(), nil
	case ESPHome:
		return newESPHome(), nil
	case SenML:
		return senML{}, nil
	case Sparkplug:
		return newSparkplug(o.Alone), nil
	case JSON:
		return newPatterns(o.Topics, o.Zone)
	case HomeAssistant:
		return newDiscovery(t.claims), nil
	}
	return nil, fmt.Errorf("there is no dialect %q", name)
}

// Filters returns what to subscribe to.
func (t *Translator) Filters() (filters []Filter) {
	for _, name := range t.names {
		filters = append(filters, t.codecs[name].filters()...)
	}
	return filters
}

// Read returns what a message that came at the time now says. A message on a topic of no dialect says nothing.
func (t *Translator) Read(m Message, now time.Time) Result {
	for _, name := range t.names {
		result, ok := t.codecs[name].read(m, now)
		if !ok {
			continue
		}
		for i := range result.Reports {
			result.Reports[i].Dialect = name
		}
		return result
	}
	return Result{}
}

// Desired returns the messages that have a device become what delta, an object, says.
func (t *Translator) Desired(name, device string, delta json.RawMessage) []Message {
	members, err := object(delta)
	if err != nil || len(members) == 0 || t.codecs[name] == nil {
		return nil
	}
	return t.codecs[name].desired(device, members)
}

// Command returns the messages of a command. An error says why the device has no such command.
func (t *Translator) Command(name, device string, c hearth.Command) ([]Message, error) {
	if t.codecs[name] == nil {
		return nil, fmt.Errorf("the integration no longer has the dialect %s", name)
	}
	return t.codecs[name].command(device, c)
}

// claims reports whether a dialect other than Home Assistant's discovery reads a topic.
func (t *Translator) claims(topic string) bool {
	for name, one := range t.codecs {
		if name == HomeAssistant {
			continue
		}
		for _, filter := range one.filters() {
			if Matches(filter.Topic, topic) {
				return true
			}
		}
	}
	return false
}

// Matches reports whether a topic is one that a filter asks for.
func Matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") != strings.HasPrefix(filter, "$") {
		return false
	}
	for {
		want, laterWanted, moreWanted := strings.Cut(filter, "/")
		have, laterHad, moreHad := strings.Cut(topic, "/")
		switch {
		case want == "#":
			return true
		case want != "+" && want != have:
			return false
		case !moreWanted || !moreHad:
			return moreWanted == moreHad || !moreHad && laterWanted == "#"
		}
		filter, topic = laterWanted, laterHad
	}
}
