// Package logjson reads logs as clients send them: one object, a JSON array, or NDJSON.
//
// It is a reader for exactly this shape, because log batches are the hottest input of the program: it reads a window at
// a time, keeps nothing but the entries, and is strict (RFC 8259 and I-JSON: no duplicate keys, no invalid UTF-8).
package logjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync"

	"hearth"
)

// Format is how logs stand in a body.
type Format int

// The formats.
const (
	// Array is a JSON array of {device_id, event, value, timestamp?}.
	Array Format = iota
	// Lines is NDJSON: one such object a line.
	Lines
	// Single is one {event, value, timestamp?}; the device is known from the path.
	Single
)

const (
	// window is how much of a body is held at a time, and thereby the largest item.
	window = 64 << 10
	// maxDepth bounds how deep values may be nested.
	maxDepth = 64
	// maxItemFaults bounds the wrong fields of one item that are named.
	maxItemFaults = 8
	// maxInterned bounds the texts that a pooled decoder remembers from batch to batch.
	maxInterned = 16_384
	// maxTexts bounds the values that are strings which a decoder remembers, maxRemembered the length of one, in bytes.
	maxTexts      = 4096
	maxRemembered = 64
	// maxID is longer than the id of any device; maxNumber bounds the bytes of a number.
	maxID     = 64
	maxNumber = 1 << 10
)

// Options say what is read.
type Options struct {
	Format Format
	// Now is the time, in Unix milliseconds, of logs that name none.
	Now int64
	// Device, if set, is the device of items that do not name one.
	Device string
}

// Batch is what was read.
type Batch struct {
	// Devices are the ids that the batch names, each once.
	Devices []string
	// Entries have the index into Devices as their Device (0 for Single).
	Entries []hearth.LogEntry
	// Faults are the fields of entries that could not be read, in their order. After hearth.MaxWrongLogs entries with one the rest of the body is not read. The
	// Device of an entry whose own could not be read is -1.
	Faults []hearth.LogFault

	decoder *decoder
	owner   *Decoder
}

// Release returns the batch's memory back; nothing of it, its texts excepted, may be used afterwards.
func (b *Batch) Release() {
	if b.decoder != nil {
		b.owner.pool.Put(b.decoder)
		b.decoder = nil
	}
}

// Decoder reads bodies, many at once, and reuses memory between them. The zero Decoder is ready.
type Decoder struct {
	pool sync.Pool
}

// Decode reads one body to its end. What is not JSON is CodeMalformedBody; what is no array, and more than hearth.MaxLogBatch items, are
// CodeValidationFailed. Items of another shape and over 64 KiB are Faults of the batch. Errors of r come back as they are. Event, value and
// time are read, not judged (see hearth.LogEntry.Problems), but for values beyond float64 and strings that are not hearth.ValidText.
func (p *Decoder) Decode(r io.Reader, options Options) (*Batch, error) {
	d, _ := p.pool.Get().(*decoder)
	if d == nil {
		d = &decoder{buf: make([]byte, window), devices: map[string]device{}, events: map[string]string{}, texts: map[string]hearth.Value{}}
	}
	d.reset(r, options)
	if err := d.read(); err != nil {
		d.reader = nil
		p.pool.Put(d)
		return nil, err
	}
	d.reader = nil
	return &Batch{Devices: d.ids, Entries: d.entries, Faults: d.faults, decoder: d, owner: p}, nil
}

type device struct {
	id    string
	batch uint64 // the batch that index belongs to
	index int64
}

type decoder struct {
	reader  io.Reader
	options Options
	entries []hearth.LogEntry
	ids     []string
	faults  []hearth.LogFault

	// buf[start:end] is what was read and not yet used; base is the body's offset of buf[0].
	buf        []byte
	start, end int
	base       int64
	eof        bool
	items      int

	batch   uint64
	devices map[string]device
	events  map[string]string
	texts   map[string]hearth.Value
	last    device
	event   string
	scratch []byte
}

func (d *decoder) reset(r io.Reader, options Options) {
	d.reader, d.options = r, options
	d.entries, d.ids, d.faults = d.entries[:0], d.ids[:0], nil
	d.start, d.end, d.base, d.eof, d.items = 0, 0, 0, false, 0
	d.batch++
	d.last = device{}
	if len(d.devices) > maxInterned {
		clear(d.devices)
	}
	if len(d.events) > maxInterned {
		clear(d.events)
		d.event = ""
	}
}

func (d *decoder) read() error {
	var err error
	switch d.options.Format {
	case Single:
		err = d.readSingle()
	case Lines:
		err = d.readLines()
	default:
		err = d.readArray()
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (d *decoder) readSingle() error {
	if _, err := d.space(); err != nil {
		return err
	}
	if err := d.item(); err != nil {
		return err
	}
	return d.finish()
}

func (d *decoder) readArray() error {
	c, err := d.space()
	if err != nil {
		return err
	}
	if c != '[' {
		if err := d.skipOne(); err != nil {
			return err
		}
		if err := d.finish(); err != nil {
			return err
		}
		return hearth.Invalid(hearth.FieldError{Location: "body", Message: "must be an array"})
	}
	d.start++
	if c, err = d.space(); err != nil {
		return err
	}
	if c == ']' {
		d.start++
		return d.finish()
	}
	for {
		if err := d.item(); err != nil {
			return err
		}
		if c, err = d.space(); err != nil {
			return err
		}
		switch c {
		case ',':
			d.start++
			if _, err = d.space(); err != nil {
				return err
			}
		case ']':
			d.start++
			return d.finish()
		default:
			return d.malformed(d.start, "a comma or ] is missing")
		}
	}
}

func (d *decoder) readLines() error {
	for {
		_, err := d.space()
		if errors.Is(err, errEnd) && d.items > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.item(); err != nil {
			return err
		}
		// Only a line's end may follow.
		before := d.base + int64(d.start)
		newline := false
		for !newline {
			if d.start == d.end {
				if err := d.fill(); err != nil {
					return err
				}
				if d.start == d.end {
					return nil
				}
			}
			switch d.buf[d.start] {
			case '\n':
				newline = true
			case ' ', '\t', '\r':
			default:
				return d.malformed(int(before-d.base), "an item must end its line")
			}
			d.start++
		}
	}
}

// finish wants nothing but space up to the end of the body.
func (d *decoder) finish() error {
	switch _, err := d.space(); {
	case errors.Is(err, errEnd):
		return nil
	case err != nil:
		return err
	}
	return d.malformed(d.start, "something follows the value")
}

// errEnd says that the body ended where more was wanted; to clients it is a malformed body.
var errEnd = hearth.Errorf(hearth.CodeMalformedBody, "the body ends too early")

// errEnough ends the reading of a body with so many faults that no more are named.
var errEnough = errors.New("no more faults are named")

// errShort says that the window ends within the item.
var errShort = errors.New("the window ends here")

// space passes over space and returns the byte after it, which stays unread; errEnd at the end of the body.
func (d *decoder) space() (byte, error) {
	for {
		if d.start = skipSpace(d.buf[:d.end], d.start); d.start < d.end {
			return d.buf[d.start], nil
		}
		if err := d.fill(); err != nil {
			return 0, err
		}
		if d.start == d.end {
			return 0, errEnd
		}
	}
}

// fill reads more behind what is unread, moving that to the window's beginning. Nothing more is there when start equals
// end afterwards, or eof is set.
func (d *decoder) fill() error {
	if d.eof {
		return nil
	}
	// A long body gives short requests their turn after each window.
	runtime.Gosched()
	if d.start > 0 {
		copy(d.buf, d.buf[d.start:d.end])
		d.base += int64(d.start)
		d.end -= d.start
		d.start = 0
	}
	for range 100 {
		n, err := d.reader.Read(d.buf[d.end:])
		d.end += n
		if errors.Is(err, io.EOF) {
			d.eof = true
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// whole runs parse on the window, from an item's beginning; when the item does not end in the window, more is read and
// the item is parsed again.
func (d *decoder) whole(parse func(b []byte) (next int, err error)) error {
	for {
		faults, entries := len(d.faults), len(d.entries)
		next, err := parse(d.buf[d.start:d.end])
		if err == nil {
			d.start += next
			return nil
		}
		if !errors.Is(err, errShort) {
			return err
		}
		d.faults, d.entries = d.faults[:faults], d.entries[:entries]
		if d.eof {
			return errEnd
		}
		if d.start == 0 && d.end == len(d.buf) {
			d.unread("is larger than 64 KiB")
			return errEnough
		}
		// Twice as much: a body that comes in small parts is not parsed again for each of them.
		for want := min(2*(d.end-d.start)+1, len(d.buf)); d.end-d.start < want && !d.eof; {
			if err := d.fill(); err != nil {
				return err
			}
		}
	}
}

func (d *decoder) item() error {
	if d.items == hearth.MaxLogBatch {
		return hearth.Invalid(hearth.FieldError{
			Location: "body", Message: "has more than " + strconv.Itoa(hearth.MaxLogBatch) + " items",
		})
	}
	if err := d.whole(d.parseItem); err != nil {
		return err
	}
	d.items++
	if d.wrongItems() >= hearth.MaxWrongLogs {
		return errEnough
	}
	return nil
}

// wrongItems returns the number of items with a fault.
func (d *decoder) wrongItems() (items int) {
	for i, fault := range d.faults {
		if i == 0 || fault.Index != d.faults[i-1].Index {
			items++
		}
	}
	return items
}

func (d *decoder) parseItem(b []byte) (int, error) {
	if b[0] == '{' {
		next, err := d.object(b)
		if err == nil && d.options.Format == Lines && bytes.IndexByte(b[:next], '\n') >= 0 {
			return 0, d.malformed(d.start, "an item must stand on one line")
		}
		return next, err
	}
	next, err := d.skip(b, 0, 0)
	if err == nil {
		d.unread("must be an object")
	}
	return next, err
}

// skipOne passes over one value of any kind.
func (d *decoder) skipOne() error {
	return d.whole(func(b []byte) (int, error) { return d.skip(b, 0, 0) })
}

// fail records a field of the item that is being read.
func (d *decoder) fail(field, message string) {
	if n := len(d.faults); n < maxItemFaults || d.faults[n-maxItemFaults].Index != d.items {
		d.faults = append(d.faults, hearth.LogFault{Index: d.items, FieldError: hearth.FieldError{Location: field, Message: message}})
	}
}

// unread adds an item that is no log.
func (d *decoder) unread(message string) {
	d.entries = append(d.entries, hearth.LogEntry{Device: -1})
	d.fail("", message)
}

// malformed makes the error for what is not JSON; at is an index into the window.
func (d *decoder) malformed(at int, why string) error {
	return hearth.Errorf(hearth.CodeMalformedBody, "the body is not valid at byte %d: %s", d.base+int64(at), why)
}

func (d *decoder) malformedIn(at int, why string) error { return d.malformed(d.start+at, why) }

var _ fmt.Stringer = Format(0)

// String returns the format's name.
func (f Format) String() string {
	switch f {
	case Lines:
		return "lines"
	case Single:
		return "single"
	}
	return "array"
}
