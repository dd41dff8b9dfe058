package realtime

import (
	"bytes"
	"encoding/json"
	"time"

	"hearth"
)

const timeFormat = "2006-01-02T15:04:05.000Z"

// envelope returns the one form of an event on every transport: {"type":…,"at":…,"data":…}, on one line.
func envelope(eventType hearth.EventType, at time.Time, data json.RawMessage) ([]byte, error) {
	if bytes.ContainsAny(data, "\r\n") {
		// Outside of strings JSON may hold line breaks; a line of SSE and a frame of the JSON protocol may not.
		var one bytes.Buffer
		if err := json.Compact(&one, data); err != nil {
			return nil, err
		}
		data = one.Bytes()
	}
	out := make([]byte, 0, len(data)+80)
	out = append(out, `{"type":"`...)
	out = append(out, eventType...)
	out = append(out, `","at":"`...)
	out = at.UTC().AppendFormat(out, timeFormat)
	out = append(out, `","data":`...)
	out = append(out, data...)
	return append(out, '}'), nil
}

// typeOf reads the type back from what envelope wrote.
func typeOf(data []byte) []byte {
	rest, ok := bytes.CutPrefix(data, []byte(`{"type":"`))
	if !ok {
		return nil
	}
	name, _, _ := bytes.Cut(rest, []byte{'"'})
	return name
}

// atOf reads the time back from what envelope wrote, as text that sorts by time.
func atOf(data []byte) []byte {
	_, rest, ok := bytes.Cut(data, []byte(`","at":"`))
	if !ok || len(rest) < len(timeFormat) {
		return nil
	}
	return rest[:len(timeFormat)]
}
