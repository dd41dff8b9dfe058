// Package thingsboard translates the payloads of ThingsBoard's MQTT API for devices and gateways, as its documentation has them. Shared attributes are
// the members of the desired state, client attributes those of the reported one, and calls of the server (RPC) are commands. It does no I/O.
//
// Payloads that are read must be JSON without duplicate names.
package thingsboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// The topics. Those that end with a slash are followed by an id.
const (
	Telemetry         = "v1/devices/me/telemetry"
	Attributes        = "v1/devices/me/attributes"
	AttributesAsk     = "v1/devices/me/attributes/request/"
	AttributesAnswer  = "v1/devices/me/attributes/response/"
	Call              = "v1/devices/me/rpc/request/"
	CallAnswer        = "v1/devices/me/rpc/response/"
	GatewayConnect    = "v1/gateway/connect"
	GatewayDisconnect = "v1/gateway/disconnect"
	GatewayTelemetry  = "v1/gateway/telemetry"
	GatewayAttributes = "v1/gateway/attributes"
	GatewayAsk        = "v1/gateway/attributes/request"
	GatewayAnswer     = "v1/gateway/attributes/response"
	GatewayCall       = "v1/gateway/rpc"
)

// MaxDevices is how many devices one message of a gateway may name.
const MaxDevices = 1000

// Part is what a message of a gateway says of one device.
type Part struct {
	Device string
	Data   json.RawMessage
}

// ReadParts reads the telemetry or the attributes that a gateway sends, in the order of the payload: {"Device A": …, "Device B": …}.
func ReadParts(payload []byte) (parts []Part, err error) {
	decoder := json.NewDecoder(bytes.NewReader(payload))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("the payload must be an object with a member for each device")
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var data json.RawMessage
		if err := decoder.Decode(&data); err != nil {
			return nil, err
		}
		if len(parts) == MaxDevices {
			return nil, errors.New("the payload names more than " + strconv.Itoa(MaxDevices) + " devices")
		}
		parts = append(parts, Part{name.(string), data}) //nolint:forcetypeassert // names are strings
	}
	return parts, nil
}

// ReadConnect reads what a gateway says of a device that comes or goes: {"device":"Device A","type":"thermostat"}.
func ReadConnect(payload []byte) (device, kind string, err error) {
	var message struct {
		Device string `json:"device"`
		Type   string `json:"type"`
	}
	if err := json.Unmarshal(payload, &message); err != nil || message.Device == "" {
		return "", "", errors.New(`the payload must be an object with "device"`)
	}
	return message.Device, message.Type, nil
}

// Ask is a request for attributes.
type Ask struct {
	// ID and Device are a gateway's.
	ID     json.Number
	Device string
	// Client and Shared are the keys that are asked for; All asks for every one.
	Client, Shared []string
	All            bool
	// Single and Merged have the answer of a gateway be {"value"} and {"values"}, as it asked with "key" and "keys".
	Single, Merged bool
}

// ReadAsk reads a request of a device: {"clientKeys":"a,b","sharedKeys":"c"}. Without keys it is for all.
func ReadAsk(payload []byte) (ask Ask, err error) {
	var message struct {
		Client string `json:"clientKeys"`
		Shared string `json:"sharedKeys"`
	}
	if len(bytes.TrimSpace(payload)) > 0 {
		if err := json.Unmarshal(payload, &message); err != nil {
			return ask, errors.New(`the payload must be an object with "clientKeys" and "sharedKeys"`)
		}
	}
	split := func(keys string) (all []string) {
		for key := range strings.SplitSeq(keys, ",") {
			if key = strings.TrimSpace(key); key != "" {
				all = append(all, key)
			}
		}
		return all
	}
	ask.Client, ask.Shared = split(message.Client), split(message.Shared)
	ask.All = len(ask.Client)+len(ask.Shared) == 0
	return ask, nil
}

// ReadGatewayAsk reads a request of a gateway: {"id":1,"device":"Device A","client":["a"],"shared":["b"]}, or, as earlier versions have it,
// {"id":1,"device":"Device A","client":true,"key":"a"} with "keys" for several.
func ReadGatewayAsk(payload []byte) (ask Ask, err error) {
	var message struct {
		ID     json.Number     `json:"id"`
		Device string          `json:"device"`
		Client json.RawMessage `json:"client"`
		Shared json.RawMessage `json:"shared"`
		Key    string          `json:"key"`
		Keys   []string        `json:"keys"`
	}
	wrong := errors.New(`the payload must be an object with "id", "device", and "client" or "shared"`)
	if json.Unmarshal(payload, &message) != nil || message.ID == "" || message.Device == "" {
		return ask, wrong
	}
	ask.ID, ask.Device = message.ID, message.Device
	if message.Key != "" || len(message.Keys) > 0 {
		ask.Single, ask.Merged = message.Key != "", message.Key == ""
		if ask.Single {
			message.Keys = []string{message.Key}
		}
		if string(message.Client) == "true" {
			ask.Client = message.Keys
		} else {
			ask.Shared = message.Keys
		}
		return ask, nil
	}
	for raw, keys := range map[*json.RawMessage]*[]string{&message.Client: &ask.Client, &message.Shared: &ask.Shared} {
		if len(*raw) > 0 && json.Unmarshal(*raw, keys) != nil {
			return ask, wrong
		}
	}
	ask.All = len(ask.Client)+len(ask.Shared) == 0
	return ask, nil
}

// members are those of an object, as they stand in it.
type members map[string]json.RawMessage

func membersOf(object json.RawMessage) members {
	var all members
	_ = json.Unmarshal(object, &all) // states are objects; none is an empty one
	return all
}

func (m members) pick(keys []string) members {
	picked := members{}
	for _, key := range keys {
		if value, ok := m[key]; ok {
			picked[key] = value
		}
	}
	return picked
}

// Answer returns the answer to a request: attributes that are not there are left out.
func (a Ask) Answer(desired, reported json.RawMessage) []byte {
	client, shared := membersOf(reported), membersOf(desired)
	if !a.All {
		client, shared = client.pick(a.Client), shared.pick(a.Shared)
	}
	answer := map[string]any{}
	if a.Device != "" {
		answer["id"], answer["device"] = a.ID, a.Device
	}
	if a.Single || a.Merged {
		values := members{}
		for _, from := range []members{client, shared} {
			for key, value := range from {
				values[key] = value
				answer["value"] = value
			}
		}
		if a.Merged {
			delete(answer, "value")
			answer["values"] = values
		}
		return encode(answer)
	}
	if len(client) > 0 {
		answer["client"] = client
	}
	if len(shared) > 0 {
		answer["shared"] = shared
	}
	return encode(answer)
}

// Changes returns the messages that say what has changed of the shared attributes: the new values, and {"deleted":[…]}. For a gateway, device is the
// device's name; "" for a device itself.
func Changes(before, after json.RawMessage, device string) (messages [][]byte) {
	was, is := membersOf(before), membersOf(after)
	changed := members{}
	for key, value := range is {
		if old, ok := was[key]; !ok || !bytes.Equal(old, value) {
			changed[key] = value
		}
	}
	deleted := []string{}
	for key := range was {
		if _, ok := is[key]; !ok {
			deleted = append(deleted, key)
		}
	}
	slices.Sort(deleted)
	add := func(data any) {
		if device != "" {
			data = map[string]any{"device": device, "data": data}
		}
		messages = append(messages, encode(data))
	}
	if len(changed) > 0 {
		add(changed)
	}
	if len(deleted) > 0 {
		add(map[string][]string{"deleted": deleted})
	}
	return messages
}

// AppendCall returns a command as a device receives it, or, with its name, the gateway in front of it.
func AppendCall(number int64, method string, params json.RawMessage, device string) []byte {
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	if device == "" {
		return encode(map[string]any{"method": method, "params": params})
	}
	return encode(map[string]any{"device": device, "data": map[string]any{"id": number, "method": method, "params": params}})
}

// ReadGatewayAnswer reads a gateway's answer to a command: {"device":"Device A","id":1,"data":{"success":true}}.
func ReadGatewayAnswer(payload []byte) (device string, number int64, data json.RawMessage, err error) {
	var message struct {
		Device string          `json:"device"`
		ID     int64           `json:"id"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(payload, &message); err != nil || message.Device == "" {
		return "", 0, nil, errors.New(`the payload must be an object with "device", "id" and "data"`)
	}
	return message.Device, message.ID, message.Data, nil
}

// Limits are what getSessionLimits returns.
type Limits struct {
	MaxPayloadSize      int               `json:"maxPayloadSize"`
	MaxInflightMessages int               `json:"maxInflightMessages"`
	RateLimits          map[string]string `json:"rateLimits"`
}

// AnswerCall returns the answer to a call of a device's, {"method","params"}: getSessionLimits alone is known.
func AnswerCall(payload []byte, limits Limits) ([]byte, error) {
	var call struct {
		Method string `json:"method"`
	}
	if err := json.Unmarshal(payload, &call); err != nil || call.Method == "" {
		return nil, errors.New(`the payload must be an object with "method" and "params"`)
	}
	if call.Method == "getSessionLimits" {
		return encode(limits), nil
	}
	return encode(map[string]string{"error": "the method is not known: getSessionLimits is"}), nil
}

// encode returns the JSON of what always has one.
func encode(value any) []byte {
	data, _ := json.Marshal(value) //nolint:errchkjson // what is encoded are maps, texts and JSON that was read
	return data
}
