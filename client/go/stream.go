package hearth

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// maxBlock bounds a block of a stream, in bytes.
const maxBlock = 4 << 20

// block is what stands between two empty lines of a stream.
type block struct {
	id    string
	hasID bool
	data  []byte
	retry time.Duration
}

// reader reads a stream as the HTML standard says.
type reader struct{ lines *bufio.Reader }

func newReader(r io.Reader) *reader { return &reader{lines: bufio.NewReaderSize(r, 32<<10)} }

// next returns the next block, comments included as empty ones; alive is called whenever a line has come.
func (r *reader) next(alive func()) (block, error) {
	var b block
	size, first := 0, true
	for {
		line, err := r.line(maxBlock - size)
		if err != nil {
			return block{}, err
		}
		alive()
		size += len(line)
		if len(line) == 0 {
			return b, nil
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "id":
			if !bytes.ContainsRune(value, 0) {
				b.id, b.hasID = string(value), true
			}
		case "data":
			if !first {
				b.data = append(b.data, '\n')
			}
			b.data, first = append(b.data, value...), false
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				b.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// line reads a line of at most limit bytes, without its end.
func (r *reader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errors.New("hearth: an event is larger than 4 MiB")
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
	}
}
