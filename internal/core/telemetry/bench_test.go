package telemetry

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/store/sqlite"
)

// benchService is a service over a store on disk with devices of ann.
func benchService(b *testing.B, count int) (*Service, []string) {
	b.Helper()
	store, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "hearth.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	var batch []hearth.Device
	ids := make([]string, count)
	for i := range count {
		ids[i] = fmt.Sprintf("0199a1b2-c3d4-7000-8000-%012d", i)
		batch = append(batch, hearth.Device{
			ID: ids[i], OwnerID: "ann", Name: ids[i], Type: "sensor", Status: hearth.StatusActive, Interval: 60, CreatedAt: now, UpdatedAt: now,
		})
	}
	if _, err := store.CreateDevices(b.Context(), batch, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	f, err := devices.New(devices.Options{Store: store})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Stop)
	s, err := New(Options{Store: store, Audit: store, Directory: f, Publisher: recorderOfNothing{}})
	if err != nil {
		b.Fatal(err)
	}
	return s, ids
}

// BenchmarkIngest stores batches of 5,000 rows of 1,000 devices, durably: all, and those that are not stored yet, of batches of which all are
// new, or none.
func BenchmarkIngest(b *testing.B) {
	for _, c := range []struct {
		name   string
		skip   bool
		rounds int // after which the same logs come again
	}{{"keep", false, 1 << 30}, {"skip", true, 1 << 30}, {"skip-stored", true, 20}} {
		b.Run(c.name, func(b *testing.B) {
			s, ids := benchService(b, 1000)
			entries := make([]hearth.LogEntry, 5000)
			at := now.UnixMilli()
			round := 0
			ingest := func() {
				round++
				for i := range entries {
					entries[i] = hearth.LogEntry{
						Device: int64(i % 1000), Event: "temperature", Value: hearth.Number(float64(i%500) / 10), At: at + int64(round%c.rounds*1000+i/1000),
					}
				}
				if _, err := s.Ingest(b.Context(), ann, Batch{Devices: ids, Entries: entries, SkipDuplicates: c.skip}); err != nil {
					b.Fatal(err)
				}
			}
			if c.rounds < 100 {
				for range c.rounds {
					ingest()
				}
			}
			for b.Loop() {
				ingest()
			}
			b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkAdd stores single logs durably, from 64 clients at once.
func BenchmarkAdd(b *testing.B) {
	s, ids := benchService(b, 1000)
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			e := hearth.LogEntry{Event: "temperature", Value: hearth.Number(float64(i % 500)), At: time.Now().UnixMilli()}
			if _, err := s.Add(b.Context(), ann, Single{DeviceID: ids[i%1000], Entry: e}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logs/s")
}

// recorderOfNothing discards every event.
type recorderOfNothing struct{}

func (recorderOfNothing) Publish(...hearth.Event) {}
