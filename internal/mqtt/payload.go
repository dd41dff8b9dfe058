package mqtt

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"hearth"
	"hearth/internal/timetext"
)

const (
	// maxArray bounds the elements of an array of values, maxNesting how deep values are nested.
	maxArray   = 32
	maxNesting = 8
	// secondsUntil is where a number that is a time changes its meaning: below it is seconds, of up to the year 5138, from it on milliseconds.
	secondsUntil = 1e11
)

// problem returns the error of a payload that can never be stored.
func problem(message string) error { return hearth.Errorf(hearth.CodeValidationFailed, "%s", message) }

// notJSON returns the error of a payload that is no JSON.
func notJSON(err error) error {
	why := "is not JSON in UTF-8"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		why = "has a name twice in an object"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		why = "ends too early"
	}
	return hearth.Errorf(hearth.CodeMalformedBody, "the payload %s", why)
}

// readers reads telemetry, many at once.
type readers struct{ pool sync.Pool }

// telemetry reads the payload of t: an object of values, {"ts", "values"}, or an array of these. Entries without a time are of now, in Unix
// milliseconds; timed reports that some had their own. Each entry is one that can be stored.
func (r *readers) telemetry(payload []byte, now int64) (entries []hearth.LogEntry, timed bool, err error) {
	d, _ := r.pool.Get().(*reader)
	if d == nil {
		d = &reader{decoder: jsontext.NewDecoder(&bytes.Buffer{})}
	}
	defer r.pool.Put(d)
	d.decoder.Reset(bytes.NewBuffer(payload)) // it reads a buffer where it is, without a copy
	d.entries, d.now, d.timed = nil, now, false
	if err := d.read(); err != nil {
		return nil, false, err
	}
	return d.entries, d.timed, nil
}

type reader struct {
	decoder *jsontext.Decoder
	entries []hearth.LogEntry
	now     int64
	timed   bool
}

func (d *reader) read() error {
	switch d.decoder.PeekKind() {
	case '{':
		if err := d.object(); err != nil {
			return err
		}
	case '[':
		if _, err := d.decoder.ReadToken(); err != nil {
			return notJSON(err)
		}
		for d.decoder.PeekKind() == '{' {
			if err := d.object(); err != nil {
				return err
			}
		}
		if end, err := d.decoder.ReadToken(); err != nil {
			return notJSON(err)
		} else if end.Kind() != ']' {
			return problem("the payload is an array of something else than objects")
		}
	default:
		if _, err := d.decoder.ReadToken(); err != nil {
			return notJSON(err)
		}
		return problem("the payload is neither an object nor an array of objects")
	}
	if _, err := d.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return hearth.Errorf(hearth.CodeMalformedBody, "something follows the JSON of the payload")
	}
	return nil
}

// object reads one object of values, which may have a time.
func (d *reader) object() error {
	if _, err := d.decoder.ReadToken(); err != nil {
		return notJSON(err)
	}
	first := len(d.entries)
	at, hasTime := d.now, false
	var values [2]int // the entries of the object "values"
	others := false
	for d.decoder.PeekKind() != '}' {
		token, err := d.decoder.ReadToken()
		if err != nil {
			return notJSON(err)
		}
		name := token.String()
		if name == "ts" {
			if at, hasTime, err = d.time(); err != nil {
				return err
			}
			continue
		}
		isValues := name == "values" && d.decoder.PeekKind() == '{'
		others = others || !isValues
		before := len(d.entries)
		if err := d.value(name, 1); err != nil {
			return err
		}
		if isValues {
			values = [2]int{before, len(d.entries)}
		}
	}
	if _, err := d.decoder.ReadToken(); err != nil {
		return notJSON(err)
	}
	if hasTime && !others { // {"ts", "values"}: the names are those within
		for i := values[0]; i < values[1]; i++ {
			d.entries[i].Event = d.entries[i].Event[len("values."):]
		}
	}
	if !hasTime {
		at = d.now
	}
	d.timed = d.timed || hasTime
	return d.check(d.entries[first:], at)
}

// check sets the time of entries and returns what is wrong with them.
func (d *reader) check(entries []hearth.LogEntry, at int64) error {
	for i := range entries {
		entries[i].At = at
		if err := judge(entries[i], d.now); err != nil {
			return err
		}
	}
	return nil
}

// value reads one value of that name: entries of it, or of what is in it. depth counts the objects and arrays around it.
func (d *reader) value(name string, depth int) error {
	kind := d.decoder.PeekKind()
	if kind == '{' || kind == '[' {
		return d.values(name, depth)
	}
	raw, err := d.decoder.ReadValue()
	if err != nil {
		return notJSON(err)
	}
	value, ok, err := scalar(raw)
	switch {
	case err != nil:
		return problem(shown(name) + " " + err.Error())
	case !ok:
		return nil // null
	case len(d.entries) == hearth.MaxLogBatch:
		return problem("the payload has more than 10000 values")
	}
	d.entries = append(d.entries, hearth.LogEntry{Event: name, Value: value})
	return nil
}

// values reads the members of an object or of an array.
func (d *reader) values(name string, depth int) error {
	if depth == maxNesting || len(name) > hearth.MaxEvent {
		return problem(shown(name) + " is nested too deep")
	}
	open, err := d.decoder.ReadToken()
	if err != nil {
		return notJSON(err)
	}
	for n := 0; ; n++ {
		if kind := d.decoder.PeekKind(); kind == '}' || kind == ']' {
			_, err := d.decoder.ReadToken()
			return err
		}
		inner := strconv.Itoa(n)
		if open.Kind() == '{' {
			token, err := d.decoder.ReadToken()
			if err != nil {
				return notJSON(err)
			}
			inner = token.String()
		} else if n == maxArray {
			return problem(shown(name) + " is an array of more than 32 values")
		}
		if err := d.value(name+"."+inner, depth+1); err != nil {
			return err
		}
	}
}

// time reads a time: milliseconds or seconds since 1970, or RFC 3339. null is none.
func (d *reader) time() (ms int64, ok bool, err error) {
	raw, err := d.decoder.ReadValue()
	if err != nil {
		return 0, false, notJSON(err)
	}
	switch raw.Kind() {
	case 'n':
		return 0, false, nil
	case '0':
		if n, err := strconv.ParseFloat(string(raw), 64); err == nil && math.Abs(n) < secondsUntil {
			return int64(math.Round(n * 1000)), true, nil
		} else if err == nil && math.Abs(n) < math.MaxInt64/2 {
			return int64(math.Floor(n)), true, nil
		}
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return 0, false, notJSON(err)
		}
		if ms, ok := timetext.ParseTimestamp(text); ok {
			return ms, true, nil
		}
	}
	return 0, false, problem("ts is neither milliseconds or seconds since 1970 nor a time of RFC 3339 with its zone")
}

// scalar returns the value of JSON that is neither an object nor an array; ok is false for null.
func scalar(raw jsontext.Value) (value hearth.Value, ok bool, err error) {
	switch raw.Kind() {
	case 'n':
		return hearth.Value{}, false, nil
	case 't', 'f':
		return hearth.Boolean(raw.Kind() == 't'), true, nil
	case '0':
		n, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			return hearth.Value{}, false, errors.New("must be a finite number of at most 1e300")
		}
		if n == 0 {
			n = 0 // minus zero would be a second zero
		}
		return hearth.Number(n), true, nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || !hearth.ValidText(string(text)) {
		return hearth.Value{}, false, errors.New(hearth.TextRule)
	}
	return hearth.Text(string(text)), true, nil
}

// judge returns what is wrong with an entry, judged at the time now in Unix milliseconds.
func judge(entry hearth.LogEntry, now int64) error {
	switch field, message := entry.Problem(time.UnixMilli(now)); {
	case field == "event":
		return problem("the name " + shown(entry.Event) + " " + message)
	case field == "timestamp":
		return problem("ts " + message)
	case field != "":
		return problem(shown(entry.Event) + " " + message)
	}
	return nil
}

// plain reads the payload of t/{event}: one value. What is no JSON is a string. ok is false for null.
func plain(event string, payload []byte, now int64) (entry hearth.LogEntry, ok bool, err error) {
	text := bytes.TrimSpace(payload)
	if len(text) == 0 {
		return entry, false, problem("the payload is empty")
	}
	entry = hearth.LogEntry{Event: event, At: now}
	raw := jsontext.Value(text)
	switch isJSON := raw.IsValid(); {
	case text[0] == '{' || text[0] == '[':
		return entry, false, problem("the payload must be one plain value: send objects to t")
	case isJSON:
		if entry.Value, ok, err = scalar(raw); err != nil {
			return entry, false, problem("the payload " + err.Error())
		}
	case !utf8.Valid(text) || !hearth.ValidText(string(text)):
		return entry, false, problem("the payload " + hearth.TextRule)
	default:
		entry.Value, ok = hearth.Text(string(text)), true
	}
	if !ok {
		return entry, false, nil
	}
	return entry, true, judge(entry, now)
}

// strict checks that a payload is one JSON value that all readers understand alike.
func strict(payload []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(payload))
	if err := decoder.SkipValue(); err != nil {
		return notJSON(err)
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return hearth.Errorf(hearth.CodeMalformedBody, "something follows the JSON of the payload")
	}
	return nil
}

// status reads the payload of h: empty, or {"status"}.
func status(payload []byte) (hearth.DeviceStatus, error) {
	if len(bytes.TrimSpace(payload)) == 0 {
		return "", nil
	}
	var beat struct {
		Status hearth.DeviceStatus `json:"status"`
	}
	if err := decode(payload, &beat); err != nil {
		return "", err
	}
	if beat.Status != "" && !beat.Status.Valid() {
		return "", problem("status must be active, inactive or error")
	}
	return beat.Status, nil
}

// answer reads the payload of c/{id}: what a command came to.
func answer(payload []byte) (hearth.CommandAnswer, error) {
	var result struct {
		OK     *bool           `json:"ok"`
		Result json.RawMessage `json:"result"`
		Error  string          `json:"error"`
	}
	if err := decode(payload, &result); err != nil {
		return hearth.CommandAnswer{}, err
	}
	if result.OK == nil {
		return hearth.CommandAnswer{}, problem("ok is missing")
	}
	return hearth.CommandAnswer{OK: *result.OK, Result: hearth.CanonicalJSON(result.Result), Error: result.Error}, nil
}

// decode reads an object into the fields of to, and refuses others.
func decode(payload []byte, to any) error {
	if err := strict(payload); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil || bytes.TrimSpace(payload)[0] != '{' {
		return problem("the payload has a field that is unknown or of another type")
	}
	return nil
}

// shown returns a text of a device's as messages repeat it: up to 64 characters, quoted.
func shown(text string) string {
	const most = 64
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return strconv.Quote(text)
}
