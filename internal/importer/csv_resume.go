package importer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"

	"hearth"
)

// maxLine bounds a line, in bytes.
const maxLine = 64 << 10

// errLine says that a line was too long; it was passed over.
var errLine = errors.New("a line is longer than 64 KiB")

// lines reads a text line by line, and keeps a hash of all that was read.
type lines struct {
	reader *bufio.Reader
	hash   hash.Hash
	// offset is the number of bytes up to the end of the last line, number its number from 1.
	offset int64
	number int64
	// open says that the last line had no end: more of it may be written one day.
	open bool
	// ending is the last line's end, long a row of several lines.
	ending string
	long   []byte
}

func newLines(r io.Reader) *lines {
	// Wrapped, because bufio would take a larger buffered reader as it is, and the buffer is what bounds a line.
	return &lines{reader: bufio.NewReaderSize(struct{ io.Reader }{r}, maxLine), hash: sha256.New()}
}

// next returns the next line without its end; it is good until the next call. io.EOF after the last one, errLine for one
// that is too long.
func (l *lines) next() ([]byte, error) {
	line, err := l.slice()
	if err == nil || len(line) > 0 && errors.Is(err, io.EOF) {
		l.number++
		l.ending = ""
		for _, ending := range []string{"\r\n", "\n", "\r"} {
			if rest, found := bytes.CutSuffix(line, []byte(ending)); found {
				l.ending = ending
				return rest, nil
			}
		}
		return line, nil
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.slice()
	}
	l.number++
	if err == nil || errors.Is(err, io.EOF) {
		err = errLine
	}
	return nil, err
}

func (l *lines) slice() ([]byte, error) {
	part, err := l.reader.ReadSlice('\n')
	l.offset += int64(len(part))
	l.hash.Write(part)
	if len(part) > 0 {
		l.open = part[len(part)-1] != '\n'
	}
	return part, err
}

// pass goes forward to an offset; io.EOF if the text ends before it.
func (l *lines) pass(offset int64) error {
	n, err := io.CopyN(l.hash, l.reader, offset-l.offset)
	l.offset += n
	return err
}

// sum returns the hash of everything up to offset.
func (l *lines) sum() string { return hex.EncodeToString(l.hash.Sum(nil)) }

// mark is the place up to which a file was imported: it is found again by the hash of all that stands before it, so that
// neither the file's name nor how it is packed matters.
type mark struct {
	Rows    int64  `json:"-"`
	Skipped int64  `json:"skipped"`
	Offset  int64  `json:"offset"`
	Line    int64  `json:"line"`
	Open    bool   `json:"open,omitempty"`
	Sum     string `json:"sum"`
}

func (m mark) checkpoint(id string) (hearth.Checkpoint, error) {
	data, err := json.Marshal(m)
	return hearth.Checkpoint{ID: id, Rows: m.Rows, Mark: data}, err
}

// maxTwins bounds the files that begin alike.
const maxTwins = 1000

// identity names an import by what it is read as, for whom, and its first row. Files that begin alike are told apart by
// their number.
func (r *run) identity(first []byte, twin int) string {
	sum := sha256.New()
	parts := []string{
		r.options.Target, r.options.Columns.Device, r.options.Columns.Type, r.options.Columns.Event, r.options.Columns.Value,
		r.options.Columns.Timestamp, r.options.Event, r.options.Type, string(first), fmt.Sprint(twin),
	}
	for _, part := range append(parts, r.options.Format.identity()...) {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// resume finds out how far this file was imported before, and goes on behind that.
func (r *run) resume(ctx context.Context) error {
	first, err := r.lines.reader.Peek(maxLine)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the first row: %w", err)
	}
	first, _, _ = bytes.Cut(first, []byte("\n"))
	first = bytes.Clone(bytes.TrimSuffix(first, []byte("\r")))
	var before []known
	twin := 0
	for ; twin < maxTwins; twin++ {
		id := r.identity(first, twin)
		checkpoint, err := r.options.Sink.Checkpoint(ctx, id)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			break
		}
		if err != nil {
			return err
		}
		var m mark
		if err := json.Unmarshal(checkpoint.Mark, &m); err != nil {
			return fmt.Errorf("read the checkpoint: %w", err)
		}
		m.Rows = checkpoint.Rows
		before = append(before, known{id, m})
	}
	r.id = r.identity(first, twin)
	sort.Slice(before, func(i, j int) bool { return before[i].mark.Offset < before[j].mark.Offset })
	for _, k := range before {
		if err := r.lines.pass(k.mark.Offset); errors.Is(err, io.EOF) {
			break // the file is shorter than that one
		} else if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
		if r.lines.sum() == k.mark.Sum {
			r.id, r.mark = k.id, k.mark
		}
	}
	return r.goOn()
}

// known is a file that was imported before.
type known struct {
	id   string
	mark mark
}

// goOn puts the reading behind the mark.
func (r *run) goOn() error {
	if r.lines.offset != r.mark.Offset || r.mark.Offset == 0 {
		if err := r.open(); err != nil {
			return err
		}
		if r.mark.Offset == 0 {
			if r.layout.json {
				return nil
			}
			_, err := r.lines.next() // the header
			return err
		}
		if err := r.lines.pass(r.mark.Offset); err != nil {
			return fmt.Errorf("read the file again: %w", err)
		}
	}
	r.lines.number = r.mark.Line
	if r.mark.Open {
		r.lines.number-- // what was appended begins with that line's end
	}
	return nil
}
