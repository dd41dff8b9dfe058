package backup

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"hearth"
	"hearth/internal/store/archive"
)

// A block of logs, all numbers as varints (z: zigzag) unless they say otherwise:
//
//	version 1, number of logs
//	events: their number; each its length and its bytes
//	series (a device's event): their number; each z of the device's key less the one before, and the event's place
//	section of series: for each log 0 where its series follows the one before as it did the last time, else its place + 1
//	section of times: the unit in ms; z of the first; then z of the difference to the log before, in units
//	section of numbers: z of the number less the one before less 1
//	values, series by series: the decimal places 0 to 6, and for each log z of the difference of value × 10^places to the one
//	before; or 255 and the bits of each value (8 bytes, big-endian), xor those before
//
// A section begins with its length in bytes. Version 2, of a block that has other values than numbers, has behind each series its kind (0
// numbers, 1 booleans, whose values are 1 or 0, 2 a string, whose length and bytes follow; its values are 0).
const (
	blockVersion = 1
	typedVersion = 2
	maxPlaces    = 6
	rawValues    = 255
)

type logSeries struct {
	device int64
	event  string
	kind   hearth.ValueKind
	text   string
}

// logEncoder encodes blocks and keeps its memory between them. It is for one goroutine.
type logEncoder struct {
	index   map[logSeries]uint32
	series  []logSeries
	events  map[string]uint32
	names   []string
	which   []uint32
	follows []uint32
	lines   [][]float64
	section []byte
}

// encode appends the block of the entries, at most record.MaxPart.
func (e *logEncoder) encode(dst []byte, entries []hearth.LogEntry) []byte {
	e.rank(entries)
	typed := slices.ContainsFunc(e.series, func(s logSeries) bool { return s.kind != hearth.NumberKind })
	if typed {
		dst = append(dst, typedVersion)
	} else {
		dst = append(dst, blockVersion)
	}
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	dst = binary.AppendUvarint(dst, uint64(len(e.names)))
	for _, name := range e.names {
		dst = binary.AppendUvarint(dst, uint64(len(name)))
		dst = append(dst, name...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.series)))
	last := int64(0)
	for _, s := range e.series {
		dst = binary.AppendVarint(dst, s.device-last)
		dst = binary.AppendUvarint(dst, uint64(e.events[s.event]))
		last = s.device
		if typed {
			dst = append(dst, byte(s.kind))
		}
		if s.kind == hearth.TextKind {
			dst = binary.AppendUvarint(dst, uint64(len(s.text)))
			dst = append(dst, s.text...)
		}
	}
	dst = e.appendSection(dst, e.placesOf)
	dst = e.appendSection(dst, func(to []byte) []byte { return timesOf(to, entries) })
	dst = e.appendSection(dst, func(to []byte) []byte {
		before := uint64(0)
		for i := range entries {
			to = binary.AppendVarint(to, int64(entries[i].Seq-before-1))
			before = entries[i].Seq
		}
		return to
	})
	for _, values := range e.lines {
		dst = appendValues(dst, values)
	}
	return dst
}

func (e *logEncoder) appendSection(dst []byte, fill func([]byte) []byte) []byte {
	e.section = fill(e.section[:0])
	dst = binary.AppendUvarint(dst, uint64(len(e.section)))
	return append(dst, e.section...)
}

// rank finds the series and puts the values to them.
func (e *logEncoder) rank(entries []hearth.LogEntry) {
	e.index, e.events = map[logSeries]uint32{}, map[string]uint32{}
	e.series, e.names, e.which = e.series[:0], e.names[:0], e.which[:0]
	for i := range e.lines {
		e.lines[i] = e.lines[i][:0]
	}
	for i := range entries {
		s := logSeries{entries[i].Device, entries[i].Event, entries[i].Value.Kind(), entries[i].Value.Text()}
		place, ok := e.index[s]
		if !ok {
			place = uint32(len(e.series))
			e.index[s] = place
			e.series = append(e.series, s)
			if _, ok := e.events[s.event]; !ok {
				e.events[s.event] = uint32(len(e.names))
				e.names = append(e.names, s.event)
			}
			if len(e.lines) < len(e.series) {
				e.lines = append(e.lines, nil)
			}
		}
		e.which = append(e.which, place)
		e.lines[place] = append(e.lines[place], entries[i].Value.Number())
	}
	e.lines = e.lines[:len(e.series)]
}

func (e *logEncoder) placesOf(to []byte) []byte {
	e.follows = append(e.follows[:0], make([]uint32, len(e.series)+1)...)
	before := uint32(0) // places are counted from 1 here; 0 stands for the beginning
	for _, place := range e.which {
		if e.follows[before] == place+1 {
			to = append(to, 0)
		} else {
			to = binary.AppendUvarint(to, uint64(place)+1)
			e.follows[before] = place + 1
		}
		before = place + 1
	}
	return to
}

func timesOf(to []byte, entries []hearth.LogEntry) []byte {
	if len(entries) == 0 {
		return to
	}
	unit := int64(60_000)
	for i := 1; i < len(entries) && unit > 1; i++ {
		for (entries[i].At-entries[i-1].At)%unit != 0 {
			unit = map[int64]int64{60_000: 1000, 1000: 1}[unit]
		}
	}
	to = binary.AppendUvarint(to, uint64(unit))
	to = binary.AppendVarint(to, entries[0].At)
	for i := 1; i < len(entries); i++ {
		to = binary.AppendVarint(to, (entries[i].At-entries[i-1].At)/unit)
	}
	return to
}

// decimal returns value × 10^places as a whole number, if dividing it returns the value back to the bit.
func decimal(value, power float64) (int64, bool) {
	scaled := math.Round(value * power)
	if math.Abs(scaled) >= 1<<53 || math.Float64bits(float64(int64(scaled))/power) != math.Float64bits(value) {
		return 0, false
	}
	return int64(scaled), true
}

// placesFor returns the decimal places that hold all values; ok is false if none do.
func placesFor(values []float64) (places int, power float64, ok bool) {
	power = 1
	for i := 0; i < len(values); {
		if _, ok := decimal(values[i], power); ok {
			i++
			continue
		}
		// A value with fewer places has the higher ones too, except a few at the edge of precision: all are looked at again.
		if places++; places > maxPlaces {
			return 0, 0, false
		}
		power *= 10
		i = 0
	}
	return places, power, true
}

func appendValues(dst []byte, values []float64) []byte {
	places, power, ok := placesFor(values)
	if !ok {
		dst = append(dst, rawValues)
		before := uint64(0)
		for _, v := range values {
			now := math.Float64bits(v)
			dst = binary.BigEndian.AppendUint64(dst, now^before)
			before = now
		}
		return dst
	}
	dst = append(dst, byte(places))
	before := int64(0)
	for _, v := range values {
		now, _ := decimal(v, power)
		dst = binary.AppendVarint(dst, now-before)
		before = now
	}
	return dst
}

// blockReader reads a block; after the first fault everything is zero.
type blockReader struct {
	data []byte
	bad  bool
}

func (r *blockReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *blockReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *blockReader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

// count reads a number of things of at least one byte each.
func (r *blockReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return 0
	}
	return int(n)
}

func (r *blockReader) section() *blockReader {
	return &blockReader{data: r.take(r.uvarint()), bad: r.bad}
}

// decodeLogs reads one whole block.
func decodeLogs(data []byte) ([]hearth.LogEntry, error) {
	r := &blockReader{data: data}
	version := r.take(1)
	if len(version) == 0 || version[0] != blockVersion && version[0] != typedVersion {
		return nil, damaged("a block of logs of an unknown version")
	}
	n := r.count()
	if n == 0 || n > archive.MaxPart {
		return nil, damaged("a block of %d logs", n)
	}
	events := make([]string, r.count())
	for i := range events {
		events[i] = string(r.take(r.uvarint()))
		r.bad = r.bad || !hearth.ValidEvent(events[i])
	}
	series := make([]logSeries, r.count())
	device := int64(0)
	for i := range series {
		device += r.varint()
		event := r.uvarint()
		if event >= uint64(len(events)) || device <= 0 {
			return nil, damaged("a series of logs")
		}
		series[i] = logSeries{device: device, event: events[event]}
		if version[0] == typedVersion && !r.readKind(&series[i]) {
			return nil, damaged("the kind of a series of logs")
		}
	}
	entries := make([]hearth.LogEntry, n)
	lines, ok := r.readSeries(entries, series)
	if !ok || !r.readTimes(entries) || !r.readNumbers(entries) || !r.readValues(entries, series, lines) || len(r.data) > 0 {
		return nil, damaged("a block of logs")
	}
	return entries, nil
}

// readKind reads the kind of a series.
func (r *blockReader) readKind(s *logSeries) bool {
	kind := r.take(1)
	if len(kind) == 0 || kind[0] > byte(hearth.TextKind) {
		return false
	}
	if s.kind = hearth.ValueKind(kind[0]); s.kind == hearth.TextKind {
		s.text = string(r.take(r.uvarint()))
		return s.text != ""
	}
	return true
}

// readSeries returns for each series its entries.
func (r *blockReader) readSeries(entries []hearth.LogEntry, series []logSeries) (lines [][]uint32, ok bool) {
	s := r.section()
	follows := make([]uint32, len(series)+1)
	lines = make([][]uint32, len(series))
	before := uint32(0)
	for i := range entries {
		now := uint64(follows[before])
		if code := s.uvarint(); code > 0 {
			now = code
		}
		if now == 0 || now > uint64(len(series)) {
			return nil, false
		}
		follows[before] = uint32(now)
		before = uint32(now)
		entries[i].Device, entries[i].Event = series[now-1].device, series[now-1].event
		lines[now-1] = append(lines[now-1], uint32(i))
	}
	return lines, !s.bad && len(s.data) == 0
}

func (r *blockReader) readTimes(entries []hearth.LogEntry) bool {
	s := r.section()
	unit := int64(s.uvarint())
	at := s.varint()
	for i := range entries {
		if i > 0 {
			step := s.varint()
			if high, low := bits.Mul64(uint64(max(step, -step)), uint64(unit)); high != 0 || low > math.MaxInt64 {
				return false
			}
			at += step * unit
		}
		entries[i].At = at
	}
	return !s.bad && len(s.data) == 0 && unit > 0
}

func (r *blockReader) readNumbers(entries []hearth.LogEntry) bool {
	s := r.section()
	before := uint64(0)
	for i := range entries {
		before += uint64(s.varint()) + 1
		entries[i].Seq = before
	}
	return !s.bad && len(s.data) == 0
}

func (r *blockReader) readValues(entries []hearth.LogEntry, series []logSeries, lines [][]uint32) bool {
	for at, line := range lines {
		s := &series[at]
		form := r.take(1)
		switch {
		case len(form) == 0:
			return false
		case form[0] == rawValues:
			before := uint64(0)
			for _, i := range line {
				b := r.take(8)
				if b == nil {
					return false
				}
				before ^= binary.BigEndian.Uint64(b)
				entries[i].Value = hearth.ValueOf(s.kind, math.Float64frombits(before), s.text)
			}
		case form[0] <= maxPlaces:
			power := math.Pow10(int(form[0]))
			whole := int64(0)
			for _, i := range line {
				whole += r.varint()
				entries[i].Value = hearth.ValueOf(s.kind, float64(whole)/power, s.text)
			}
		default:
			return false
		}
	}
	for i := range entries {
		if v := entries[i].Value.Number(); math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return !r.bad
}
