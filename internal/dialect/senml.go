package dialect

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"hearth"
)

// senML reads RFC 8428 in JSON on the topics of Magistrala, m/{domain}/c/{channel}/…. A device is a base name.
type senML struct{}

func (senML) filters() []Filter { return []Filter{{Topic: "m/+/c/#"}} }

func (senML) read(m Message, now time.Time) (Result, bool) {
	if !Matches("m/+/c/#", m.Topic) {
		return Result{}, false
	}
	value, err := decode(m.Payload)
	records, ok := value.([]any)
	if err != nil || !ok {
		return Result{Problem: "the payload is not an array of SenML records"}, true
	}
	return senMLRecords(records, m.Topic[strings.LastIndexByte(m.Topic, '/')+1:], now), true
}

// senMLRecords reads records. Those without a base name are of the device that the topic names.
func senMLRecords(records []any, device string, now time.Time) Result {
	var base struct {
		name      string
		at, value float64
	}
	byDevice := map[string]*readings{}
	var order []string
	left := 0
	for _, one := range records {
		record, ok := one.(map[string]any)
		if !ok || !understood(record) {
			return Result{Problem: "a SenML record cannot be read: it is no object, or needs what RFC 8428 does not know"}
		}
		if name, ok := record["bn"].(string); ok {
			base.name = name
		}
		if at, ok := float(record["bt"]); ok {
			base.at = at
		}
		if v, ok := float(record["bv"]); ok {
			base.value = v
		}
		of := strings.Trim(base.name, ":/ ")
		of = cmp.Or(of, device)
		name := text(record, "n")
		name = cmp.Or(name, "value")
		value, ok := senMLValue(record, base.value)
		if !ok {
			continue // base fields alone, or data
		}
		values := byDevice[of]
		if values == nil {
			if len(order) == maxReadings {
				left++
				continue
			}
			values = &readings{}
			byDevice[of] = values
			order = append(order, of)
		}
		at, _ := float(record["t"])
		values.at = senMLTime(base.at+at, base.at != 0 || record["t"] != nil, now)
		values.add(name, value)
	}
	result := Result{}
	for _, of := range order {
		left += byDevice[of].left
		result.Reports = append(result.Reports, Report{Device: of, Readings: byDevice[of].entries})
	}
	result.Problem = (&readings{left: left}).problem()
	return result
}

// understood reports whether a record has a version that is known and no field that must be understood, which ends in _.
func understood(record map[string]any) bool {
	if version, ok := float(record["bver"]); ok && version > 10 {
		return false
	}
	for name := range record {
		if strings.HasSuffix(name, "_") {
			return false
		}
	}
	return true
}

// senMLValue returns the value of a record: a number with the base value added, a text or a boolean, or else the sum.
func senMLValue(record map[string]any, base float64) (any, bool) {
	if v, ok := float(record["v"]); ok {
		return v + base, true
	}
	for _, name := range []string{"vs", "vb", "s"} {
		if v, ok := record[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// senMLTime returns a time in Unix milliseconds: below 2^28 it is relative to now. 0 is the time of arrival.
func senMLTime(seconds float64, given bool, now time.Time) int64 {
	const relative = 1 << 28
	if !given || math.Abs(seconds) > 1e11 {
		return 0
	}
	if seconds < relative {
		return now.UnixMilli() + int64(math.Round(seconds*1000))
	}
	at := int64(math.Round(seconds * 1000))
	if time.UnixMilli(at).After(now.Add(hearth.MaxLogFuture)) {
		return 0
	}
	return at
}

func float(value any) (float64, bool) {
	n, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

func (senML) desired(string, map[string]any) []Message { return nil }

func (senML) command(string, hearth.Command) ([]Message, error) {
	return nil, errors.New("SenML has no commands")
}
