package codec

import (
	"encoding/binary"
	"math"

	"hearth"
)

// Change says how the values of some logs of one device and event changed, in their order. The zero change is of no logs.
type Change struct {
	// some reports whether there are logs; Unknown that only they say how they changed.
	some, Unknown bool
	First, Last   hearth.Value
	// Numbers reports whether there is a number or a boolean; head and tail are the first and the last of them, increase is the sum of the
	// rises between them.
	Numbers              bool
	Head, Tail, Increase float64
}

// Add counts the next log.
func (c *Change) Add(v hearth.Value) {
	if !c.some {
		c.First = v
	}
	c.some, c.Last = true, v
	if v.Kind() == hearth.TextKind {
		return
	}
	if n := v.Number(); c.Numbers {
		c.Increase += hearth.Rise(c.Tail, n)
		c.Tail = n
	} else {
		c.Numbers, c.Head, c.Tail = true, n, n
	}
}

// Join counts the logs of d, which follow.
func (c *Change) Join(d *Change) {
	switch {
	case !d.some:
		return
	case !c.some:
		*c = *d
		return
	}
	c.Unknown = c.Unknown || d.Unknown
	c.Last = d.Last
	switch {
	case !d.Numbers:
	case !c.Numbers:
		c.Numbers, c.Head, c.Tail, c.Increase = true, d.Head, d.Tail, d.Increase
	default:
		c.Increase += hearth.Rise(c.Tail, d.Head) + d.Increase
		c.Tail = d.Tail
	}
}

// numberChange returns the change of numbers from the first to the last.
func numberChange(first, last, increase float64) Change {
	return Change{
		some: true, First: hearth.Number(first), Last: hearth.Number(last), Numbers: true, Head: first, Tail: last, Increase: increase,
	}
}

// changeOf returns the change that follows from a sum, as far as one does: of one number, or of equal ones.
func changeOf(s *hearth.Stats) Change {
	if s.Texts == 0 && s.Min == s.Max {
		return numberChange(s.Min, s.Min, 0)
	}
	return Change{some: true, Unknown: true}
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
func appendChanges(dst []byte, stats []hearth.Stats, changes []Change) []byte {
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

func appendChange(dst []byte, gap uint64, s *hearth.Stats, c *Change) []byte {
	numbers := s.Texts == 0 && c.First == hearth.Number(c.Head) && c.Last == hearth.Number(c.Tail)
	switch {
	case c.Unknown:
		return binary.AppendUvarint(dst, gap|changeUnknown)
	case numbers && c.Head == s.Min && c.Tail == s.Max && math.Abs(c.Increase-(s.Max-s.Min)) <= addingError(s):
		return binary.AppendUvarint(dst, gap+changeRising)
	case numbers && s.Count == 2 && c.Head == s.Max && c.Tail == s.Min && c.Increase == s.Min:
		return binary.AppendUvarint(dst, gap|changeFall)
	}
	if numbers {
		if out, ok := appendDecimals(dst, gap, s, c); ok {
			return out
		}
	}
	dst = binary.AppendUvarint(dst, gap|changeRaw)
	dst = appendValue(appendValue(dst, c.First), c.Last)
	if !c.Numbers {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	for _, v := range []float64{c.Head, c.Tail, c.Increase} {
		dst = appendNumber(dst, v)
	}
	return dst
}

// addingError returns what adding the values of a sum may have lost.
func addingError(s *hearth.Stats) float64 {
	return float64(s.Count) * math.Sqrt(float64(s.Count)) * max(math.Abs(s.Min), math.Abs(s.Max)) * 0x1p-52
}

// appendDecimals appends a change of decimals: where the first and the last lie between the least and the largest, and the increase.
func appendDecimals(dst []byte, gap uint64, s *hearth.Stats, c *Change) ([]byte, bool) {
	scale := 0
	for _, v := range [...]float64{s.Min, s.Max, c.Head, c.Tail} {
		fits, ok := scaleOf(v, scale)
		if !ok {
			return dst, false
		}
		scale = fits
	}
	for ; scale <= maxScale; scale++ {
		low, fits := mantissa(s.Min, scale)
		high, fitsToo := mantissa(s.Max, scale)
		first, fits3 := mantissa(c.Head, scale)
		last, fits4 := mantissa(c.Tail, scale)
		if !fits || !fitsToo || !fits3 || !fits4 || high-low >= 1<<30 {
			return dst, false
		}
		x := c.Increase * pow10[scale]
		if !(math.Abs(x) < maxMantissa) {
			return dst, false
		}
		m := int64(math.RoundToEven(x))
		lost := addingError(s)
		if math.Abs(decimal(m, scale)-c.Increase) > lost || lost*pow10[scale] > 0.01 {
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
func (r *reader) changes(at []int32, stats []hearth.Stats, changes []Change) {
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

func (r *reader) change(form uint64, s *hearth.Stats) Change {
	switch {
	case form == changeRising:
		return numberChange(s.Min, s.Max, s.Max-s.Min)
	case form == changeUnknown:
		return Change{some: true, Unknown: true}
	case form == changeFall:
		return numberChange(s.Max, s.Min, s.Min)
	case form == changeRaw:
		c := Change{some: true, First: r.value(), Last: r.value()}
		if c.Numbers = r.bounded(1) == 1; c.Numbers {
			c.Head, c.Tail, c.Increase = r.number(), r.number(), r.number()
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
			return Change{}
		}
		return numberChange(decimal(low+int64(places/width), scale), decimal(low+int64(places%width), scale), decimal(increase, scale))
	}
	r.fail()
	return Change{}
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
