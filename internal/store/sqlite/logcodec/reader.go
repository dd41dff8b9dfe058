package logcodec

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrCorrupt is the error of bytes that no encoder of this package wrote.
var ErrCorrupt = errors.New("logcodec: corrupt data")

// reader takes values off the front of bytes. The first value that is not there makes it bad for good; it then gives
// zeros, so that callers check once, before they trust what they read.
type reader struct {
	data []byte
	bad  bool
}

// fail makes the reader bad and empty.
func (r *reader) fail() {
	r.bad = true
	r.data = nil
}

// uvarint reads an unsigned number.
func (r *reader) uvarint() uint64 {
	if len(r.data) > 0 && r.data[0] < 0x80 {
		v := r.data[0]
		r.data = r.data[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// varint reads a signed number.
func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// fixed64 reads eight bytes.
func (r *reader) fixed64() uint64 {
	if len(r.data) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.data)
	r.data = r.data[8:]
	return v
}

// count reads a number of things of which each takes at least size bytes of what is left, so that hostile bytes cannot
// ask for more memory than they are worth.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.data)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// bounded reads a number of at most limit.
func (r *reader) bounded(limit int) int {
	n := r.uvarint()
	if n > uint64(limit) {
		r.fail()
		return 0
	}
	return int(n)
}

// section reads a length and takes that many bytes off as a reader of their own.
func (r *reader) section() reader {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.fail()
		return reader{bad: true}
	}
	part := reader{data: r.data[:n]}
	r.data = r.data[n:]
	return part
}

// end gives ErrCorrupt unless everything was read, and read well.
func (r *reader) end() error {
	if r.bad || len(r.data) != 0 {
		return ErrCorrupt
	}
	return nil
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func appendVarint(dst []byte, v int64) []byte { return binary.AppendUvarint(dst, zigzag(v)) }

// uvarintLen gives the number of bytes of v as an unsigned number.
func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

// finite tells whether v is a number that a log may have.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
