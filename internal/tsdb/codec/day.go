package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"hearth"
)

// Day is one day of a few devices: a line for each event of each device.
type Day struct {
	// Lines are sorted by device and event.
	Lines []DayLine
	// Stats are the sums by hour of all lines, one after the other.
	Stats []hearth.Stats
	// Changes are in the order of Stats; empty if they were not asked for. starts, of a day that was summed up, are the times of the first
	// logs of the same hours.
	Changes []Change
	starts  []int64
	// bins are those of the lines' sketches, one after the other.
	bins []SketchBin

	doc dayDoc
}

// DayLine is one event of one device on one day.
type DayLine struct {
	Device int64
	Event  int64
	// Hours has a bit for each UTC hour that has logs; All has those that were not wanted as well, after decoding.
	Hours uint32
	All   uint32
	// First is where in Day.Stats the line's sums are: one for each set bit of Hours, from the lowest.
	First int
	// LastAt is the time of the last log, in milliseconds of the day, or unknownTime.
	LastAt int64
	// Sketch is of all values of the day; empty if it was not asked for.
	Sketch Sketch
}

// Size returns the number of the line's hours.
func (l *DayLine) Size() int { return bits.OnesCount32(l.Hours) }

// Place returns where in Day.Stats the line's sum of an hour is.
func (l *DayLine) Place(bit uint32) int { return l.First + bits.OnesCount32(l.Hours&(bit-1)) }

// Reset empties the day and keeps its memory.
func (d *Day) Reset() {
	clear(d.Lines)
	d.Lines, d.Stats, d.Changes, d.starts, d.bins = d.Lines[:0], d.Stats[:0], d.Changes[:0], d.starts[:0], d.bins[:0]
}

// StatsOf returns the sums of a line, by hour.
func (d *Day) StatsOf(line *DayLine) []hearth.Stats {
	return d.Stats[line.First : line.First+line.Size()]
}

// ChangesOf returns the changes of a line, by hour.
func (d *Day) ChangesOf(line *DayLine) []Change {
	return d.Changes[line.First : line.First+line.Size()]
}

// The layout, all numbers as varints:
//
//	0 and the version
//	the lines, sorted: each its step from the line before, its hours, and when in the day its last log was
//	the sums of each hour, as a section, so that a question about a part of the day goes past the rest
//	the changes of each hour
//	the sketch of each line
//
// The first version had no header, no times and no changes; its first number is that of the lines, which is not 0.
const dayVersion = 2

// UnknownTime is the lastAt of a line of the first version.
const UnknownTime = math.MinInt64

// dayDoc is a stored day, of which nothing but the list of lines is decoded.
type dayDoc struct {
	lines []storedLine
	all   uint32
	// hours and changes are the sections of the set bits of all, by bit.
	hours, changes [24]reader
	sketches       reader
	// at is scratch memory: where the sums of an hour are.
	at []int32
}

// storedLine is a line as it is stored.
type storedLine struct {
	device, event int64
	hours         uint32
	// lastAt is in milliseconds of the day.
	lastAt int64
	// place is the line's among the wanted ones, or -1.
	place int32
}

// read parts a document; its memory is used again, and it refers to data.
func (d *dayDoc) read(data []byte) error {
	d.lines, d.all = d.lines[:0], 0
	r := reader{data: data}
	first := len(data) < 2 || data[0] != 0
	if !first {
		r.at = 1
		if r.uvarint() != dayVersion {
			return ErrCorrupt
		}
	}
	line := storedLine{place: -1}
	for range r.count(2) {
		r.key(&line.device, &line.event)
		hours := r.uvarint()
		if line.lastAt = UnknownTime; !first {
			if u := r.bounded(int(DayMillis)); u > 0 {
				line.lastAt = int64(u) - 1
			}
		}
		if r.bad || hours == 0 || hours > WholeDay {
			return ErrCorrupt
		}
		line.hours = uint32(hours)
		d.all |= line.hours
		d.lines = append(d.lines, line)
	}
	for all := d.all; all != 0; all &= all - 1 {
		d.hours[bits.TrailingZeros32(all)] = r.section()
	}
	for all := d.all; all != 0; all &= all - 1 {
		section := reader{}
		if !first {
			section = r.changeSection()
		}
		d.changes[bits.TrailingZeros32(all)] = section
	}
	if r.bad {
		return ErrCorrupt
	}
	d.sketches = reader{data: data[r.at:]}
	return nil
}

// changeSection reads a section of changes, whose length is one more, because 0 says that there is none.
func (r *reader) changeSection() reader {
	n := r.uvarint()
	if n > uint64(r.left())+1 {
		r.fail()
		return reader{bad: true}
	}
	n -= min(n, 1)
	r.at += int(n)
	return reader{data: r.data[r.at-int(n) : r.at]}
}

// AppendDay appends the day, with its changes; every line has an hour.
func AppendDay(dst []byte, day *Day) []byte {
	dst = append(dst, 0, dayVersion)
	dst = binary.AppendUvarint(dst, uint64(len(day.Lines)))
	var last storedLine
	var all uint32
	for i := range day.Lines {
		line := &day.Lines[i]
		dst = appendLine(dst, &last, storedLine{device: line.Device, event: line.Event, hours: line.Hours, lastAt: line.LastAt})
		all |= line.Hours
	}
	var h hourParts
	for hours := all; hours != 0; hours &= hours - 1 {
		h.take(day, hours&-hours)
		dst = h.appendStats(dst)
	}
	for hours := all; hours != 0; hours &= hours - 1 {
		h.take(day, hours&-hours)
		dst = appendChanges(dst, h.stats, h.changes)
	}
	for i := range day.Lines {
		dst = appendSketch(dst, &day.Lines[i].Sketch)
	}
	return dst
}

func appendLine(dst []byte, last *storedLine, line storedLine) []byte {
	dst = appendKey(dst, last.device, last.event, line.device, line.event)
	dst = binary.AppendUvarint(dst, uint64(line.hours))
	*last = line
	if line.lastAt == UnknownTime {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(line.lastAt)+1)
}

// hourParts are the sums and changes of one hour, of those lines that have it.
type hourParts struct {
	stats   []hearth.Stats
	changes []Change
	scratch []byte
}

func (h *hourParts) take(day *Day, bit uint32) {
	h.stats, h.changes = h.stats[:0], h.changes[:0]
	for i := range day.Lines {
		if line := &day.Lines[i]; line.Hours&bit != 0 {
			at := line.Place(bit)
			h.stats, h.changes = append(h.stats, day.Stats[at]), append(h.changes, day.Changes[at])
		}
	}
}

// appendStats appends the sums as a section.
func (h *hourParts) appendStats(dst []byte) []byte {
	h.scratch = h.scratch[:0]
	for i := range h.stats {
		h.scratch = appendStats(h.scratch, h.stats[i])
	}
	return appendSection(dst, h.scratch)
}

// DayParts says what of a day to decode.
type DayParts struct {
	// Hours has a bit for each wanted hour; lines keep those of theirs alone, and may be left without any.
	Hours uint32
	// Keep, if not nil, says which lines are wanted.
	Keep func(device, event int64) bool
	// Sketches reports whether sketches are wanted.
	Sketches bool
	// Changes reports whether changes are wanted.
	Changes bool
}

// WholeDay wants all hours.
const WholeDay = 1<<24 - 1

// DecodeDay puts the wanted parts of the day in data into day, whose memory is used again.
func DecodeDay(day *Day, data []byte, parts DayParts) error {
	day.Reset()
	doc := &day.doc
	if err := doc.read(data); err != nil {
		return err
	}
	size := 0
	for i := range doc.lines {
		s := &doc.lines[i]
		if parts.Keep != nil && !parts.Keep(s.device, s.event) {
			continue
		}
		s.place = int32(len(day.Lines))
		line := DayLine{Device: s.device, Event: s.event, All: s.hours, Hours: s.hours & parts.Hours, First: size, LastAt: s.lastAt}
		size += line.Size()
		day.Lines = append(day.Lines, line)
	}
	day.Stats = sized(day.Stats, size)
	if parts.Changes {
		day.Changes = sized(day.Changes, size)
	}
	at := doc.at
	for all := doc.all & parts.Hours; all != 0; all &= all - 1 {
		bit := all & -all
		hour := doc.hours[bits.TrailingZeros32(bit)]
		at = at[:0]
		for i := range doc.lines {
			s := &doc.lines[i]
			switch {
			case s.hours&bit == 0:
				continue
			case s.place < 0:
				hour.skipStats()
				at = append(at, -1)
			default:
				place := day.Lines[s.place].Place(bit)
				day.Stats[place] = hour.stats()
				at = append(at, int32(place))
			}
		}
		if hour.end() != nil {
			return ErrCorrupt
		}
		if parts.Changes {
			r := doc.changes[bits.TrailingZeros32(bit)]
			if r.changes(at, day.Stats, day.Changes); r.bad {
				return ErrCorrupt
			}
		}
	}
	doc.at = at
	if !parts.Sketches {
		return nil
	}
	r := doc.sketches
	for i := range doc.lines {
		if at := doc.lines[i].place; at >= 0 {
			first := len(day.bins)
			day.bins = r.sketch(day.bins)
			day.Lines[at].Sketch.Bins = day.bins[first:len(day.bins):len(day.bins)]
		} else {
			r.skipSketch()
		}
	}
	return r.end()
}

// Sketches are sketches by event.
type Sketches struct {
	// Events are sorted; Sketches are in their order.
	Events   []int64
	Sketches []Sketch
}

// Of returns the sketch of an event, to be changed in place; it is added if it is not there.
func (s *Sketches) Of(event int64) *Sketch {
	at := len(s.Events)
	for at > 0 && s.Events[at-1] >= event {
		at--
	}
	if at == len(s.Events) || s.Events[at] != event {
		s.Events = append(s.Events, 0)
		copy(s.Events[at+1:], s.Events[at:])
		s.Events[at] = event
		s.Sketches = append(s.Sketches, Sketch{})
		copy(s.Sketches[at+1:], s.Sketches[at:])
		s.Sketches[at] = Sketch{}
	}
	return &s.Sketches[at]
}

// Merge adds all of other.
func (s *Sketches) Merge(other *Sketches) {
	for i, event := range other.Events {
		s.Of(event).Merge(&other.Sketches[i], 1)
	}
}

// AppendSketches appends the sketches.
func AppendSketches(dst []byte, s *Sketches) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.Events)))
	var last int64
	for i, event := range s.Events {
		dst = binary.AppendUvarint(dst, uint64(event-last))
		last = event
		dst = appendSketch(dst, &s.Sketches[i])
	}
	return dst
}

// DecodeSketches returns what AppendSketches wrote.
func DecodeSketches(data []byte) (s Sketches, err error) {
	r := reader{data: data}
	n := r.count(2)
	var event int64
	for range n {
		event += int64(r.uvarint())
		bins := r.sketch(nil)
		if r.bad || event < 0 {
			return Sketches{}, ErrCorrupt
		}
		s.Events = append(s.Events, event)
		s.Sketches = append(s.Sketches, Sketch{Bins: bins})
	}
	return s, r.end()
}

func appendSketch(dst []byte, sketch *Sketch) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(sketch.Bins)))
	last := int64(0)
	for i, bin := range sketch.Bins {
		step := int64(bin.Index) - last
		last = int64(bin.Index)
		u := uint64(step)
		if i == 0 {
			u = zigzag(step)
		}
		if bin.Count == 1 {
			dst = binary.AppendUvarint(dst, u<<1|1)
			continue
		}
		dst = binary.AppendUvarint(dst, u<<1)
		dst = binary.AppendUvarint(dst, uint64(bin.Count))
	}
	return dst
}

// skipSketch goes past a sketch.
func (r *reader) skipSketch() {
	for range r.count(1) {
		if r.uvarint()&1 == 0 {
			r.skipUvarint()
		}
	}
}

// sketch appends the bins of a sketch.
func (r *reader) sketch(bins []SketchBin) []SketchBin {
	n := r.count(1)
	bins = slices.Grow(bins, n)
	index := int64(0)
	for i := range n {
		u := r.uvarint()
		step := int64(u >> 1)
		if i == 0 {
			step = unzigzag(u >> 1)
		}
		count := int64(1)
		if u&1 == 0 {
			count = int64(r.uvarint())
		}
		index += step
		if r.bad || index < -1<<20 || index > 1<<20 || count < 1 || i > 0 && step < 1 {
			r.fail()
			break
		}
		bins = append(bins, SketchBin{Index: int32(index), Count: count})
	}
	return bins
}
