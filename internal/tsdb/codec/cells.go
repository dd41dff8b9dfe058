package codec

import (
	"encoding/binary"
	"math"

	"hearth"
)

// Cell is the sum of one event of one device; of all devices together where Device is 0.
type Cell struct {
	Device int64
	Event  int64
	hearth.Stats
}

// The forms of a sum, in the low four bits of its count: a scale up to maxScale, at which all its numbers are decimals;
// all values the same; three floats; or strings, of which the number follows, and then the sum of the other values, if there are any.
const (
	statsSame = maxScale + 1
	statsRaw  = maxScale + 2
	statsText = maxScale + 3
)

// appendStats appends a sum of at least one value. Count, Min and Max come back as they were. Sum comes back within the
// error of adding its values one by one: a sum of decimals is stored as the decimal that it would be without that error.
func appendStats(dst []byte, s hearth.Stats) []byte {
	if s.Texts > 0 {
		dst = binary.AppendUvarint(dst, uint64(s.Count)<<4|statsText)
		dst = binary.AppendUvarint(dst, uint64(s.Texts))
		if s.Count -= s.Texts; s.Count == 0 {
			return dst
		}
		s.Texts = 0
	}
	if s.Min == s.Max {
		dst = binary.AppendUvarint(dst, uint64(s.Count)<<4|statsSame)
		return appendNumber(dst, s.Min)
	}
	scale, ok := scaleOf(s.Min, 0)
	if ok {
		scale, ok = scaleOf(s.Max, scale)
	}
	for ; ok && scale <= maxScale; scale++ {
		low, fits := mantissa(s.Min, scale)
		high, fitsToo := mantissa(s.Max, scale)
		excess, near := sumExcess(s, low, scale)
		if fits && fitsToo && near {
			dst = binary.AppendUvarint(dst, uint64(s.Count)<<4|uint64(scale))
			dst = appendVarint(dst, low)
			dst = binary.AppendUvarint(dst, uint64(high-low))
			return binary.AppendUvarint(dst, excess)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(s.Count)<<4|statsRaw)
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.Sum))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.Min))
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(s.Max))
}

// sumExcess returns how much the sum's mantissa is above count times low; ok is false if the sum is no such decimal.
func sumExcess(s hearth.Stats, low int64, scale int) (excess uint64, ok bool) {
	x := s.Sum * pow10[scale]
	if !(math.Abs(x) < maxMantissa) || math.Abs(float64(low))*float64(s.Count) >= maxMantissa {
		return 0, false
	}
	m := int64(math.RoundToEven(x))
	// What adding may well have lost (rounding errors add up like a random walk; their worst case is larger); a decimal
	// within that, and far nearer than the next one, is the sum.
	lost := float64(s.Count) * math.Sqrt(float64(s.Count)) * max(math.Abs(s.Min), math.Abs(s.Max)) * 0x1p-52
	off := math.Abs(decimal(m, scale) - s.Sum)
	if off > lost || lost*pow10[scale] > 0.01 || m < low*s.Count {
		return 0, false
	}
	return uint64(m - low*s.Count), true
}

// stats reads what appendStats wrote.
func (r *reader) stats() (s hearth.Stats) {
	u := r.uvarint()
	s.Count = int64(u >> 4)
	switch form := int(u & 15); {
	case s.Count == 0:
		r.fail()
	case form <= maxScale:
		low, width, excess := r.varint(), r.uvarint(), r.uvarint()
		s.Min, s.Max = decimal(low, form), decimal(low+int64(width), form)
		s.Sum = decimal(low*s.Count+int64(excess), form)
	case form == statsSame:
		s.Min = r.number()
		s.Max = s.Min
		s.Sum = s.Min * float64(s.Count)
	case form == statsRaw:
		s.Sum = math.Float64frombits(r.fixed64())
		s.Min = math.Float64frombits(r.fixed64())
		s.Max = math.Float64frombits(r.fixed64())
		if !finite(s.Min) || !finite(s.Max) || !finite(s.Sum) {
			r.fail()
		}
	case form == statsText:
		count, texts := s.Count, int64(r.uvarint())
		if texts < 1 || texts > count {
			r.fail()
			return hearth.Stats{}
		}
		s.Count = 0
		if texts < count {
			if s = r.stats(); s.Count != count-texts || s.Texts > 0 {
				r.fail()
			}
		}
		s.Count, s.Texts = count, texts
	default:
		r.fail()
	}
	return s
}

// skipStats goes past a sum.
func (r *reader) skipStats() {
	u := r.uvarint()
	switch form := int(u & 15); {
	case form == statsText:
		if r.uvarint() < u>>4 {
			r.skipStats()
		}
	case form <= maxScale:
		r.skipUvarint()
		r.skipUvarint()
		r.skipUvarint()
	case form == statsSame:
		if r.uvarint()&15 == rawNumber {
			r.skip(8)
		}
	case form == statsRaw:
		r.skip(24)
	default:
		r.fail()
	}
}

// appendKey appends the step from one (device, event) to the next.
func appendKey(dst []byte, lastDevice, lastEvent, device, event int64) []byte {
	if event == lastEvent {
		return binary.AppendUvarint(dst, uint64(device-lastDevice)<<1|1)
	}
	dst = binary.AppendUvarint(dst, uint64(device-lastDevice)<<1)
	return binary.AppendUvarint(dst, uint64(event))
}

// key reads what appendKey wrote.
func (r *reader) key(device, event *int64) {
	u := r.uvarint()
	*device += int64(u >> 1)
	if u&1 == 0 {
		*event = int64(r.uvarint())
	}
	if *device < 0 || *event < 0 {
		r.fail()
	}
}

// AppendCells appends cells that are sorted by device and event, of a Count of at least 1 each.
func AppendCells(dst []byte, cells []Cell) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(cells)))
	var device, event int64
	for i := range cells {
		dst = appendKey(dst, device, event, cells[i].Device, cells[i].Event)
		device, event = cells[i].Device, cells[i].Event
		dst = appendStats(dst, cells[i].Stats)
	}
	return dst
}

// DecodeCells adds the cells in data to cells.
func DecodeCells(cells []Cell, data []byte) ([]Cell, error) {
	r := reader{data: data}
	n := r.count(3)
	var c Cell
	for range n {
		r.key(&c.Device, &c.Event)
		c.Stats = r.stats()
		if r.bad {
			return cells, ErrCorrupt
		}
		cells = append(cells, c)
	}
	return cells, r.end()
}

// EachCellKey calls fn with the device and the event of each of the cells in data.
func EachCellKey(data []byte, fn func(device, event int64)) error {
	r := reader{data: data}
	var device, event int64
	for range r.count(3) {
		r.key(&device, &event)
		r.skipStats()
		if r.bad {
			return ErrCorrupt
		}
		fn(device, event)
	}
	return r.end()
}
