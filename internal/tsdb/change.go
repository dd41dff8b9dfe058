package tsdb

import (
	"encoding/binary"
	"math"

	"hearth"
)

// change says how the values of some logs of one device and event changed, in their order. The zero change is of no logs.
type change struct {
	// some reports whether there are logs; unknown that only they say how they changed.
	some, unknown bool
	first, last   hearth.Value
	// numbers reports whether there is a number or a boolean; head and tail are the first and the last of them, increase is the sum of the
	// rises between them.
	numbers              bool
	head, tail, increase float64
}

// add counts the next log.
func (c *change) add(v hearth.Value) {
	if !c.some {
		c.first = v
	}
	c.some, c.last = true, v
	if v.Kind() == hearth.TextKind {
		return
	}
	if n := v.Number(); c.numbers {
		c.increase += hearth.Rise(c.tail, n)
		c.tail = n
	} else {
		c.numbers, c.head, c.tail = true, n, n
	}
}

// join counts the logs of d, which follow.
func (c *change) join(d *change) {
	switch {
	case !d.some:
		return
	case !c.some:
		*c = *d
		return
	}
	c.unknown = c.unknown || d.unknown
	c.last = d.last
	switch {
	case !d.numbers:
	case !c.numbers:
		c.numbers, c.head, c.tail, c.increase = true, d.head, d.tail, d.increase
	default:
		c.increase += hearth.Rise(c.tail, d.head) + d.increase
		c.tail = d.tail
	}
}

// numberChange returns the change of numbers from the first to the last.
func numberChange(first, last, increase float64) change {
	return change{
		some: true, first: hearth.Number(first), last: hearth.Number(last), numbers: true, head: first, tail: last, increase: increase,
	}
}

// changeOf returns the change that follows from a sum, as far as one does: of one number, or of equal ones.
func changeOf(s *hearth.Stats) change {
	if s.Texts == 0 && s.Min == s.Max {
		return numberChange(s.Min, s.Min, 0)
	}
	return change{some: true, unknown: true}
}

// The forms of a change, in the low four bits of its header, whose other bits say how many sums that it follows from were left out before
// it: rising numbers; one that is unknown; any values; two numbers that fall; or, from changeScale on, decimals of a scale.
const (
	changeRising = iota // leaves the header as it is
	changeUnknown
	changeRaw
	changeFall
	changeScale
)

// appendChanges appends the changes of logs with those sums, as a section: those that do not follow from their sums.
func appendChanges(dst []byte, stats []hearth.Stats, changes []change) []byte {
	var out []byte
	gap := uint64(0)
	for i := range changes {
		s, c := &stats[i], &changes[i]
		if changeOf(s) == *c {
			gap++
			continue
		}
		out = appendChange(out, gap<<4, s, c)
		gap = 0
	}
	dst = binary.AppendUvarint(dst, uint64(len(out))+1)
	return append(dst, out...)
}

func appendChange(dst []byte, gap uint64, s *hearth.Stats, c *change) []byte {
	numbers := s.Texts == 0 && c.first == hearth.Number(c.head) && c.last == hearth.Number(c.tail)
	switch {
	case c.unknown:
		return binary.AppendUvarint(dst, gap|changeUnknown)
	case numbers && c.head == s.Min && c.tail == s.Max && math.Abs(c.increase-(s.Max-s.Min)) <= addingError(s):
		return binary.AppendUvarint(dst, gap+changeRising)
	case numbers && s.Count == 2 && c.head == s.Max && c.tail == s.Min && c.increase == s.Min:
		return binary.AppendUvarint(dst, gap|changeFall)
	}
	if numbers {
		if out, ok := appendDecimals(dst, gap, s, c); ok {
			return out
		}
	}
	dst = binary.AppendUvarint(dst, gap|changeRaw)
	dst = appendValue(appendValue(dst, c.first), c.last)
	if !c.numbers {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	for _, v := range []float64{c.head, c.tail, c.increase} {
		dst = appendNumber(dst, v)
	}
	return dst
}

// addingError returns what adding the values of a sum may have lost.
func addingError(s *hearth.Stats) float64 {
	return float64(s.Count) * math.Sqrt(float64(s.Count)) * max(math.Abs(s.Min), math.Abs(s.Max)) * 0x1p-52
}

// appendDecimals appends a change of decimals: where the first and the last lie between the least and the largest, and the increase.
func appendDecimals(dst []byte, gap uint64, s *hearth.Stats, c *change) ([]byte, bool) {
	scale := 0
	for _, v := range [...]float64{s.Min, s.Max, c.head, c.tail} {
		fits, ok := scaleOf(v, scale)
		if !ok {
			return dst, false
		}
		scale = fits
	}
	for ; scale <= maxScale; scale++ {
		low, fits := mantissa(s.Min, scale)
		high, fitsToo := mantissa(s.Max, scale)
		first, fits3 := mantissa(c.head, scale)
		last, fits4 := mantissa(c.tail, scale)
		if !fits || !fitsToo || !fits3 || !fits4 || high-low >= 1<<30 {
			return dst, false
		}
		x := c.increase * pow10[scale]
		if !(math.Abs(x) < maxMantissa) {
			return dst, false
		}
		m := int64(math.RoundToEven(x))
		lost := addingError(s)
		if math.Abs(decimal(m, scale)-c.increase) > lost || lost*pow10[scale] > 0.01 {
			continue
		}
		dst = binary.AppendUvarint(dst, gap|uint64(changeScale+scale))
		dst = binary.AppendUvarint(dst, uint64((first-low)*(high-low+1)+last-low))
		return appendVarint(dst, m), true
	}
	return dst, false
}

// changes fills in the changes of an hour from what appendChanges wrote; stats are the sums of the hour's logs, of those lines that are
// wanted alone: at says where those of each stored line are, or -1.
func (r *reader) changes(at []int32, stats []hearth.Stats, changes []change) {
	for _, i := range at {
		if i >= 0 {
			changes[i] = changeOf(&stats[i])
		}
	}
	for line := uint64(0); r.left() > 0; line++ {
		header := r.uvarint()
		line += header >> 4
		if r.bad || line >= uint64(len(at)) {
			r.fail()
			return
		}
		if i := at[line]; i >= 0 {
			changes[i] = r.change(header&15, &stats[i])
		} else {
			r.skipChange(header & 15)
		}
	}
}

func (r *reader) change(form uint64, s *hearth.Stats) change {
	switch {
	case form == changeRising:
		return numberChange(s.Min, s.Max, s.Max-s.Min)
	case form == changeUnknown:
		return change{some: true, unknown: true}
	case form == changeFall:
		return numberChange(s.Max, s.Min, s.Min)
	case form == changeRaw:
		c := change{some: true, first: r.value(), last: r.value()}
		if c.numbers = r.bounded(1) == 1; c.numbers {
			c.head, c.tail, c.increase = r.number(), r.number(), r.number()
		}
		return c
	case form <= changeScale+maxScale:
		scale := int(form - changeScale)
		low, ok := mantissa(s.Min, scale)
		high, okToo := mantissa(s.Max, scale)
		places, increase := r.uvarint(), r.varint()
		width := uint64(high-low) + 1
		if !ok || !okToo || width > 1<<30 || places >= width*width {
			r.fail()
			return change{}
		}
		return numberChange(decimal(low+int64(places/width), scale), decimal(low+int64(places%width), scale), decimal(increase, scale))
	}
	r.fail()
	return change{}
}

func (r *reader) skipChange(form uint64) {
	switch {
	case form == changeRaw:
		r.value()
		r.value()
		if r.bounded(1) == 1 {
			r.number()
			r.number()
			r.number()
		}
	case form >= changeScale && form <= changeScale+maxScale:
		r.skipUvarint()
		r.skipUvarint()
	case form >= changeScale:
		r.fail()
	}
}

// appendValue appends a value with its type.
func appendValue(dst []byte, v hearth.Value) []byte {
	dst = append(dst, byte(v.Kind()))
	if v.Kind() == hearth.TextKind {
		dst = binary.AppendUvarint(dst, uint64(len(v.Text())))
		return append(dst, v.Text()...)
	}
	return appendNumber(dst, v.Number())
}

// value reads what appendValue wrote.
func (r *reader) value() hearth.Value {
	kind := hearth.ValueKind(r.bounded(int(hearth.TextKind)))
	if kind != hearth.TextKind {
		return hearth.ValueOf(kind, r.number(), "")
	}
	text := r.section()
	if len(text.data) == 0 {
		r.fail()
		return hearth.Value{}
	}
	return hearth.Text(string(text.data))
}
