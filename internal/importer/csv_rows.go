package importer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth"
	"hearth/internal/timetext"
)

// maxFields bounds the columns of a file.
const maxFields = 1000

// splitRow cuts a line into its fields by RFC 4180. A field in quotes ends on its line. fields is reused; what it holds
// is good until the next call.
func splitRow(line []byte, fields [][]byte) ([][]byte, error) {
	fields = fields[:0]
	for {
		if len(fields) == maxFields {
			return fields, errors.New("has more than 1000 columns")
		}
		if len(line) == 0 || line[0] != '"' {
			comma := bytes.IndexByte(line, ',')
			field := line
			if comma >= 0 {
				field = line[:comma]
			}
			if bytes.IndexByte(field, '"') >= 0 {
				return fields, errors.New("has a quote within a field without quotes")
			}
			fields = append(fields, field)
			if comma < 0 {
				return fields, nil
			}
			line = line[comma+1:]
			continue
		}
		field, rest, err := quoted(line[1:])
		if err != nil {
			return fields, err
		}
		fields = append(fields, field)
		if len(rest) == 0 {
			return fields, nil
		}
		if rest[0] != ',' {
			return fields, errors.New("has something behind a closing quote")
		}
		line = rest[1:]
	}
}

// quoted reads a field up to its closing quote; doubled quotes become one, in place.
func quoted(line []byte) (field, rest []byte, err error) {
	out := line[:0]
	for {
		end := bytes.IndexByte(line, '"')
		if end < 0 {
			return nil, nil, errors.New("has a quote that is not closed on its line")
		}
		out = append(out, line[:end]...)
		if end+1 == len(line) || line[end+1] != '"' {
			return out, line[end+1:], nil
		}
		out = append(out, '"')
		line = line[end+2:]
	}
}

// row is one reading; its bytes are good until the next line is read.
type row struct {
	device []byte
	kind   []byte
	event  string
	value  float64
	at     int64
}

// layout is where in a line things stand: the index of each column, -1 for one that is not there.
type layout struct {
	columns                               int
	device, kind, event, value, timestamp int
	fixedEvent, fixedType                 string
	fields                                [][]byte
	events                                map[string]string
}

// layoutOf reads the header.
func layoutOf(header []byte, options csvImport) (layout, error) {
	header = bytes.TrimPrefix(header, []byte("\ufeff"))
	fields, err := splitRow(header, nil)
	if err != nil {
		return layout{}, fmt.Errorf("the header %w", err)
	}
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = strings.TrimSpace(string(field))
	}
	l := layout{columns: len(names), fixedEvent: options.Event, fixedType: options.Type, events: map[string]string{}}
	var missing []string
	find := func(name string, needed bool) int {
		at := slices.Index(names, name)
		if at < 0 && needed {
			missing = append(missing, name)
		}
		return at
	}
	l.device = find(options.Columns.Device, true)
	l.value = find(options.Columns.Value, true)
	l.timestamp = find(options.Columns.Timestamp, true)
	l.kind, l.event = -1, -1
	if l.fixedType == "" {
		if l.kind = find(options.Columns.Type, false); l.kind < 0 {
			l.fixedType = defaultType
		}
	}
	if l.fixedEvent == "" {
		l.event = find(options.Columns.Event, true)
	}
	if len(missing) > 0 {
		return layout{}, fmt.Errorf("the header has no column %s (it has %s)", strings.Join(missing, ", "), strings.Join(names, ", "))
	}
	return l, nil
}

// parse reads a line; problem says what is wrong with it.
func (l *layout) parse(line []byte, now time.Time) (r row, problem string) {
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		return row{}, "is not UTF-8 without NUL"
	}
	fields, err := splitRow(line, l.fields)
	l.fields = fields
	if err != nil {
		return row{}, err.Error()
	}
	if len(fields) != l.columns {
		return row{}, fmt.Sprintf("has %d columns, not %d", len(fields), l.columns)
	}
	r.device, r.kind, r.event = bytes.TrimSpace(fields[l.device]), []byte(l.fixedType), l.fixedEvent
	switch {
	case len(r.device) == 0:
		return row{}, "device must not be empty"
	case utf8.RuneCount(r.device) > hearth.MaxDeviceName:
		return row{}, "device is too long"
	}
	if l.kind >= 0 {
		if r.kind = bytes.TrimSpace(fields[l.kind]); len(r.kind) == 0 {
			r.kind = []byte(defaultType)
		}
		if utf8.RuneCount(r.kind) > hearth.MaxDeviceType {
			return row{}, "type is too long"
		}
	}
	if l.event >= 0 {
		r.event = l.intern(bytes.TrimSpace(fields[l.event]))
	}
	var ok bool
	if r.value, ok = parseValue(bytes.TrimSpace(fields[l.value])); !ok {
		return row{}, "value must be a number"
	}
	if r.at, ok = timetext.ParseTimestamp(bytes.TrimSpace(fields[l.timestamp])); !ok {
		return row{}, "timestamp must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z"
	}
	field, message := hearth.LogEntry{Event: r.event, Value: hearth.Number(r.value), At: r.at}.Problem(now)
	if field != "" {
		return row{}, field + " " + message
	}
	return r, ""
}

// maxEvents bounds the event names that are kept for reuse.
const maxEvents = 10_000

func (l *layout) intern(event []byte) string {
	if known, ok := l.events[string(event)]; ok {
		return known
	}
	text := string(event)
	if len(l.events) < maxEvents {
		l.events[text] = text
	}
	return text
}

// parseValue reads a decimal number; spellings that only Go knows (0x1p4, inf) are refused.
func parseValue(text []byte) (float64, bool) {
	if len(text) == 0 {
		return 0, false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	value, err := strconv.ParseFloat(string(text), 64)
	return value, err == nil
}
