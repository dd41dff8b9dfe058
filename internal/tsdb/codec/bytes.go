package codec

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrCorrupt is the error of bytes that no encoder of this package wrote.
var ErrCorrupt = errors.New("tsdb: corrupt data")

// reader takes values off the front of bytes. The first value that is not there makes it bad for good; it then returns
// zeros, so that callers check once, before they trust what they read. It moves an index, not the slice, so that reading
// writes no pointers.
type reader struct {
	data []byte
	at   int
	bad  bool
}

// fail makes the reader bad and empty.
func (r *reader) fail() {
	r.bad = true
	r.at = len(r.data)
}

// left returns the number of bytes that were not read.
func (r *reader) left() int { return len(r.data) - r.at }

// uvarint reads an unsigned number.
func (r *reader) uvarint() uint64 {
	if r.at < len(r.data) && r.data[r.at] < 0x80 {
		r.at++
		return uint64(r.data[r.at-1])
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	if at := r.at; at+3 <= len(r.data) {
		// Two and three bytes are what most long numbers have.
		b0, b1, b2 := r.data[at], r.data[at+1], r.data[at+2]
		if b1 < 0x80 {
			r.at = at + 2
			return uint64(b0&0x7f) | uint64(b1)<<7
		}
		if b2 < 0x80 {
			r.at = at + 3
			return uint64(b0&0x7f) | uint64(b1&0x7f)<<7 | uint64(b2)<<14
		}
	}
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// skipUvarint goes past a number.
func (r *reader) skipUvarint() {
	for r.at < len(r.data) {
		r.at++
		if r.data[r.at-1] < 0x80 {
			return
		}
	}
	r.fail()
}

// skip goes past n bytes.
func (r *reader) skip(n int) {
	if n > r.left() {
		r.fail()
		return
	}
	r.at += n
}

// varint reads a signed number.
func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// fixed64 reads eight bytes.
func (r *reader) fixed64() uint64 {
	if r.left() < 8 {
		r.fail()
		return 0
	}
	r.at += 8
	return binary.LittleEndian.Uint64(r.data[r.at-8:])
}

// count reads a number of things of which each takes at least size bytes of what is left, so that hostile bytes cannot
// ask for more memory than they are worth.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(r.left()/size) {
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
	if n > uint64(r.left()) {
		r.fail()
		return reader{bad: true}
	}
	r.at += int(n)
	return reader{data: r.data[r.at-int(n) : r.at]}
}

// end returns ErrCorrupt unless everything was read, and read well.
func (r *reader) end() error {
	if r.bad || r.left() != 0 {
		return ErrCorrupt
	}
	return nil
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func appendVarint(dst []byte, v int64) []byte { return binary.AppendUvarint(dst, zigzag(v)) }

// finite reports whether v is a number that a log may have.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
