package codec

import (
	"encoding/binary"
	"math"
)

// maxScale is the largest number of decimal places that is tried: powers of ten and mantissas below 2^53 are exact, so
// that mantissa / 10^scale rounds once, like a parser of the decimal text does.
const (
	maxScale    = 9
	maxMantissa = 1 << 53
)

var pow10 = [maxScale + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// mantissa returns m with m / 10^scale being v, bit for bit; ok is false if there is none.
func mantissa(v float64, scale int) (m int64, ok bool) {
	x := v * pow10[scale]
	if !(x > -maxMantissa && x < maxMantissa) {
		return 0, false
	}
	m = int64(math.RoundToEven(x))
	return m, math.Float64bits(float64(m)/pow10[scale]) == math.Float64bits(v)
}

// scaleOf returns the smallest scale of at least from at which v is a decimal; ok is false if there is none.
func scaleOf(v float64, from int) (scale int, ok bool) {
	for scale = from; scale <= maxScale; scale++ {
		if _, ok := mantissa(v, scale); ok {
			return scale, true
		}
	}
	return 0, false
}

// decimal returns m / 10^scale.
func decimal(m int64, scale int) float64 { return float64(m) / pow10[scale] }

// rawNumber marks, in the low bits of a number, that eight bytes follow.
const rawNumber = 15

// appendNumber appends any float64: a short decimal in few bytes.
func appendNumber(dst []byte, v float64) []byte {
	if scale, ok := scaleOf(v, 0); ok {
		if m, _ := mantissa(v, scale); zigzag(m) < 1<<60 {
			return binary.AppendUvarint(dst, zigzag(m)<<4|uint64(scale))
		}
	}
	dst = append(dst, rawNumber)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// number reads what appendNumber wrote.
func (r *reader) number() float64 {
	u := r.uvarint()
	switch scale := int(u & 15); {
	case scale == rawNumber:
		v := math.Float64frombits(r.fixed64())
		if !finite(v) {
			r.fail()
			return 0
		}
		return v
	case scale <= maxScale:
		return decimal(unzigzag(u>>4), scale)
	}
	r.fail()
	return 0
}
