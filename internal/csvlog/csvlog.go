// Package csvlog reads logs from CSV files, plain or gzipped, and cuts them into batches that can be recognised when the
// same file is read again.
package csvlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"hearth"
)

// maxRecord bounds one record, so that a quote that never closes cannot fill the memory.
const maxRecord = 1 << 20

// maxInterned bounds the names that are kept to be shared between rows.
const maxInterned = 1 << 16

// Columns name the columns of a file by its header. An empty name is the default: device, type, event, value, timestamp.
type Columns struct {
	Device string
	// Type may be absent from the file; then every row's Type is "".
	Type      string
	Event     string
	Value     string
	Timestamp string
}

// Row is one log of the file.
type Row struct {
	Line   int // where it begins, from 1
	Device string
	Type   string
	Event  string
	Value  float64
	At     int64 // Unix milliseconds
}

// Reader reads the rows of one file. It is not for use by several goroutines.
type Reader struct {
	csv     *csv.Reader
	bounded *boundedReader
	columns [5]int // device, type, event, value, timestamp; -1 is absent
	names   map[string]string
}

// Position of each column in Reader.columns.
const (
	device = iota
	kind
	event
	value
	timestamp
)

// NewReader reads the header of r, which is gzipped if it begins like that. A column that the header lacks is an error
// that names it and what there is.
func NewReader(r io.Reader, columns Columns) (*Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("the file begins like gzip, but: %w", err)
		}
		buffered = bufio.NewReaderSize(unzipped, 64<<10)
	}
	if bom, err := buffered.Peek(3); err == nil && string(bom) == "\uFEFF" {
		_, _ = buffered.Discard(len(bom)) // peeked, so it is there
	}
	bounded := &boundedReader{next: buffered, left: maxRecord}
	reader := &Reader{csv: csv.NewReader(bounded), bounded: bounded, names: map[string]string{}}
	reader.csv.ReuseRecord = true
	header, err := reader.csv.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty: it needs a header such as device,type,event,value,timestamp")
	case err != nil:
		return nil, fmt.Errorf("read the header: %w", err)
	}
	if err := reader.find(header, columns); err != nil {
		return nil, err
	}
	return reader, nil
}

// find looks up the columns in the header.
func (r *Reader) find(header []string, columns Columns) error {
	wanted := [5]string{device: columns.Device, kind: columns.Type, event: columns.Event, value: columns.Value, timestamp: columns.Timestamp}
	for i, name := range [5]string{device: "device", kind: "type", event: "event", value: "value", timestamp: "timestamp"} {
		optional := i == kind && wanted[i] == ""
		if wanted[i] == "" {
			wanted[i] = name
		}
		r.columns[i] = slices.Index(header, wanted[i])
		switch {
		case r.columns[i] < 0 && !optional:
			return fmt.Errorf("the header has no column %q for the %s, only %s", wanted[i], name, strings.Join(header, ", "))
		case r.columns[i] >= 0 && slices.Index(header[r.columns[i]+1:], wanted[i]) >= 0:
			return fmt.Errorf("the header has the column %q twice", wanted[i])
		}
	}
	return nil
}

// Next gives the next row, or io.EOF behind the last one. Any other error names the line. Whether the row is a log that
// hearth takes (its event, its time) is the caller's to judge.
func (r *Reader) Next() (Row, error) {
	r.bounded.left = maxRecord
	record, err := r.csv.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return Row{}, io.EOF
		}
		return Row{}, err // package csv names the line
	}
	line, _ := r.csv.FieldPos(0)
	row := Row{Line: line, Device: r.intern(record[r.columns[device]]), Event: r.intern(record[r.columns[event]])}
	if r.columns[kind] >= 0 {
		row.Type = r.intern(record[r.columns[kind]])
	}
	if row.Device == "" {
		return Row{}, fmt.Errorf("line %d: the device has no name", line)
	}
	text := record[r.columns[value]]
	row.Value, err = strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(row.Value) || math.IsInf(row.Value, 0) {
		return Row{}, fmt.Errorf("line %d: the value must be a finite number, not %.40q", line, text)
	}
	text = record[r.columns[timestamp]]
	at, ok := hearth.ParseTimestamp(text)
	if !ok {
		return Row{}, fmt.Errorf("line %d: the timestamp must be like 2006-01-02T15:04:05Z, not %.40q", line, text)
	}
	row.At = at
	return row, nil
}

// intern gives one shared copy of a name: a file repeats few of them in many rows.
func (r *Reader) intern(name string) string {
	if shared, ok := r.names[name]; ok {
		return shared
	}
	name = strings.Clone(name) // the record's memory is its whole line
	if len(r.names) < maxInterned {
		r.names[name] = name
	}
	return name
}

// Batch is a run of rows.
type Batch struct {
	Rows []Row
	// Key names the batch by its content and by everything before it in the file: reading the same file again gives the
	// same keys, so that a batch that has been stored can be left out. 64 hexadecimal digits.
	Key string
}

// Batches cuts a file into batches.
type Batches struct {
	reader *Reader
	size   int
	chain  hash.Hash
	rows   []Row
	err    error
}

// NewBatches cuts what reader gives into batches of size rows; the last one may have fewer. The keys depend on size.
func NewBatches(reader *Reader, size int) *Batches {
	return &Batches{reader: reader, size: size, chain: sha256.New(), rows: make([]Row, 0, size)}
}

// Next gives the next batch, or io.EOF behind the last one. Its rows are valid until the next call. A row that cannot be
// read ends the file with its error, once the rows before it have been given.
func (b *Batches) Next() (Batch, error) {
	b.rows = b.rows[:0]
	for b.err == nil && len(b.rows) < b.size {
		var row Row
		if row, b.err = b.reader.Next(); b.err == nil {
			b.rows = append(b.rows, row)
			b.add(row)
		}
	}
	if len(b.rows) == 0 {
		return Batch{}, b.err
	}
	return Batch{Rows: b.rows, Key: hex.EncodeToString(b.chain.Sum(nil))}, nil
}

// add puts a row into the chain of the keys. Each part carries its length, so that no two rows look alike.
func (b *Batches) add(row Row) {
	var scratch [128]byte
	text := scratch[:0]
	for _, part := range [...]string{row.Device, row.Type, row.Event} {
		text = binary.AppendUvarint(text, uint64(len(part)))
		text = append(text, part...)
	}
	text = binary.BigEndian.AppendUint64(text, math.Float64bits(row.Value))
	text = binary.BigEndian.AppendUint64(text, uint64(row.At)) //nolint:gosec // the bits matter, not the number
	b.chain.Write(text)
}

// boundedReader fails once a record has taken more than maxRecord. What package csv reads ahead counts for the record
// before, which is why the bound is approximate.
type boundedReader struct {
	next io.Reader
	left int
}

var errLongRecord = errors.New("a record is longer than 1 MiB; is a quote not closed?")

// Read reads on.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errLongRecord
	}
	n, err := r.next.Read(p)
	r.left -= n
	return n, err
}
