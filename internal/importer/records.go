package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"hearth"
)

// record returns the next row of a CSV file, which may go over several lines where a quoted field does; it is good until the next
// call. first is the number of its first line. A quote that is not closed within 64 KiB ends with its line.
func (l *lines) record(separator byte) (row []byte, first int64, err error) {
	line, err := l.next()
	first = l.number
	if err != nil || bytes.IndexByte(line, '"') < 0 || recordEnd(line, separator) >= 0 {
		return line, first, err
	}
	l.long = append(append(l.long[:0], line...), l.ending...)
	begun := len(l.long)
	ahead, err := l.reader.Peek(max(0, maxLine-begun))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, first, err
	}
	l.long = append(l.long, ahead...)
	end := recordEnd(l.long, separator)
	if end < 0 || end == len(l.long) && err == nil {
		return l.long[:begun-len(l.ending)], first, nil
	}
	if err := l.take(min(end+1, len(l.long)) - begun); err != nil {
		return nil, first, err
	}
	return bytes.TrimSuffix(l.long[:end], []byte("\r")), first, nil
}

// take passes over the rest of a row, n bytes that are in the reader's buffer.
func (l *lines) take(n int) error {
	part, err := l.reader.Peek(n)
	if err != nil {
		return err
	}
	l.offset += int64(n)
	l.hash.Write(part)
	l.number += int64(bytes.Count(part, []byte("\n")))
	if l.open = n == 0 || part[n-1] != '\n'; l.open {
		l.number++
	}
	_, err = l.reader.Discard(n)
	return err
}

// recordEnd returns where the line feed that ends the first row of a text is, len(text) if the text ends before it outside of
// quotes, and -1 if it ends within quotes.
func recordEnd(text []byte, separator byte) int {
	start, quoted := true, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '"' && i+1 < len(text) && text[i+1] == '"':
			i++
		case quoted:
			quoted = c != '"'
		case c == '"' && start:
			quoted, start = true, false
		case c == '\n':
			return i
		default:
			start = c == separator
		}
	}
	if quoted {
		return -1
	}
	return len(text)
}

// exportColumns are the header of CSV files of logs that hearth exported.
var exportColumns = []string{"timestamp", "device_id", "device_name", "device_type", "event", "value"} // never written to

// exported is a row of a JSON or NDJSON file of logs that hearth exported.
type exported struct {
	Timestamp  string `json:"timestamp"`
	DeviceID   string `json:"device_id"`
	DeviceName string `json:"device_name"`
	DeviceType string `json:"device_type"`
	Event      string `json:"event"`
	Value      any    `json:"value"`
}

// value returns the value of the row; problem says what is wrong with it.
func (e *exported) value() (v hearth.Value, problem string) {
	switch value := e.Value.(type) {
	case float64:
		return hearth.Number(value), ""
	case bool:
		return hearth.Boolean(value), ""
	case string:
		if !hearth.ValidText(value) {
			return v, "value " + hearth.TextRule
		}
		return hearth.Text(value), ""
	}
	return v, "value must be a number, a boolean or a string"
}

// isJSON reports whether a file that begins with that line is one of JSON objects, one a line: an export in JSON or NDJSON.
func isJSON(line []byte) bool { return len(line) > 0 && (line[0] == '{' || line[0] == '[') }

// readExported reads a line of such a file. It is nil for the brackets around the objects.
func readExported(line []byte) (*exported, error) {
	line = bytes.TrimSuffix(bytes.TrimSpace(line), []byte(","))
	if len(line) == 1 && (line[0] == '[' || line[0] == ']') {
		return nil, nil //nolint:nilnil // it is no row, and nothing is wrong
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	var row exported
	if err := decoder.Decode(&row); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, errors.New("more than one value")
	}
	return &row, nil
}
