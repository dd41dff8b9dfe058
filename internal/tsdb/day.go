package tsdb

import (
	"encoding/binary"
	"math/bits"

	"hearth"
)

// Day is one day of a few devices: a line for each event of each device.
type Day struct {
	// Lines are sorted by device and event.
	Lines []DayLine
	// Stats are the sums by hour of all lines, one after the other.
	Stats []hearth.Stats

	stored []storedLine
}

// storedLine is a line as it is stored: its hours, and its place among the wanted lines or -1.
type storedLine struct {
	hours uint32
	place int32
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
	// Sketch is of all values of the day; empty if it was not asked for.
	Sketch hearth.Sketch
}

// Size returns the number of the line's hours.
func (l *DayLine) Size() int { return bits.OnesCount32(l.Hours) }

// Reset empties the day and keeps its memory.
func (d *Day) Reset() {
	clear(d.Lines)
	d.Lines, d.Stats, d.stored = d.Lines[:0], d.Stats[:0], d.stored[:0]
}

// StatsOf returns the sums of a line, by hour.
func (d *Day) StatsOf(line *DayLine) []hearth.Stats {
	return d.Stats[line.First : line.First+line.Size()]
}

// AppendDay appends the day; every line has an hour. Sums are stored hour by hour, each hour with its length, so that a
// question about a part of the day goes past the rest.
func AppendDay(dst []byte, day *Day) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(day.Lines)))
	var device, event int64
	var all uint32
	for i := range day.Lines {
		line := &day.Lines[i]
		dst = appendKey(dst, device, event, line.Device, line.Event)
		device, event = line.Device, line.Event
		dst = binary.AppendUvarint(dst, uint64(line.Hours))
		all |= line.Hours
	}
	var hour []byte
	for ; all != 0; all &= all - 1 {
		bit := all & -all
		hour = hour[:0]
		for i := range day.Lines {
			if line := &day.Lines[i]; line.Hours&bit != 0 {
				hour = appendStats(hour, day.Stats[line.place(bit)])
			}
		}
		dst = appendSection(dst, hour)
	}
	for i := range day.Lines {
		dst = appendSketch(dst, &day.Lines[i].Sketch)
	}
	return dst
}

// place returns where in Day.Stats the line's sum of an hour is.
func (l *DayLine) place(bit uint32) int { return l.First + bits.OnesCount32(l.Hours&(bit-1)) }

// DayParts says what of a day to decode.
type DayParts struct {
	// Hours has a bit for each wanted hour; lines keep those of theirs alone, and may be left without any.
	Hours uint32
	// Keep, if not nil, says which lines are wanted.
	Keep func(device, event int64) bool
	// Sketches reports whether sketches are wanted.
	Sketches bool
}

// WholeDay wants all hours.
const WholeDay = 1<<24 - 1

// DecodeDay puts the wanted parts of the day in data into day, whose memory is used again (sketches aside).
func DecodeDay(day *Day, data []byte, parts DayParts) error {
	day.Reset()
	r := reader{data: data}
	all := day.readLines(&r, parts)
	for ; all != 0 && !r.bad; all &= all - 1 {
		bit := all & -all
		hour := r.section()
		if bit&parts.Hours == 0 {
			continue
		}
		for _, s := range day.stored {
			switch {
			case s.hours&bit == 0:
			case s.place < 0:
				hour.skipStats()
			default:
				day.Stats[day.Lines[s.place].place(bit)] = hour.stats()
			}
		}
		if hour.end() != nil {
			return ErrCorrupt
		}
	}
	if r.bad {
		return ErrCorrupt
	}
	if !parts.Sketches {
		return nil
	}
	for _, s := range day.stored {
		if s.place >= 0 {
			day.Lines[s.place].Sketch = r.sketch()
		} else {
			r.skipSketch()
		}
	}
	return r.end()
}

// readLines reads the list of lines and makes room for their sums; it returns all stored hours.
func (d *Day) readLines(r *reader, parts DayParts) (all uint32) {
	d.stored = d.stored[:0]
	var line DayLine
	size := 0
	for range r.count(2) {
		r.key(&line.Device, &line.Event)
		hours := r.uvarint()
		if r.bad || hours == 0 || hours > WholeDay {
			r.fail()
			return 0
		}
		all |= uint32(hours)
		s := storedLine{hours: uint32(hours), place: -1}
		if parts.Keep == nil || parts.Keep(line.Device, line.Event) {
			s.place = int32(len(d.Lines))
			line.All, line.Hours, line.First = s.hours, s.hours&parts.Hours, size
			size += line.Size()
			d.Lines = append(d.Lines, line)
		}
		d.stored = append(d.stored, s)
	}
	if cap(d.Stats) < size {
		d.Stats = make([]hearth.Stats, size)
	}
	d.Stats = d.Stats[:size]
	return all
}

// Sketches are sketches by event.
type Sketches struct {
	// Events are sorted; Sketches are in their order.
	Events   []int64
	Sketches []hearth.Sketch
}

// Of returns the sketch of an event, to be changed in place; it is added if it is not there.
func (s *Sketches) Of(event int64) *hearth.Sketch {
	at := len(s.Events)
	for at > 0 && s.Events[at-1] >= event {
		at--
	}
	if at == len(s.Events) || s.Events[at] != event {
		s.Events = append(s.Events, 0)
		copy(s.Events[at+1:], s.Events[at:])
		s.Events[at] = event
		s.Sketches = append(s.Sketches, hearth.Sketch{})
		copy(s.Sketches[at+1:], s.Sketches[at:])
		s.Sketches[at] = hearth.Sketch{}
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
		sketch := r.sketch()
		if r.bad || event < 0 {
			return Sketches{}, ErrCorrupt
		}
		s.Events = append(s.Events, event)
		s.Sketches = append(s.Sketches, sketch)
	}
	return s, r.end()
}

func appendSketch(dst []byte, sketch *hearth.Sketch) []byte {
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

func (r *reader) sketch() (sketch hearth.Sketch) {
	n := r.count(1)
	if n == 0 {
		return sketch
	}
	sketch.Bins = make([]hearth.SketchBin, n)
	index := int64(0)
	for i := range sketch.Bins {
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
			return hearth.Sketch{}
		}
		sketch.Bins[i] = hearth.SketchBin{Index: int32(index), Count: count}
	}
	return sketch
}
