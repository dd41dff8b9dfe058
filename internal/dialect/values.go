package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth"
	"hearth/internal/timetext"
)

var (
	errNotJSON   = errors.New("the payload is not JSON in UTF-8")
	errNotObject = errors.New("the payload is not an object")
)

// decode returns the JSON value of a payload. Numbers are json.Number.
func decode(payload []byte) (value any, err error) {
	if !utf8.Valid(payload) {
		return nil, errNotJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil, errNotJSON
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	return value, nil
}

// object returns the members of a payload that is a JSON object.
func object(payload []byte) (map[string]any, error) {
	value, err := decode(payload)
	if err != nil {
		return nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	return members, nil
}

// sorted returns the names of members in order.
func sorted(members map[string]any) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// text returns the string of that name; "" where it is something else.
func text(members map[string]any, name string) string {
	s, _ := members[name].(string)
	return s
}

// inner returns the object of that name; nil where it is something else.
func inner(members map[string]any, name string) map[string]any {
	o, _ := members[name].(map[string]any)
	return o
}

// eventName returns a name as an event may have it.
func eventName(name string) string {
	return strings.Map(func(r rune) rune {
		if hearth.ValidEvent(string(r)) {
			return r
		}
		return '_'
	}, name)
}

// scalar returns the value of decoded JSON that may be stored; ok is false for anything else.
func scalar(value any) (hearth.Value, bool) {
	switch v := value.(type) {
	case bool:
		return hearth.Boolean(v), true
	case json.Number:
		return number(string(v))
	case float64:
		return finite(v)
	case string:
		return hearth.Text(v), hearth.ValidText(v)
	}
	return hearth.Value{}, false
}

func number(text string) (hearth.Value, bool) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return hearth.Value{}, false
	}
	return finite(n)
}

func finite(n float64) (hearth.Value, bool) {
	if math.IsNaN(n) || math.Abs(n) > hearth.MaxLogValue {
		return hearth.Value{}, false
	}
	return hearth.Number(n), true
}

// plain returns the value of a payload that is one plain value: a number, true or false, or text. ok is false for what cannot be stored and
// for what says that there is no value.
func plain(payload []byte) (hearth.Value, bool) {
	s := strings.TrimSpace(string(payload))
	switch strings.ToLower(s) {
	case "true", "false":
		return hearth.Boolean(strings.EqualFold(s, "true")), true
	case "", "nan", "null", "unknown", "unavailable", "none":
		return hearth.Value{}, false
	}
	if s[0] == '-' || s[0] == '.' || '0' <= s[0] && s[0] <= '9' {
		if value, ok := number(s); ok && !strings.ContainsAny(s, "xX_pP") {
			return value, true
		}
	}
	if len(s) >= 2 && s[0] == '"' {
		var unquoted string
		if json.Unmarshal([]byte(s), &unquoted) == nil {
			s = unquoted
		}
	}
	return hearth.Text(s), hearth.ValidText(s)
}

// onOff returns the boolean that a switch means by a text.
func onOff(value any) (on, ok bool) {
	switch v := value.(type) {
	case bool:
		return v, true
	case string:
		return strings.EqualFold(v, "ON"), strings.EqualFold(v, "ON") || strings.EqualFold(v, "OFF")
	}
	return false, false
}

// switched returns what a switch is sent.
func switched(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// readings collects values of one time.
type readings struct {
	entries []hearth.LogEntry
	at      int64
	// left counts values that cannot be stored.
	left int
}

// add adds a value, or what is in it, by the name of its place: objects become a.b, arrays a.0.
func (r *readings) add(name string, value any) { r.nested(name, value, 1) }

func (r *readings) nested(name string, value any, depth int) {
	switch v := value.(type) {
	case nil:
		return
	case map[string]any:
		if depth == maxNesting {
			r.left++
			return
		}
		for _, member := range sorted(v) {
			r.nested(joined(name, member), v[member], depth+1)
		}
		return
	case []any:
		if depth == maxNesting || len(v) > maxArray {
			r.left++
			return
		}
		for i := range v {
			r.nested(joined(name, strconv.Itoa(i)), v[i], depth+1)
		}
		return
	}
	stored, ok := scalar(value)
	r.put(name, stored, ok)
}

// put adds a value, unless ok is false or its name is none.
func (r *readings) put(name string, value hearth.Value, ok bool) {
	if name = eventName(name); !ok || !hearth.ValidEvent(name) || len(r.entries) == maxReadings {
		r.left++
		return
	}
	r.entries = append(r.entries, hearth.LogEntry{Event: name, Value: value, At: r.at})
}

// problem says how many values could not be stored; "" if all could.
func (r *readings) problem() string {
	if r.left == 0 {
		return ""
	}
	return strconv.Itoa(r.left) + " values could not be stored: a name has 1 to 64 characters, a text 1 to 256, an array 32 elements at most"
}

func joined(name, inner string) string {
	if name == "" {
		return inner
	}
	return name + "." + inner
}

// parseTime returns the time that JSON says, in Unix milliseconds: milliseconds or seconds since 1970, RFC 3339, or a local time without a zone,
// which is of zone. ok is false for what is no time that may be stored at the time now.
func parseTime(value any, zone *time.Location, now time.Time) (ms int64, ok bool) {
	switch v := value.(type) {
	case json.Number:
		n, err := v.Float64()
		if err != nil || math.Abs(n) > math.MaxInt64/2 {
			return 0, false
		}
		if math.Abs(n) < 1e11 { // seconds, up to the year 5138
			n *= 1000
		}
		ms = int64(math.Round(n))
	case string:
		var parsed bool
		if ms, parsed = timetext.ParseTimestamp([]byte(v)); !parsed {
			at, err := time.ParseInLocation("2006-01-02T15:04:05.999999999", v, zone)
			if err != nil {
				return 0, false
			}
			ms = at.UnixMilli()
		}
	default:
		return 0, false
	}
	at := time.UnixMilli(ms)
	return ms, ms > 0 && at.Before(now.Add(hearth.MaxLogFuture))
}

// encode returns JSON.
func encode(value any) []byte {
	out, err := json.Marshal(value)
	if err != nil { // what is encoded was decoded before
		return nil
	}
	return out
}

// argument returns a value as a device that reads plain text has it.
func argument(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return switched(v)
	}
	return string(encode(value))
}

// remembered is a map that stops to grow at a bound.
type remembered[V any] map[string]V

func (r remembered[V]) put(key string, value V) bool {
	if _, known := r[key]; !known && len(r) >= maxDevices {
		return false
	}
	r[key] = value
	return true
}
