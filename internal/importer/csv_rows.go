package importer

import (
	"bytes"
	"cmp"
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
	at     int64
	// readings are its events and values: one, unless the file is wide; none for a bracket of JSON and a row of empty cells.
	readings []reading
}

type reading struct {
	event string
	value hearth.Value
}

// layout is where in a line things stand: the index of each column, -1 for one that is not there.
type layout struct {
	columns   int
	separator byte
	// json says that the file is an export in JSON or NDJSON, exported that it is one in CSV.
	json, exported                            bool
	id, device, kind, event, value, timestamp int
	fixedEvent, fixedType                     string
	// wide are the columns that are events.
	wide     []wideColumn
	format   *format
	fields   [][]byte
	events   map[string]string
	readings []reading
}

type wideColumn struct {
	at    int
	event string
}

// layoutOf reads the header.
func layoutOf(header []byte, options csvImport) (layout, error) {
	header = bytes.TrimPrefix(header, []byte("\ufeff"))
	if isJSON(header) {
		return layout{json: true, format: &options.format, events: map[string]string{}}, nil
	}
	for _, separator := range []byte(",;\t") {
		if string(header) == strings.Join(exportColumns, string(separator)) {
			return layout{
				columns: len(exportColumns), separator: separator, exported: true, format: &options.format,
				timestamp: 0, id: 1, device: 2, kind: 3, event: 4, value: 5, events: map[string]string{},
			}, nil
		}
	}
	l := layout{
		separator: cmp.Or(options.format.separator, ','), id: -1, fixedEvent: options.Event, fixedType: options.Type, format: &options.format,
		events: map[string]string{},
	}
	fields, err := splitRow(header, l.separator, nil)
	if err != nil {
		return layout{}, fmt.Errorf("the header %w", err)
	}
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i] = strings.TrimSpace(string(field))
		if names[i] != "" && slices.Contains(names[:i], names[i]) {
			return layout{}, fmt.Errorf("the header has two columns %s: rename one", names[i])
		}
	}
	l.columns = len(names)
	var missing []string
	find := func(name string, needed bool) int {
		at := slices.Index(names, name)
		if at < 0 && needed {
			missing = append(missing, name)
		}
		return at
	}
	l.device, l.value = -1, -1
	if options.format.Device == "" {
		l.device = find(options.Columns.Device, true)
	}
	if !options.format.Wide {
		l.value = find(options.Columns.Value, true)
	}
	l.timestamp = find(options.Columns.Timestamp, true)
	l.kind, l.event = -1, -1
	if l.fixedType == "" {
		if l.kind = find(options.Columns.Type, false); l.kind < 0 {
			l.fixedType = defaultType
		}
	}
	if l.fixedEvent == "" && !options.format.Wide {
		l.event = find(options.Columns.Event, true)
	}
	if len(missing) > 0 {
		hint := ""
		if len(names) == 1 && strings.ContainsAny(names[0], ",;\t|") {
			hint = ": name what separates the columns with --delimiter"
		}
		return layout{}, fmt.Errorf("the header has no column %s (it has %s)%s", strings.Join(missing, ", "), strings.Join(names, ", "), hint)
	}
	return l, l.addWide(names)
}

// addWide takes the other columns for events, if the file is wide.
func (l *layout) addWide(names []string) error {
	if !l.format.Wide {
		return nil
	}
	for at, name := range names {
		switch {
		case at == l.device || at == l.kind || at == l.timestamp || name == "":
		case !hearth.ValidEvent(name):
			return fmt.Errorf("the column %s cannot be an event: rename it to 1 to 64 letters, digits and _.:*/-", name)
		default:
			l.wide = append(l.wide, wideColumn{at, name})
		}
	}
	if len(l.wide) == 0 {
		return errors.New("the header has no column that could be an event")
	}
	return nil
}

// next returns the next row and the number of its first line.
func (l *layout) next(from *lines) (row []byte, first int64, err error) {
	if l.json {
		row, err = from.next()
		return row, from.number, err
	}
	return from.record(l.separator)
}

// parse reads a row; problem says what is wrong with it.
func (l *layout) parse(line []byte, now time.Time) (r row, problem string) {
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		return row{}, "is not UTF-8 without NUL"
	}
	var timestamp []byte
	l.readings = l.readings[:0]
	switch {
	case l.json:
		from, err := readExported(line)
		if err != nil {
			return row{}, "is not a JSON object of an export of logs: " + err.Error()
		}
		if from == nil {
			return row{}, ""
		}
		r = row{id: []byte(from.DeviceID), device: []byte(from.DeviceName), kind: []byte(from.DeviceType)}
		timestamp = []byte(from.Timestamp)
		value, problem := from.value()
		if problem != "" {
			return row{}, problem
		}
		l.readings = append(l.readings, reading{l.intern([]byte(from.Event)), value})
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
	times, wants := l.format.time, l.format.wants
	if l.json || l.exported {
		times, wants = timetext.ParseTimestamp, "an RFC 3339 time"
	}
	var ok bool
	if r.at, ok = times(timestamp); !ok {
		return row{}, "timestamp must be " + wants
	}
	for _, one := range l.readings {
		field, message := hearth.LogEntry{Event: one.event, Value: one.value, At: r.at}.Problem(now)
		if field != "" {
			return row{}, field + " " + message
		}
	}
	r.readings = l.readings
	return r, ""
}

// read reads the fields of a CSV row but for its time. Those of an export are taken as they are, others without space around them.
func (l *layout) read(r *row, fields [][]byte) (problem string) {
	if l.exported {
		r.id = fields[l.id]
		r.device, r.kind = []byte(exports.Unguard(string(fields[l.device]))), []byte(exports.Unguard(string(fields[l.kind])))
		return l.addReading(l.intern(bytes.TrimPrefix(fields[l.event], []byte("'"))), "value", string(fields[l.value]))
	}
	r.device, r.kind = []byte(l.format.Device), []byte(l.fixedType)
	if l.device >= 0 {
		r.device = bytes.TrimSpace(fields[l.device])
	}
	if l.kind >= 0 {
		if r.kind = bytes.TrimSpace(fields[l.kind]); len(r.kind) == 0 {
			r.kind = []byte(defaultType)
		}
	}
	if l.format.Wide {
		for _, column := range l.wide {
			if text := bytes.TrimSpace(fields[column.at]); len(text) > 0 {
				if problem := l.addReading(column.event, column.event, string(text)); problem != "" {
					return problem
				}
			}
		}
		return ""
	}
	event := l.fixedEvent
	if l.event >= 0 {
		event = l.intern(bytes.TrimSpace(fields[l.event]))
	}
	return l.addReading(event, "value", strings.TrimSpace(string(fields[l.value])))
}

// addReading adds what a cell of the column says.
func (l *layout) addReading(event, column, text string) (problem string) {
	value, problem := l.format.value(exports.Unguard(text))
	if problem != "" {
		return column + " " + problem
	}
	l.readings = append(l.readings, reading{event, value})
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
