package dialect

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"hearth"
)

// sparkplug reads Sparkplug B: spBv1.0/{group}/{type}/{node}[/{device}]. A device is group/node or group/node/device.
type sparkplug struct {
	// alone says that all messages come here: a gap in their sequence is one.
	alone bool
	nodes remembered[*sparkNode]
}

// sparkNode is what is known of an edge node since its birth.
type sparkNode struct {
	born    bool
	seq     uint64
	bdSeq   uint64
	asked   time.Time // when a birth was asked for last
	aliases map[uint64]sparkMetric
	devices map[string]map[string]uint64 // the datatypes of the metrics, by device; "" is the node
}

// sparkMetric is a metric that has an alias.
type sparkMetric struct {
	device, name string
	datatype     uint64
}

// askEvery is how often a node is asked for its birth.
const askEvery = 10 * time.Second

func newSparkplug(alone bool) *sparkplug {
	return &sparkplug{alone: alone, nodes: remembered[*sparkNode]{}}
}

func (*sparkplug) filters() []Filter {
	return []Filter{
		{Topic: "spBv1.0/+/NBIRTH/+", All: true}, {Topic: "spBv1.0/+/DBIRTH/+/+", All: true},
		{Topic: "spBv1.0/+/NDEATH/+", All: true}, {Topic: "spBv1.0/+/DDEATH/+/+", All: true},
		{Topic: "spBv1.0/+/NDATA/+"}, {Topic: "spBv1.0/+/DDATA/+/+"},
	}
}

func (s *sparkplug) read(m Message, now time.Time) (Result, bool) {
	levels := strings.Split(m.Topic, "/")
	if levels[0] != "spBv1.0" || len(levels) < 4 || len(levels) > 5 {
		return Result{}, false
	}
	kind, address, device := levels[2], levels[1]+"/"+levels[3], ""
	if len(levels) == 5 {
		device = levels[4]
	}
	if strings.HasPrefix(kind, "D") != (device != "") {
		return Result{}, true
	}
	payload, err := decodeSparkplug(m.Payload)
	if err != nil {
		return Result{Problem: err.Error()}, true
	}
	node := s.nodes[address]
	if node == nil {
		node = &sparkNode{}
		if !s.nodes.put(address, node) {
			return Result{Problem: "there are too many edge nodes"}, true
		}
	}
	switch kind {
	case "NBIRTH":
		*node = sparkNode{born: true, seq: payload.seq, asked: node.asked, aliases: map[uint64]sparkMetric{}, devices: map[string]map[string]uint64{}}
		for _, metric := range payload.metrics {
			if metric.name == "bdSeq" {
				node.bdSeq = metric.integer
			}
		}
		return s.values(address, "", node, payload, now, true), true
	case "DBIRTH":
		if !node.born {
			return s.askBirth(address, node, now), true
		}
		result := s.values(address, device, node, payload, now, true)
		result.Publish = append(result.Publish, s.count(address, node, payload, now).Publish...)
		return result, true
	case "NDATA", "DDATA":
		if !node.born || node.devices[device] == nil {
			return s.askBirth(address, node, now), true
		}
		result := s.values(address, device, node, payload, now, false)
		result.Publish = append(result.Publish, s.count(address, node, payload, now).Publish...)
		return result, true
	case "NDEATH":
		for _, metric := range payload.metrics {
			if metric.name == "bdSeq" && node.born && metric.integer != node.bdSeq {
				return Result{}, true // of an earlier life
			}
		}
		result := Result{}
		for of := range node.devices {
			result.Reports = append(result.Reports, Report{Device: below(address, of), Presence: Offline, Known: true})
		}
		*node = sparkNode{asked: node.asked}
		return result, true
	case "DDEATH":
		delete(node.devices, device)
		return Result{Reports: []Report{{Device: below(address, device), Presence: Offline, Known: true}}}, true
	}
	return Result{}, true
}

func below(node, device string) string {
	if device == "" {
		return node
	}
	return node + "/" + device
}

// count follows the sequence of a node's messages. After a gap it asks for a birth.
func (s *sparkplug) count(address string, node *sparkNode, payload sparkPayload, now time.Time) Result {
	const numbers = 256
	expected := (node.seq + 1) % numbers
	node.seq = payload.seq
	if !s.alone || !payload.hasSeq || payload.seq == expected {
		return Result{}
	}
	return s.askBirth(address, node, now)
}

// askBirth asks a node to publish its birth again.
func (*sparkplug) askBirth(address string, node *sparkNode, now time.Time) Result {
	if now.Sub(node.asked) < askEvery {
		return Result{}
	}
	node.asked = now
	group, name, _ := strings.Cut(address, "/")
	return Result{Publish: []Message{{
		Topic:   "spBv1.0/" + group + "/NCMD/" + name,
		Payload: encodeSparkplug(now, sparkValue{name: "Node Control/Rebirth", datatype: sparkBoolean, value: true}),
	}}}
}

// values reads the metrics of a node or of a device of it. Those of a birth say which there are.
func (s *sparkplug) values(address, device string, node *sparkNode, payload sparkPayload, now time.Time, birth bool) (result Result) {
	if birth {
		if len(node.devices) >= maxReadings {
			return Result{Problem: "an edge node has too many devices"}
		}
		node.devices[device] = map[string]uint64{}
	}
	report := Report{Device: below(address, device), State: map[string]any{}}
	values := readings{}
	for _, metric := range payload.metrics {
		name, datatype := metric.name, metric.datatype
		known, hasAlias := node.aliases[metric.alias]
		switch {
		case birth && metric.hasAlias && name != "" && len(node.aliases) < maxTopics:
			node.aliases[metric.alias] = sparkMetric{device, name, datatype}
		case name == "" && (!metric.hasAlias || !hasAlias || known.device != device):
			asked := s.askBirth(address, node, now)
			result.Publish = append(result.Publish, asked.Publish...)
			continue
		case name == "":
			name, datatype = known.name, known.datatype
		}
		if birth && len(node.devices[device]) < maxReadings {
			node.devices[device][name] = datatype
		}
		if datatype == 0 {
			datatype = node.devices[device][name]
		}
		if name == "bdSeq" || strings.HasPrefix(name, "Node Control/") || metric.null {
			continue
		}
		values.at = sparkTime(metric.timestamp, payload.timestamp, now)
		value, ok := metric.decoded(datatype)
		if !ok {
			continue
		}
		values.put(name, value, true)
		report.State[name] = value
	}
	if birth {
		report.Presence = Online
		report.About = &About{Type: "sparkplug"}
	}
	report.Readings = values.entries
	result.Reports = []Report{report}
	result.Problem = values.problem()
	return result
}

// sparkTime returns the time of a metric in Unix milliseconds, or the payload's; 0 is the time of arrival.
func sparkTime(metric, payload uint64, now time.Time) int64 {
	for _, at := range []uint64{metric, payload} {
		if at > 0 && at < uint64(now.Add(hearth.MaxLogFuture).UnixMilli()) {
			return int64(at)
		}
	}
	return 0
}

func (s *sparkplug) desired(device string, delta map[string]any) []Message {
	var written []sparkValue
	known := s.types(device)
	for _, name := range sorted(delta) {
		if value, ok := sparkWritten(name, delta[name], known[name]); ok {
			written = append(written, value)
		}
	}
	if len(written) == 0 {
		return nil
	}
	return []Message{{Topic: sparkTopic(device), Payload: encodeSparkplug(time.Time{}, written...)}}
}

func (s *sparkplug) command(device string, c hearth.Command) ([]Message, error) {
	name, params := c.Name, any(true)
	if len(c.Params) > 0 {
		var err error
		if params, err = decode(c.Params); err != nil {
			return nil, err
		}
	}
	if name == "rebirth" {
		name, params = "Node Control/Rebirth", true
	}
	value, ok := sparkWritten(name, params, s.types(device)[name])
	if !ok {
		return nil, errors.New("params must be a number, a boolean or a text")
	}
	return []Message{{Topic: sparkTopic(device), Payload: encodeSparkplug(time.Time{}, value)}}, nil
}

// types returns the datatypes of a device's metrics as its birth said.
func (s *sparkplug) types(device string) map[string]uint64 {
	levels := strings.SplitN(device, "/", 3)
	if len(levels) < 2 {
		return nil
	}
	node := s.nodes[levels[0]+"/"+levels[1]]
	switch {
	case node == nil:
		return nil
	case len(levels) == 2:
		return node.devices[""]
	}
	return node.devices[levels[2]]
}

// sparkTopic returns the topic of commands of a device.
func sparkTopic(device string) string {
	levels := strings.SplitN(device, "/", 3)
	if len(levels) == 3 {
		return "spBv1.0/" + levels[0] + "/DCMD/" + levels[1] + "/" + levels[2]
	}
	return "spBv1.0/" + levels[0] + "/NCMD/" + levels[len(levels)-1]
}

// sparkWritten returns a metric with a value of the datatype; 0: the one that fits the value.
func sparkWritten(name string, value any, datatype uint64) (sparkValue, bool) {
	switch v := value.(type) {
	case bool:
		return sparkValue{name, sparkBoolean, v}, true
	case string:
		return sparkValue{name, sparkString, v}, true
	case json.Number:
		n, err := v.Float64()
		if err != nil || math.IsInf(n, 0) {
			return sparkValue{}, false
		}
		if datatype == 0 {
			datatype = sparkDouble
		}
		return sparkValue{name, datatype, n}, true
	}
	return sparkValue{}, false
}
