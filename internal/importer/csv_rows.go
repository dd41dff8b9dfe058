package importer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"hearth"
	"hearth/internal/core/exports"
	"hearth/internal/timetext"
)

// maxFields bounds the columns of a file.
const maxFields = 1000

// splitRow cuts a row into its fields by RFC 4180. fields is reused; what it holds
// is good until the next call.
func splitRow(line []byte, separator byte, fields [][]byte) ([][]byte, error) {
	fields = fields[:0]
	for {
		if len(fields) == maxFields {
			return fields, errors.New("has more than 1000 columns")
		}
		if len(line) == 0 || line[0] != '"' {
			comma := bytes.IndexByte(line, separator)
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
		if rest[0] != separator {
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
			return nil, nil, errors.New("has a quote that is not closed")
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
	// id is the device's in files of exports, nil in others.
	id     []byte
	device []byte
	kind   []byte
	event  string
	value  hearth.Value
	at     int64
}

// layout is where in a line things stand: the index of each column, -1 for one that is not there.
type layout struct {
	columns   int
	separator byte
	// json says that the file is an export in JSON or NDJSON, exported that it is one in CSV.
	json, exported                            bool
	id, device, kind, event, value, timestamp int
	fixedEvent, fixedType                     string
	fields                                    [][]byte
	events                                    map[string]string
}

// layoutOf reads the header.
func layoutOf(header []byte, options csvImport) (layout, error) {
	header = bytes.TrimPrefix(header, []byte("\ufeff"))
	if isJSON(header) {
		return layout{json: true, events: map[string]string{}}, nil
	}
	for _, separator := range []byte(",;\t") {
		if string(header) == strings.Join(exportColumns, string(separator)) {
			return layout{
				columns: len(exportColumns), separator: separator, exported: true,
				timestamp: 0, id: 1, device: 2, kind: 3, event: 4, value: 5, events: map[string]string{},
			}, nil
		}
	}
	fields, err := splitRow(header, ',', nil)
	if err != nil {
		return layout{}, fmt.Errorf("the header %w", err)
	}
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = strings.TrimSpace(string(field))
	}
	l := layout{columns: len(names), separator: ',', id: -1, fixedEvent: options.Event, fixedType: options.Type, events: map[string]string{}}
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

// next returns the next row and the number of its first line.
func (l *layout) next(from *lines) (row []byte, first int64, err error) {
	if l.json {
		row, err = from.next()
		return row, from.number, err
	}
	return from.record(l.separator)
}

// parse reads a row; problem says what is wrong with it. The row has no event if there is none: a bracket of JSON.
func (l *layout) parse(line []byte, now time.Time) (r row, problem string) {
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		return row{}, "is not UTF-8 without NUL"
	}
	var timestamp []byte
	switch {
	case l.json:
		from, err := readExported(line)
		if err != nil {
			return row{}, "is not a JSON object of an export of logs: " + err.Error()
		}
		if from == nil {
			return row{}, ""
		}
		r = row{id: []byte(from.DeviceID), device: []byte(from.DeviceName), kind: []byte(from.DeviceType), event: l.intern([]byte(from.Event))}
		timestamp = []byte(from.Timestamp)
		switch value := from.Value.(type) {
		case float64:
			r.value = hearth.Number(value)
		case bool:
			r.value = hearth.Boolean(value)
		case string:
			if !hearth.ValidText(value) {
				return row{}, "value " + hearth.TextRule
			}
			r.value = hearth.Text(value)
		default:
			return row{}, "value must be a number, a boolean or a string"
		}
	default:
		fields, err := splitRow(line, l.separator, l.fields)
		l.fields = fields
		if err != nil {
			return row{}, err.Error()
		}
		if len(fields) != l.columns {
			return row{}, fmt.Sprintf("has %d columns, not %d", len(fields), l.columns)
		}
		if problem = l.read(&r, fields); problem != "" {
			return row{}, problem
		}
		timestamp = bytes.TrimSpace(fields[l.timestamp])
	}
	switch {
	case len(r.device) == 0:
		return row{}, "device must not be empty"
	case utf8.RuneCount(r.device) > hearth.MaxDeviceName:
		return row{}, "device is too long"
	case utf8.RuneCount(r.kind) > hearth.MaxDeviceType:
		return row{}, "type is too long"
	case r.id != nil && uuid.Validate(string(r.id)) != nil:
		return row{}, "device_id must be a UUID"
	}
	var ok bool
	if r.at, ok = timetext.ParseTimestamp(timestamp); !ok {
		return row{}, "timestamp must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z"
	}
	field, message := hearth.LogEntry{Event: r.event, Value: r.value, At: r.at}.Problem(now)
	if field != "" {
		return row{}, field + " " + message
	}
	return r, ""
}

// read reads the fields of a CSV row but for its time. Those of an export are taken as they are, others without space around them.
func (l *layout) read(r *row, fields [][]byte) (problem string) {
	value := string(fields[l.value])
	if l.exported {
		r.id = fields[l.id]
		r.device, r.kind = []byte(exports.Unguard(string(fields[l.device]))), []byte(exports.Unguard(string(fields[l.kind])))
		r.event = l.intern(bytes.TrimPrefix(fields[l.event], []byte("'")))
	} else {
		r.device, r.kind, r.event = bytes.TrimSpace(fields[l.device]), []byte(l.fixedType), l.fixedEvent
		if l.kind >= 0 {
			if r.kind = bytes.TrimSpace(fields[l.kind]); len(r.kind) == 0 {
				r.kind = []byte(defaultType)
			}
		}
		if l.event >= 0 {
			r.event = l.intern(bytes.TrimSpace(fields[l.event]))
		}
		value = strings.TrimSpace(value)
	}
	if r.value, problem = exports.ReadCell(exports.Unguard(value)); problem != "" {
		return "value " + problem
	}
	return ""
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
