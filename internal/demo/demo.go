// Package demo has real smart-home data to show hearth with, and devices that go on reporting like it. The data is under
// CC BY-SA 4.0: see data/README.md.
package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // the data
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"hearth/internal/timetext"
)

// Attribution names the publisher and the licence of the data.
const Attribution = "Data: Open Smart Home Data Set, Fraunhofer Institute for Building Physics (2018), CC BY-SA 4.0, adapted"

//go:embed data/opensmarthome.csv.gz
var packed []byte // never written to

const (
	day = 24 * time.Hour
	// lastReading is the time of the newest reading of the data.
	lastReading = "2017-05-20T23:59:42.000Z"
	timeFormat  = "2006-01-02T15:04:05.000Z"
)

// ShiftTo returns by how many whole days the data must move so that it reaches now: readings of the same hour of the day
// stay so, and those that would lie in the future are left out.
func ShiftTo(now time.Time) (days int) {
	last, _ := timetext.ParseTimestamp(lastReading)
	return int((now.Sub(time.UnixMilli(last)) + day - 1) / day)
}

// Open returns the data as CSV, moved by days, without what is later than until.
func Open(days int, until time.Time) (io.ReadCloser, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("open the demo data: %w", err)
	}
	return &shifted{
		lines: bufio.NewScanner(unpacked), shift: time.Duration(days) * day, until: until.UnixMilli(), header: true,
	}, nil
}

// shifted rewrites the times of CSV lines.
type shifted struct {
	lines  *bufio.Scanner
	shift  time.Duration
	until  int64
	header bool
	buffer []byte
	rest   []byte
}

// Read implements io.Reader.
func (s *shifted) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *shifted) next() error {
	if !s.lines.Scan() {
		if err := s.lines.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	line := s.lines.Bytes()
	if s.header {
		s.header = false
		s.buffer = append(append(s.buffer[:0], line...), '\n')
		s.rest = s.buffer
		return nil
	}
	comma := bytes.LastIndexByte(line, ',')
	at, ok := timetext.ParseTimestamp(line[comma+1:])
	if !ok {
		return errors.New("the demo data has a line without a time")
	}
	at += s.shift.Milliseconds()
	if at > s.until {
		return io.EOF // the data is sorted by time
	}
	s.buffer = append(s.buffer[:0], line[:comma+1]...)
	s.buffer = append(time.UnixMilli(at).UTC().AppendFormat(s.buffer, timeFormat), '\n')
	s.rest = s.buffer
	return nil
}

// Close implements io.Closer.
func (s *shifted) Close() error { return nil }

// Reading is one value of a device, by name.
type Reading struct {
	Device string
	Event  string
	Value  float64
}

// LastDay returns the readings of the data's last day, in order.
func LastDay() (readings []Reading, err error) {
	source, err := Open(0, time.UnixMilli(1<<50))
	if err != nil {
		return nil, err
	}
	last, _ := timetext.ParseTimestamp(lastReading)
	lines := bufio.NewScanner(source)
	lines.Scan() // the header
	for lines.Scan() {
		fields := bytes.Split(lines.Bytes(), []byte(","))
		if at, _ := timetext.ParseTimestamp(fields[4]); at <= last-day.Milliseconds() {
			continue
		}
		value, err := strconv.ParseFloat(string(fields[3]), 64)
		if err != nil {
			return nil, fmt.Errorf("read the demo data: %w", err)
		}
		readings = append(readings, Reading{Device: string(fields[0]), Event: string(fields[2]), Value: value})
	}
	return readings, lines.Err()
}
