package demo

import (
	"bufio"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"hearth/internal/timetext"
)

func lines(t *testing.T, days int, until time.Time) []string {
	t.Helper()
	source, err := Open(days, until)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

var update = flag.Bool("update", false, "pack the data anew")

// TestThePackedDataIsTheDataSet: what the program has in it is the CSV file next to it, to the byte.
func TestThePackedDataIsTheDataSet(t *testing.T) {
	t.Parallel()
	file, err := os.Open("data/opensmarthome.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("data/opensmarthome.zst", packedOf(t, string(want)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := strings.Join(lines(t, 0, time.Now()), "\n") + "\n"; got != string(want) {
		t.Errorf("the packed data has %d bytes and is not the data set of %d; pack it: go test ./internal/demo -run Packed -update", len(got), len(want))
	}
}

// packedOf packs CSV as Open reads it.
func packedOf(t *testing.T, text string) []byte {
	t.Helper()
	var out strings.Builder
	numbers := map[string]int{}
	before := int64(0)
	for line := range strings.Lines(strings.TrimPrefix(text, header)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ",")
		name := strings.Join(fields[:3], ",")
		number, ok := numbers[name]
		if !ok {
			number = len(numbers)
			numbers[name] = number
			fmt.Fprintf(&out, "=%s\n", name)
		}
		at, ok := timetext.ParseTimestamp(fields[4])
		if !ok || at%1000 != 0 {
			t.Fatalf("the time of %q", line)
		}
		fmt.Fprintf(&out, "%d,%s,%d\n", number, fields[3], at/1000-before)
		before = at / 1000
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	return encoder.EncodeAll([]byte(out.String()), nil)
}

func TestTheDataIsMovedByWholeDaysAndEndsNow(t *testing.T) {
	t.Parallel()
	original := lines(t, 0, time.Now())
	if len(original) != 213_605 || !strings.HasSuffix(original[len(original)-1], lastReading) {
		t.Fatalf("%d lines, the last is %s", len(original), original[len(original)-1])
	}
	for _, now := range []time.Time{
		time.Date(2026, 11, 23, 6, 30, 0, 0, time.UTC), time.Date(2026, 2, 28, 23, 59, 59, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		moved := lines(t, ShiftTo(now), now)
		if moved[0] != original[0] {
			t.Errorf("the header is %q", moved[0])
		}
		var last time.Time
		for i, line := range moved[1:] {
			before, after := original[i+1], line
			if before[:len(before)-24] != after[:len(after)-24] || before[len(before)-14:] != after[len(after)-14:] {
				t.Fatalf("%s became %s", before, after)
			}
		}
		at, ok := timetext.ParseTimestamp(moved[len(moved)-1][len(moved[len(moved)-1])-24:])
		if last = time.UnixMilli(at); !ok || last.After(now) || now.Sub(last) > time.Hour {
			t.Errorf("at %v the data ends at %v", now, last)
		}
	}
}

func TestTheLastDayNamesEveryDevice(t *testing.T) {
	t.Parallel()
	readings, err := LastDay()
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string]bool{}
	for _, r := range readings {
		devices[r.Device] = true
	}
	if len(readings) != 3673 || len(devices) != 20 {
		t.Errorf("%d readings of %d devices", len(readings), len(devices))
	}
}

// heard counts what devices report.
type heard struct {
	beats, logs map[string]int
	all         bool
	first       time.Duration
	start       time.Time
}

func (h *heard) Heartbeat(_ context.Context, device string) error {
	h.beats[device]++
	if len(h.beats) == 20 && !h.all {
		h.all = true
		h.first = time.Since(h.start)
	}
	return nil
}

func (h *heard) Log(_ context.Context, r Reading) error {
	h.logs[r.Device]++
	return io.ErrUnexpectedEOF
}

func TestDevicesGoOnLive(t *testing.T) {
	t.Parallel()
	if _, err := LastDay(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		h := &heard{beats: map[string]int{}, logs: map[string]int{}, start: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		failures := 0
		if err := Live(ctx, h, Pace{}, func(error) { failures++ }); err != nil {
			t.Fatal(err)
		}
		if h.first != 0 || len(h.beats) != 20 || len(h.logs) != 20 {
			t.Errorf("%d devices were heard, all of them after %v; %d reported", len(h.beats), h.first, len(h.logs))
		}
		for device, n := range h.beats {
			if n < 179 || n > 182 {
				t.Errorf("%s was heard %d times in an hour", device, n)
			}
		}
		total := 0
		for _, n := range h.logs {
			total += n
		}
		if total < 7198 || total > 7200 || failures < total-1 {
			t.Errorf("%d logs in an hour, %d failures", total, failures)
		}
	})
}

func TestTheDataComesInSmallPieces(t *testing.T) {
	t.Parallel()
	source, err := Open(3000, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReaderSize(io.LimitReader(source, 100), 16)
	text, err := io.ReadAll(reader)
	if err != nil || len(text) != 100 || !strings.HasPrefix(string(text), "device,type,event,value,timestamp\nroom3-multisensor,") {
		t.Errorf("got %q %v", text, err)
	}
}
