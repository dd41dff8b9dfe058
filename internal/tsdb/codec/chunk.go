package codec

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"hearth"
)

// MaxChunk is the largest number of entries of one chunk.
const MaxChunk = 1 << 16

// Series names one line of values: an event of a device. Scope is the device's scope where a chunk holds more than one,
// and zero otherwise. All are non-negative.
type Series struct {
	Scope  int64
	Device int64
	Event  int64
	// Type is that of the line's values: booleans are a line of their own, and so is each string of an event.
	Type hearth.ValueType
}

// Compare orders by scope, device, event and type.
func (s Series) Compare(t Series) int { return s.compare(&t) }

func (s *Series) compare(t *Series) int {
	switch {
	case s.Scope != t.Scope:
		return cmp.Compare(s.Scope, t.Scope)
	case s.Device != t.Device:
		return cmp.Compare(s.Device, t.Device)
	case s.Event != t.Event:
		return cmp.Compare(s.Event, t.Event)
	case s.Type != t.Type:
		return cmp.Or(cmp.Compare(s.Type.Kind(), t.Type.Kind()), cmp.Compare(s.Type.Text(), t.Type.Text()))
	}
	return 0
}

// sameLine reports whether two series are of one device and event.
func (s *Series) sameLine(t *Series) bool {
	return s.Device == t.Device && s.Event == t.Event && s.Scope == t.Scope
}

// Value returns the value of an entry of the series.
func (s *Series) Value(e *Entry) hearth.Value {
	return s.Type.Of(e.Value)
}

// IsText reports whether the series is of one string.
func (s *Series) IsText() bool { return s.Type.Kind() == hearth.TextKind }

// Add counts the value of an entry of the series.
func (s *Series) Add(to *hearth.Stats, e *Entry) {
	if s.IsText() {
		to.AddText()
		return
	}
	to.Add(e.Value)
}

// Entry is one log of a chunk. Series is an index into the chunk's list.
type Entry struct {
	// At is Unix milliseconds.
	At     int64
	Seq    uint64
	Value  float64
	Series uint32
}

// Compare orders by time, then number.
func (e Entry) Compare(f Entry) int {
	return cmp.Or(cmp.Compare(e.At, f.At), cmp.Compare(e.Seq, f.Seq))
}

// Chunk is a run of logs in order of time and number.
type Chunk struct {
	Series  []Series
	Entries []Entry
}

// The layout, all numbers as varints unless they say otherwise:
//
//	version, number of entries, number of series
//	series, sorted: each its number of entries, with two bits that say whether it is the step that followed the event
//	before it last time, and whether its values have the form of the values before; what is not so follows
//	section of series indexes, in order of time: as runs of "what followed last time", or in packed bits
//	section of times: differences to the entry before, or to where the series is expected
//	section of numbers: runs of consecutive ones
//	the values, series by series: mantissas of decimals, or floats
//
// Version 2, of a chunk that has other values than numbers, has before the series for each of them, in a section, its kind and, for a
// string, its length and text.
const (
	chunkVersion = 1
	typedVersion = 2
)

// step is what leads from one series of the sorted list to the next.
type step struct{ device, event int64 }

// steps remembers, by the low bits of an event, the step that followed it last.
type steps [64]step

func (s *steps) after(event int64) *step { return &s[event&63] }

const (
	indexPredicted = 0
	indexPacked    = 1
	timePrevious   = 0
	timeExpected   = 1
	valueXor       = maxScale + 1
	valueRaw       = maxScale + 2
)

// timeUnits are the divisors that times are tried with.
var timeUnits = [...]int64{60_000, 1000, 1}

// Encoder encodes chunks and keeps its scratch memory between them. The zero Encoder is ready; it is for one goroutine.
type Encoder struct {
	counts  []uint32
	order   []uint32 // used series, sorted
	rank    []uint32 // index of series before → after
	offsets []uint32
	next    []uint32
	times   []expectation
	values  []float64
	modes   []byte // form of each used series' values
	lines   []byte
	scratch []byte
	other   []byte
}

// expectation is where the next entry of a series is expected.
type expectation struct {
	at, gap int64
	seen    bool
}

// grown returns a zeroed slice of n elements, in the memory of s if that is enough.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/2)
	}
	s = s[:n]
	clear(s)
	return s
}

// sized is grown for elements that are all written before they are read.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/2)
	}
	return s[:n]
}

// Encode appends the chunk of the entries, which are sorted by Compare, at most MaxChunk, and refer to distinct series
// (used or not).
func (e *Encoder) Encode(dst []byte, series []Series, entries []Entry) []byte {
	e.rankSeries(series, entries)
	typed := slices.ContainsFunc(e.order, func(i uint32) bool { return series[i].Type != hearth.ValueType{} })
	if typed {
		dst = append(dst, typedVersion)
	} else {
		dst = append(dst, chunkVersion)
	}
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	dst = binary.AppendUvarint(dst, uint64(len(e.order)))
	if typed {
		dst = appendSection(dst, e.kinds(series))
	}
	e.encodeLines(entries)
	dst = e.appendSeries(dst, series)
	if len(entries) == 0 {
		return dst
	}
	dst = appendSection(dst, e.indexes(entries))
	dst = appendSection(dst, e.timesOf(entries))
	dst = appendSection(dst, e.numbers(entries))
	return append(dst, e.lines...)
}

// kinds encodes the kinds of the used series.
func (e *Encoder) kinds(series []Series) []byte {
	out := e.scratch[:0]
	for _, i := range e.order {
		kind, text := series[i].Type.Kind(), series[i].Type.Text()
		out = append(out, byte(kind))
		if kind == hearth.TextKind {
			out = binary.AppendUvarint(out, uint64(len(text)))
			out = append(out, text...)
		}
	}
	e.scratch = out
	return out
}

// appendSeries appends the list of used series.
func (e *Encoder) appendSeries(dst []byte, series []Series) []byte {
	var expected steps
	var last Series
	mode := byte(0)
	for rank, i := range e.order {
		s := series[i]
		next := step{s.Device - last.Device, s.Event}
		u := uint64(e.counts[i]) << 2
		known := expected.after(last.Event)
		isKnown := s.Scope == last.Scope && *known == next
		sameMode := e.modes[rank] == mode
		if isKnown {
			u |= 1
		}
		if sameMode {
			u |= 2
		}
		dst = binary.AppendUvarint(dst, u)
		if !isKnown {
			dst = binary.AppendUvarint(dst, uint64(s.Scope-last.Scope))
			dst = appendVarint(dst, next.device)
			dst = binary.AppendUvarint(dst, uint64(s.Event))
			*known = next
		}
		if !sameMode {
			mode = e.modes[rank]
			dst = append(dst, mode)
		}
		last = s
	}
	return dst
}

func appendSection(dst, section []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(section)))
	return append(dst, section...)
}

// rankSeries counts entries by series and sorts the used ones.
func (e *Encoder) rankSeries(series []Series, entries []Entry) {
	e.counts = grown(e.counts, len(series))
	e.rank = grown(e.rank, len(series))
	for i := range entries {
		e.counts[entries[i].Series]++
	}
	e.order = e.order[:0]
	for i, n := range e.counts {
		if n > 0 {
			e.order = append(e.order, uint32(i))
		}
	}
	slices.SortFunc(e.order, func(a, b uint32) int { return series[a].compare(&series[b]) })
	for rank, i := range e.order {
		e.rank[i] = uint32(rank)
	}
}

// indexes encodes which series each entry is of, in whichever way is shorter.
func (e *Encoder) indexes(entries []Entry) []byte {
	width := bits.Len(uint(len(e.order) - 1))
	packedSize := 1 + (len(entries)*width+7)/8
	e.next = grown(e.next, len(e.order))
	for i := range e.next {
		e.next[i] = uint32((i + 1) % len(e.next))
	}
	out := append(e.scratch[:0], indexPredicted)
	previous, run := uint32(len(e.order)-1), uint64(0)
	for i := range entries {
		index := e.rank[entries[i].Series]
		if e.next[previous] == index {
			run++
		} else {
			out = binary.AppendUvarint(out, run)
			out = binary.AppendUvarint(out, uint64(index))
			e.next[previous] = index
			run = 0
			if len(out) > packedSize {
				break
			}
		}
		previous = index
	}
	if len(out) > packedSize {
		out = append(out[:0], indexPacked)
		var word uint64
		var fill int
		for i := range entries {
			word |= uint64(e.rank[entries[i].Series]) << fill
			for fill += width; fill >= 8; fill -= 8 {
				out = append(out, byte(word))
				word >>= 8
			}
		}
		if fill > 0 {
			out = append(out, byte(word))
		}
	}
	e.scratch = out
	return out
}

// timesOf encodes the times, in whichever way is shorter.
func (e *Encoder) timesOf(entries []Entry) []byte {
	unit := unitOf(entries)
	header := func(out []byte, mode byte) []byte {
		out = append(out, mode<<4|unit)
		return appendVarint(out, entries[0].At/timeUnits[unit])
	}
	divisor := timeUnits[unit]
	e.times = grown(e.times, len(e.order))
	out, other := header(e.scratch[:0], timePrevious), header(e.other[:0], timeExpected)
	previous := entries[0].At / divisor
	for i := range entries {
		at := entries[i].At / divisor
		gap := at - previous
		out = binary.AppendUvarint(out, uint64(gap))
		expected := &e.times[e.rank[entries[i].Series]]
		if expected.seen {
			other = appendVarint(other, at-expected.at-expected.gap)
			expected.gap = at - expected.at
		} else {
			other = binary.AppendUvarint(other, uint64(gap))
		}
		expected.at, expected.seen = at, true
		previous = at
	}
	e.scratch, e.other = out, other
	if len(other) < len(out) {
		return other
	}
	return out
}

// unitOf returns the index of the largest unit that divides all times.
func unitOf(entries []Entry) byte {
	unit := 0
	for i := range entries {
		for entries[i].At%timeUnits[unit] != 0 {
			unit++
		}
		if timeUnits[unit] == 1 {
			break
		}
	}
	return byte(unit)
}

// numbers encodes the sequence numbers.
func (e *Encoder) numbers(entries []Entry) []byte {
	out := binary.AppendUvarint(e.scratch[:0], entries[0].Seq)
	run := uint64(0)
	for i := 1; i < len(entries); i++ {
		step := int64(entries[i].Seq - entries[i-1].Seq)
		if step == 1 {
			run++
			continue
		}
		out = binary.AppendUvarint(out, run)
		out = appendVarint(out, step)
		run = 0
	}
	e.scratch = out
	return out
}

// encodeLines sorts the values by series and encodes each line by itself.
func (e *Encoder) encodeLines(entries []Entry) {
	e.offsets = grown(e.offsets, len(e.order))
	e.values = grown(e.values, len(entries))
	total := uint32(0)
	for rank, i := range e.order {
		e.offsets[rank] = total
		total += e.counts[i]
	}
	for i := range entries {
		at := &e.offsets[e.rank[entries[i].Series]]
		e.values[*at] = entries[i].Value
		*at++
	}
	e.lines, e.modes = e.lines[:0], e.modes[:0]
	start := uint32(0)
	for rank := range e.order {
		e.appendLine(e.values[start:e.offsets[rank]])
		start = e.offsets[rank]
	}
}

// appendLine encodes the values of one series.
func (e *Encoder) appendLine(values []float64) {
	out := e.lines
	if scale, ok := commonScale(values); ok {
		previous, zeros := int64(0), uint64(0)
		for _, v := range values {
			m := int64(math.RoundToEven(v * pow10[scale]))
			if m == previous {
				zeros++
				continue
			}
			if zeros > 0 {
				out = binary.AppendUvarint(out, (zeros-1)<<1|1)
				zeros = 0
			}
			out = binary.AppendUvarint(out, zigzag(m-previous)<<1)
			previous = m
		}
		if zeros > 0 {
			out = binary.AppendUvarint(out, (zeros-1)<<1|1)
		}
		e.lines, e.modes = out, append(e.modes, byte(scale))
		return
	}
	previous, mode := uint64(0), byte(valueXor)
	for _, v := range values {
		b := math.Float64bits(v)
		out = binary.AppendUvarint(out, bits.ReverseBytes64(b^previous))
		previous = b
	}
	if len(out)-len(e.lines) > 8*len(values) {
		out, mode = e.lines, valueRaw
		for _, v := range values {
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
		}
	}
	e.lines, e.modes = out, append(e.modes, mode)
}

// commonScale returns a scale at which all values are decimals.
func commonScale(values []float64) (int, bool) {
	scale := 0
	for i, v := range values {
		if _, ok := mantissa(v, scale); ok {
			continue
		}
		larger, ok := scaleOf(v, scale+1)
		if !ok {
			return 0, false
		}
		scale = larger
		for _, w := range values[:i] {
			if _, ok := mantissa(w, scale); !ok {
				return 0, false
			}
		}
	}
	return scale, true
}
