package sqlite_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth"
)

// hostileShapes are batches of logs that cost more than they look, as in bench/hostile.go: each sets the i-th log of the n-th batch, of the
// first device.
var hostileShapes = []struct {
	name string
	set  func(e *hearth.LogEntry, devices []hearth.Device, random *rand.Rand, n, i int)
}{
	{"one event over 50 years", func(e *hearth.LogEntry, _ []hearth.Device, random *rand.Rand, _, _ int) {
		e.Event, e.Value, e.At = "t", hearth.Number(random.Float64()), ago(random, 50)
	}},
	{"100 events over 50 years", func(e *hearth.LogEntry, _ []hearth.Device, random *rand.Rand, _, i int) {
		e.Event, e.Value, e.At = fmt.Sprint("m.", i%100), hearth.Number(random.Float64()), ago(random, 50)
	}},
	{"1000 devices over a year", func(e *hearth.LogEntry, devices []hearth.Device, random *rand.Rand, _, i int) {
		e.Device, e.Event, e.Value, e.At = devices[i%len(devices)].Key, "t", hearth.Number(random.Float64()), ago(random, 1)
	}},
	{"random bits", func(e *hearth.LogEntry, devices []hearth.Device, random *rand.Rand, n, i int) {
		value := math.Float64frombits(random.Uint64())
		if !(math.Abs(value) <= 1e300) {
			value = 1e300
		}
		e.Device, e.Event, e.Value, e.At = devices[i%len(devices)].Key, fmt.Sprint("bits.", i%10), hearth.Number(value), batchTime(n)
	}},
	{"different strings", func(e *hearth.LogEntry, _ []hearth.Device, _ *rand.Rand, n, i int) {
		e.Event, e.Value, e.At = "text", hearth.Text(fmt.Sprintf("%06d.%08d.%s", n, i, strings.Repeat("é", 240))), batchTime(n)
	}},
}

// ago returns a random time of the last years.
func ago(random *rand.Rand, years int) int64 {
	return benchEnd.UnixMilli() - random.Int64N(int64(years)*365*24*time.Hour.Milliseconds())
}

// batchTime is when the n-th of the batches comes that are of one moment.
func batchTime(n int) int64 { return benchEnd.UnixMilli() + int64(n)*500 }

// BenchmarkHostile stores batches of 10,000 logs and folds them: the processor time and the written bytes of a log.
func BenchmarkHostile(b *testing.B) {
	for _, shape := range hostileShapes {
		b.Run(shape.name, func(b *testing.B) {
			s, devices := openBench(b, filepath.Join(b.TempDir(), "hearth.db"))
			random := rand.New(rand.NewPCG(1, 2))
			batch := make([]hearth.LogEntry, hearth.MaxLogBatch)
			n := 0
			store := func() {
				for i := range batch {
					batch[i].Device = devices[0].Key
					shape.set(&batch[i], devices, random, n, i)
				}
				n++
				if _, err := s.AppendLogs(b.Context(), batch, nil, hearth.SideEffects{}); err != nil {
					b.Fatal(err)
				}
				if err := s.FoldLogs(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			for range 3 {
				store()
			}
			var before, after syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
				b.Fatal(err)
			}
			written := writtenBytes(b)
			for b.Loop() {
				store()
			}
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
				b.Fatal(err)
			}
			used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			logs := float64(b.N) * float64(len(batch))
			b.ReportMetric(float64(used)/logs, "cpu-ns/log")
			b.ReportMetric(float64(writtenBytes(b)-written)/logs, "written-B/log")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// writtenBytes returns what the process has written so far, as Linux counts it.
func writtenBytes(b *testing.B) (n int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "wchar: ")
	if _, err := fmt.Sscan(after, &n); err != nil {
		b.Fatal(err)
	}
	return n
}
