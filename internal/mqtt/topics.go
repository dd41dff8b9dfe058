package mqtt

import (
	"bytes"
	"strconv"
	"strings"

	"hearth"
	"hearth/internal/mqtt/thingsboard"
)

// willing reports whether a will may be published on the topic.
func willing(topic string) bool {
	_, value := strings.CutPrefix(topic, "t/")
	return topic == "t" || topic == "h" || topic == "r" || value
}

// behindTopic splits the topic of a device behind a gateway: g/{serial}/…
func behindTopic(topic string) (serial, rest string, ok bool) {
	serial, rest, _ = strings.Cut(strings.TrimPrefix(topic, "g/"), "/")
	return serial, rest, strings.HasPrefix(topic, "g/") && rest != ""
}

// parse reads what was published on a topic; ok is false for a topic that is not the device's to publish on. more is what a message about several
// devices says after the first item. The items keep nothing of payload.
func (s *session) parse(topic string, payload []byte) (one item, more []item, ok bool) {
	one = item{topic: topic}
	switch serial, rest, behind := behindTopic(topic); {
	case strings.HasPrefix(topic, "v1/"):
		if strings.HasPrefix(topic, "v1/gateway/") {
			if !s.gateway {
				return one, nil, false
			}
			more, ok = s.parseGateway(&one, payload)
		} else {
			ok = s.parseThingsBoard(&one, payload)
		}
	case behind:
		one.serial, ok = serial, s.gateway && s.parseOwn(&one, rest, payload)
		if ok && !hearth.ValidSerial(serial) {
			one.wrong = problem("the serial " + shown(serial) + " is not valid")
		}
	default:
		ok = s.parseOwn(&one, topic, payload)
	}
	one.size += one.weight()
	return one, more, ok
}

// weight returns about how many bytes an item keeps.
func (i *item) weight() int {
	const perEntry = 64
	return itemSize + len(i.topic) + len(i.patch) + len(i.answer.Result) + perEntry*(len(i.entries)+len(i.serials))
}

func (s *session) now() int64 { return s.server.o.Clock.Now().UnixMilli() }

// parseOwn reads what was published on one of hearth's topics of a device.
func (s *session) parseOwn(one *item, topic string, payload []byte) (ok bool) {
	event, isValue := strings.CutPrefix(topic, "t/")
	command, isResult := strings.CutPrefix(topic, "c/")
	switch {
	case topic == "t":
		one.kind = kindLogs
		one.entries, one.timed, one.wrong = s.server.readers.telemetry(payload, s.now())
	case isValue:
		one.kind = kindLogs
		entry, stored, err := plain(event, payload, s.now())
		if one.wrong = err; err == nil && stored {
			one.entries = []hearth.LogEntry{entry}
		}
	case topic == "h":
		one.kind = kindBeat
		one.status, one.wrong = status(payload)
	case topic == "r":
		one.kind = kindReported
		one.patch, one.wrong = bytes.Clone(payload), strict(payload)
	case isResult:
		one.kind, one.command = kindResult, command
		one.answer, one.wrong = answer(payload)
	default:
		return false
	}
	return true
}

// parseThingsBoard reads what was published on one of ThingsBoard's topics of a device.
func (s *session) parseThingsBoard(one *item, payload []byte) (ok bool) {
	ask, isAsk := strings.CutPrefix(one.topic, thingsboard.AttributesAsk)
	call, isCall := strings.CutPrefix(one.topic, thingsboard.Call)
	number, isAnswer := strings.CutPrefix(one.topic, thingsboard.CallAnswer)
	switch {
	case one.topic == thingsboard.Telemetry:
		return s.parseOwn(one, "t", payload)
	case one.topic == thingsboard.Attributes:
		return s.parseOwn(one, "r", payload)
	case isAsk:
		one.kind, one.answerTo = kindAsk, thingsboard.AttributesAnswer+ask
		if one.wrong = strictOrEmpty(payload); one.wrong == nil {
			one.ask, one.wrong = asProblem(thingsboard.ReadAsk(payload))
		}
	case isCall:
		one.kind, one.answerTo = kindCall, thingsboard.CallAnswer+call
		if one.wrong = strict(payload); one.wrong == nil {
			one.patch, one.wrong = asProblem(thingsboard.AnswerCall(payload, sessionLimits()))
		}
	case isAnswer:
		n, err := strconv.ParseInt(number, 10, 64)
		one.kind, one.number, one.answer = kindResult, n, callAnswer(payload)
		if err != nil || n <= 0 {
			one.wrong = problem("the topic does not end with the id of a call")
		}
	default:
		return false
	}
	return true
}

// sessionLimits are what getSessionLimits returns. There are no rates: at a limit messages are read more slowly, and none is lost.
func sessionLimits() thingsboard.Limits {
	return thingsboard.Limits{MaxPayloadSize: MaxPacket, MaxInflightMessages: queueLength, RateLimits: map[string]string{}}
}

// callAnswer returns the result of a command from the answer to a call: any JSON, or a text.
func callAnswer(payload []byte) hearth.CommandAnswer {
	if len(bytes.TrimSpace(payload)) == 0 {
		return hearth.CommandAnswer{OK: true}
	}
	if strict(payload) != nil {
		payload = strconv.AppendQuote(nil, strings.ToValidUTF8(string(payload), "\uFFFD"))
		if strict(payload) != nil { // Go quotes some characters otherwise than JSON
			return hearth.CommandAnswer{OK: true}
		}
	}
	return hearth.CommandAnswer{OK: true, Result: hearth.CanonicalJSON(bytes.Clone(payload))}
}

// asProblem returns the error of a payload of ThingsBoard's as one that can never be stored.
func asProblem[T any](value T, err error) (T, error) {
	if err != nil {
		err = problem(err.Error())
	}
	return value, err
}

func strictOrEmpty(payload []byte) error {
	if len(bytes.TrimSpace(payload)) == 0 {
		return nil
	}
	return strict(payload)
}

// parseGateway reads what a gateway published on one of ThingsBoard's topics. A message about several devices is one item for telemetry, which is
// stored as a whole, and one for each device otherwise.
func (s *session) parseGateway(one *item, payload []byte) (more []item, ok bool) {
	if one.wrong = strict(payload); one.wrong != nil {
		one.kind = kindLogs
		return nil, true
	}
	switch one.topic {
	case thingsboard.GatewayConnect, thingsboard.GatewayDisconnect:
		if one.kind = kindConnect; one.topic == thingsboard.GatewayDisconnect {
			one.kind = kindDisconnect
		}
		var kind string
		one.serial, kind, one.wrong = thingsboard.ReadConnect(payload)
		one.deviceType = kind
	case thingsboard.GatewayTelemetry:
		s.gatewayTelemetry(one, payload)
	case thingsboard.GatewayAttributes:
		one.kind = kindReported
		var parts []thingsboard.Part
		if parts, one.wrong = asProblem(thingsboard.ReadParts(payload)); len(parts) == 0 {
			one.kind = kindLogs // nothing is to be done
			return nil, true
		}
		one.serial, one.patch = parts[0].Device, parts[0].Data
		for _, part := range parts[1:] {
			next := item{kind: kindReported, topic: one.topic, serial: part.Device, patch: part.Data}
			next.size = next.weight()
			more = append(more, next)
		}
	case thingsboard.GatewayAsk:
		one.kind, one.answerTo = kindAsk, thingsboard.GatewayAnswer
		one.ask, one.wrong = asProblem(thingsboard.ReadGatewayAsk(payload))
		one.serial = one.ask.Device
	case thingsboard.GatewayCall:
		one.kind = kindResult
		var data []byte
		one.serial, one.number, data, one.wrong = thingsboard.ReadGatewayAnswer(payload)
		one.answer = callAnswer(data)
	default:
		return nil, false
	}
	if one.wrong != nil {
		one.wrong = problem(messageOf(one.wrong))
	}
	return more, true
}

// gatewayTelemetry reads the values of several devices.
func (s *session) gatewayTelemetry(one *item, payload []byte) {
	one.kind = kindLogs
	parts, err := asProblem(thingsboard.ReadParts(payload))
	for _, part := range parts {
		var entries []hearth.LogEntry
		var timed bool
		if entries, timed, err = s.server.readers.telemetry(part.Data, s.now()); err != nil {
			break
		}
		for i := range entries {
			entries[i].Device = int64(len(one.serials))
		}
		one.serials = append(one.serials, part.Device)
		one.entries, one.timed = append(one.entries, entries...), one.timed || timed
		if len(one.entries) > hearth.MaxLogBatch {
			err = problem("the payload has more than 10000 values")
			break
		}
	}
	if one.wrong = err; err != nil {
		one.entries, one.serials = nil, nil
	}
}

// filterOf is what a topic filter subscribes to.
type filterOf uint8

const (
	notAllowed filterOf = iota
	toCommands
	toDelta
	toShared
	toAnswers
)

// filter returns what a topic filter of the device subscribes to, with the serial of the device behind it that it names, if it names one.
func (s *session) filter(filter string) (what filterOf, serial string) {
	switch filter {
	case "c", thingsboard.Call + "+":
		return toCommands, ""
	case "d":
		return toDelta, ""
	case thingsboard.Attributes:
		return toShared, ""
	case thingsboard.AttributesAnswer + "+", thingsboard.CallAnswer + "+":
		return toAnswers, ""
	}
	if !s.gateway {
		return notAllowed, ""
	}
	switch filter {
	case thingsboard.GatewayCall:
		return toCommands, ""
	case thingsboard.GatewayAttributes:
		return toShared, ""
	case thingsboard.GatewayAnswer:
		return toAnswers, ""
	}
	serial, rest, ok := behindTopic(filter)
	if serial != "+" && !hearth.ValidSerial(serial) {
		ok = false
	}
	switch {
	case ok && rest == "c":
		what = toCommands
	case ok && rest == "d":
		what = toDelta
	}
	if serial == "+" {
		serial = ""
	}
	return what, serial
}

// route is how messages reach a device. thingsboard says in whose form.
type route struct {
	topic       string
	qos         byte
	thingsboard bool
}

// granted returns the route of the first of the filters that the device has subscribed to, with the topic that belongs to it.
func (s *session) granted(filters ...[2]string) (route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range filters {
		if qos, ok := s.filters[f[0]]; ok {
			return route{topic: f[1], qos: qos, thingsboard: strings.HasPrefix(f[1], "v1/")}, true
		}
	}
	return route{}, false
}

// commandRoute, deltaRoute and sharedRoute return where a device is sent commands, the delta, and changes of shared attributes; ok is false if it did
// not subscribe to them.
func (s *session) commandRoute(p *party) (route, bool) {
	if p.serial == "" {
		return s.granted([2]string{"c", "c"}, [2]string{thingsboard.Call + "+", thingsboard.Call})
	}
	topic := "g/" + p.serial + "/c"
	return s.granted([2]string{topic, topic}, [2]string{"g/+/c", topic}, [2]string{thingsboard.GatewayCall, thingsboard.GatewayCall})
}

func (s *session) deltaRoute(p *party) (route, bool) {
	if p.serial == "" {
		return s.granted([2]string{"d", "d"})
	}
	topic := "g/" + p.serial + "/d"
	return s.granted([2]string{topic, topic}, [2]string{"g/+/d", topic})
}

func (s *session) sharedRoute(p *party) (route, bool) {
	if p.serial == "" {
		return s.granted([2]string{thingsboard.Attributes, thingsboard.Attributes})
	}
	return s.granted([2]string{thingsboard.GatewayAttributes, thingsboard.GatewayAttributes})
}

// answerRoute returns where the answer to a request of the device goes.
func (s *session) answerRoute(topic string) (route, bool) {
	filter := topic
	for _, prefix := range []string{thingsboard.AttributesAnswer, thingsboard.CallAnswer} {
		if strings.HasPrefix(topic, prefix) {
			filter = prefix + "+"
		}
	}
	return s.granted([2]string{filter, topic})
}
