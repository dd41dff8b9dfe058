package logjson

import (
	"hearth"
	"hearth/internal/newid"
	"hearth/internal/timetext"
)

// The fields that an item was seen to have.
const (
	hasDevice = 1 << iota
	hasEvent
	hasValue
	hasTimestamp
)

// object reads one log, which begins at b[0], and returns the index after it. Reading it again from the start must be
// safe, because the window may end within it.
func (d *decoder) object(b []byte) (int, error) {
	entry := hearth.LogEntry{At: d.options.Now}
	seen, good := 0, 0
	var strangers map[string]bool
	i := skipSpace(b, 1)
	if i < len(b) && b[i] == '}' {
		d.complete(entry, seen, good)
		return i + 1, nil
	}
	for {
		key, next, err := d.text(b, i)
		if err != nil {
			return 0, err
		}
		field := 0
		switch string(key) {
		case "device_id":
			field = hasDevice
		case "event":
			field = hasEvent
		case "value":
			field = hasValue
		case "timestamp":
			field = hasTimestamp
		}
		if d.options.Format == Single && field == hasDevice {
			field = 0
		}
		if field == 0 {
			if strangers[string(key)] {
				return 0, d.malformedIn(i, "a key is there twice")
			}
			if strangers == nil {
				strangers = map[string]bool{}
			}
			strangers[string(key)] = true
			d.fail(printable(key), "is not a known field")
		} else if seen&field != 0 {
			return 0, d.malformedIn(i, "a key is there twice")
		}
		seen |= field
		if i = skipSpace(b, next); i == len(b) {
			return 0, errShort
		}
		if b[i] != ':' {
			return 0, d.malformedIn(i, "a colon is missing")
		}
		i = skipSpace(b, i+1)
		ok := false
		switch field {
		case hasDevice:
			i, ok, err = d.readDevice(b, i, &entry)
		case hasEvent:
			i, ok, err = d.readEvent(b, i, &entry)
		case hasValue:
			i, ok, err = d.readValue(b, i, &entry)
		case hasTimestamp:
			i, ok, err = d.readTimestamp(b, i, &entry)
		default:
			i, err = d.skip(b, i, 1)
		}
		if err != nil {
			return 0, err
		}
		if ok {
			good |= field
		}
		if i = skipSpace(b, i); i == len(b) {
			return 0, errShort
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			d.complete(entry, seen, good)
			return i + 1, nil
		default:
			return 0, d.malformedIn(i, "a comma or } is missing")
		}
	}
}

// complete adds a read item, and records what it lacks.
func (d *decoder) complete(entry hearth.LogEntry, seen, good int) {
	need := hasDevice | hasEvent | hasValue
	switch {
	case d.options.Format == Single:
		need = hasEvent | hasValue
	case d.options.Device != "" && seen&hasDevice == 0:
		entry.Device = d.index([]byte(d.options.Device))
		need = hasEvent | hasValue
	case good&hasDevice == 0:
		entry.Device = -1
	}
	d.entries = append(d.entries, entry)
	if good&need == need {
		return
	}
	missing := need &^ seen
	if missing&hasDevice != 0 {
		d.fail("device_id", "is required")
	}
	if missing&hasEvent != 0 {
		d.fail("event", "is required")
	}
	if missing&hasValue != 0 {
		d.fail("value", "is required")
	}
}

func (d *decoder) readDevice(b []byte, i int, entry *hearth.LogEntry) (next int, ok bool, err error) {
	if i < len(b) && b[i] == 'n' && d.options.Device != "" {
		entry.Device = d.index([]byte(d.options.Device))
		next, err = d.word(b, i, "null")
		return next, true, err
	}
	if i < len(b) && b[i] != '"' {
		return d.wrong(b, i, "device_id", "must be a string")
	}
	text, next, err := d.text(b, i)
	if err != nil {
		return 0, false, err
	}
	if len(text) > maxID {
		d.fail("device_id", "is not one of your devices")
		return next, false, nil
	}
	entry.Device = d.index(text)
	return next, true, nil
}

// index returns the index of a device in the batch, which names it from now on.
func (d *decoder) index(text []byte) int64 {
	if d.last.batch == d.batch && string(text) == d.last.id {
		return d.last.index
	}
	known, found := d.devices[string(text)]
	if !found {
		id := newid.Canonical(string(text))
		if known, found = d.devices[id]; !found {
			known.id = id
		}
	}
	if known.batch != d.batch {
		known.batch, known.index = d.batch, int64(len(d.ids))
		d.ids = append(d.ids, known.id)
		d.devices[known.id] = known
	}
	d.last = known
	return known.index
}

func (d *decoder) readEvent(b []byte, i int, entry *hearth.LogEntry) (next int, ok bool, err error) {
	if i < len(b) && b[i] != '"' {
		return d.wrong(b, i, "event", "must be a string")
	}
	text, next, err := d.text(b, i)
	if err != nil {
		return 0, false, err
	}
	if string(text) == d.event {
		entry.Event = d.event
		return next, true, nil
	}
	event, found := d.events[string(text)]
	if !found {
		if len(text) > hearth.MaxEvent {
			d.fail("event", hearth.EventRule)
			return next, false, nil
		}
		event = string(text)
		d.events[event] = event
	}
	d.event, entry.Event = event, event
	return next, true, nil
}

func (d *decoder) readValue(b []byte, i int, entry *hearth.LogEntry) (next int, ok bool, err error) {
	if i < len(b) && b[i] != '-' && b[i]-'0' > 9 {
		switch b[i] {
		case '"':
			return d.readText(b, i, entry)
		case 't':
			entry.Value = hearth.Boolean(true)
			next, err = d.word(b, i, "true")
			return next, true, err
		case 'f':
			entry.Value = hearth.Boolean(false)
			next, err = d.word(b, i, "false")
			return next, true, err
		}
		return d.wrong(b, i, "value", "must be a number, a boolean or a string")
	}
	value, next, inRange, err := d.number(b, i)
	if err != nil {
		return 0, false, err
	}
	if !inRange {
		d.fail("value", "must be a finite number of at most 1e300")
		return next, false, nil
	}
	entry.Value = hearth.Number(value)
	return next, true, nil
}

// readText reads a value that is a string.
func (d *decoder) readText(b []byte, i int, entry *hearth.LogEntry) (next int, ok bool, err error) {
	text, next, err := d.text(b, i)
	if err != nil {
		return 0, false, err
	}
	value, found := d.texts[string(text)]
	if !found {
		if len(text) > 4*hearth.MaxText || !hearth.ValidText(string(text)) {
			d.fail("value", hearth.TextRule)
			return next, false, nil
		}
		value = hearth.Text(string(text))
		if len(text) <= maxRemembered {
			if len(d.texts) == maxTexts {
				clear(d.texts)
			}
			d.texts[value.Text()] = value
		}
	}
	entry.Value = value
	return next, true, nil
}

func (d *decoder) readTimestamp(b []byte, i int, entry *hearth.LogEntry) (next int, ok bool, err error) {
	if i < len(b) && b[i] == 'n' {
		next, err = d.word(b, i, "null")
		return next, true, err
	}
	if i < len(b) && b[i] != '"' {
		return d.wrong(b, i, "timestamp", "must be a string")
	}
	text, next, err := d.text(b, i)
	if err != nil {
		return 0, false, err
	}
	at, ok := timetext.ParseTimestamp(text)
	if !ok {
		d.fail("timestamp", "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z")
		return next, false, nil
	}
	entry.At = at
	return next, true, nil
}

// wrong passes over a value of the wrong kind.
func (d *decoder) wrong(b []byte, i int, field, message string) (next int, ok bool, err error) {
	next, err = d.skip(b, i, 1)
	if err == nil {
		d.fail(field, message)
	}
	return next, false, err
}

// printable makes a client's key fit to be named in an error: at most 64 bytes, without control characters.
func printable(key []byte) string {
	clean := make([]rune, 0, 64)
	for _, r := range string(key) {
		if len(clean) == 64 {
			break
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			r = '?'
		}
		clean = append(clean, r)
	}
	return string(clean)
}
