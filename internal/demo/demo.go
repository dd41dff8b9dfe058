// Package demo has real smart-home data to show hearth with, and devices that go on reporting like it. The data is under
// CC BY-SA 4.0: see data/README.md.
package demo

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed" // the data
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"hearth/internal/timetext"
)

// Attribution names the publisher and the licence of the data.
const Attribution = "Data: Open Smart Home Data Set, Fraunhofer Institute for Building Physics (2018), CC BY-SA 4.0, adapted"

// packed is the data without what repeats, so that it is a quarter as long in the program: a line "=device,type,event" names the next
// series, from 0; any other is the number of a series, the value, and the seconds since the line before (since 1970, of the first).
//
//go:embed data/opensmarthome.zst
var packed []byte // never written to

const (
	day = 24 * time.Hour
	// lastReading is the time of the newest reading of the data.
	lastReading = "2017-05-20T23:59:42.000Z"
	timeFormat  = "2006-01-02T15:04:05.000Z"
	header      = "device,type,event,value,timestamp\n"
)

// ShiftTo returns by how many whole days the data must move so that it reaches now: readings of the same hour of the day
// stay so, and those that would lie in the future are left out.
func ShiftTo(now time.Time) (days int) {
	last, _ := timetext.ParseTimestamp(lastReading)
	return int((now.Sub(time.UnixMilli(last)) + day - 1) / day)
}

// Open returns the data as CSV, moved by days, without what is later than until.
func Open(days int, until time.Time) (io.ReadCloser, error) {
	unpacked, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("open the demo data: %w", err)
	}
	return &shifted{
		unpacked: unpacked, lines: bufio.NewScanner(unpacked), shift: time.Duration(days) * day, until: until.UnixMilli(), rest: []byte(header),
	}, nil
}

// shifted makes CSV of the packed lines.
type shifted struct {
	unpacked *zstd.Decoder
	lines    *bufio.Scanner
	shift    time.Duration
	until    int64
	series   []string
	at       int64 // of the line before, as it was
	buffer   []byte
	rest     []byte
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
		return cmp.Or(s.lines.Err(), io.EOF)
	}
	line := s.lines.Text()
	if name, ok := strings.CutPrefix(line, "="); ok {
		s.series = append(s.series, name)
		return nil
	}
	number, rest, _ := strings.Cut(line, ",")
	value, since, _ := strings.Cut(rest, ",")
	series, err := strconv.Atoi(number)
	seconds, secondsErr := strconv.ParseInt(since, 10, 64)
	if err := errors.Join(err, secondsErr); err != nil {
		return fmt.Errorf("read the demo data: %w", err)
	}
	s.at += seconds * 1000
	moved := s.at + s.shift.Milliseconds()
	if moved > s.until {
		return io.EOF // the data is sorted by time
	}
	s.buffer = append(append(append(append(s.buffer[:0], s.series[series]...), ','), value...), ',')
	s.buffer = append(time.UnixMilli(moved).UTC().AppendFormat(s.buffer, timeFormat), '\n')
	s.rest = s.buffer
	return nil
}

// Close implements io.Closer.
func (s *shifted) Close() error {
	s.unpacked.Close()
	return nil
}

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
	defer source.Close()
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
