package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
)

// The shape of the benchmarks' data: a thousand devices of one person, 30 days that end in the middle of an hour.
const (
	benchDevices = 1000
	benchDays    = 30
	benchBatch   = 5000
)

var benchEnd = time.Date(2026, 3, 14, 12, 34, 56, 789e6, time.UTC)

func openBench(b *testing.B, path string) (*sqlite.Store, []hearth.Device) {
	b.Helper()
	s, err := sqlite.Open(b.Context(), sqlite.Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	devices := make([]hearth.Device, benchDevices)
	for i := range devices {
		devices[i] = hearth.Device{
			ID: fmt.Sprintf("d%d", i), Name: fmt.Sprint("device ", i), Type: "sensor", Status: hearth.StatusActive, Interval: 60, OwnerID: "u",
			CreatedAt: benchEnd, UpdatedAt: benchEnd,
		}
	}
	devices, err = s.CreateDevices(b.Context(), devices, hearth.SideEffects{})
	if err != nil {
		b.Fatal(err)
	}
	return s, devices
}

// readings returns n logs in batches: each device reports one of three events in turn, values walk by hundredths.
func readings(devices []hearth.Device, n int) iter.Seq[[]hearth.LogEntry] {
	return func(yield func([]hearth.LogEntry) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		events := []string{"temperature", "humidity", "power"}
		level := make([]int64, len(devices))
		for i := range level {
			level[i] = 2000 + random.Int64N(3000)
		}
		step := float64(benchDays*24*time.Hour/time.Millisecond) / float64(n)
		start := benchEnd.AddDate(0, 0, -benchDays).UnixMilli()
		batch := make([]hearth.LogEntry, 0, benchBatch)
		for i := range n {
			d := random.IntN(len(devices))
			level[d] += random.Int64N(21) - 10
			batch = append(batch, hearth.LogEntry{
				Device: devices[d].Key, Event: events[i%3], Value: hearth.Number(float64(level[d]) / 100), At: start + int64(float64(i)*step),
			})
			if len(batch) == benchBatch || i == n-1 {
				if !yield(batch) {
					return
				}
				batch = batch[:0]
			}
		}
	}
}

func fill(b *testing.B, s *sqlite.Store, devices []hearth.Device, n int) time.Duration {
	b.Helper()
	var took time.Duration
	for batch := range readings(devices, n) {
		start := time.Now()
		if _, err := s.AppendLogs(context.Background(), batch, nil, hearth.SideEffects{}); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
	}
	return took
}

// bareLoop inserts the same rows one by one, a transaction a batch.
func bareLoop(b *testing.B, path string, devices []hearth.Device, n int) (took time.Duration, size int64) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE logs (device INTEGER, event TEXT, value REAL, ts INTEGER)`); err != nil {
		b.Fatal(err)
	}
	for batch := range readings(devices, n) {
		start := time.Now()
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		stmt, err := tx.Prepare(`INSERT INTO logs VALUES(?,?,?,?)`)
		if err != nil {
			b.Fatal(err)
		}
		for i := range batch {
			e := &batch[i]
			if _, err := stmt.Exec(e.Device, e.Event, e.Value.Number(), e.At); err != nil {
				b.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return took, sizeOf(b, path)
}

func sizeOf(b *testing.B, path string) int64 {
	b.Helper()
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

// BenchmarkIngest compares batches with the bare loop, in turns, by rows a second and bytes a row.
func BenchmarkIngest(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		dir := b.TempDir()
		s, devices := openBench(b, filepath.Join(dir, "hearth.db"))
		bare, bareSize := bareLoop(b, filepath.Join(dir, "bare.db"), devices, n)
		ours := fill(b, s, devices, n)
		if err := s.FoldLogs(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(n/bare.Seconds(), "bare-rows/s")
		b.ReportMetric(n/ours.Seconds(), "rows/s")
		b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
		b.ReportMetric(float64(sizeOf(b, filepath.Join(dir, "hearth.db")))/n, "B/row")
		b.ReportMetric(float64(bareSize)/n, "bare-B/row")
	}
}

// BenchmarkDashboard asks what a dashboard asks, over stores of growing size, and times opening them.
func BenchmarkDashboard(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "hearth.db")
			s, devices := openBench(b, path)
			fill(b, s, devices, n)
			for range 4 {
				if err := s.FoldLogs(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			opening := time.Now()
			s, err := sqlite.Open(b.Context(), sqlite.Options{Path: path})
			if err != nil {
				b.Fatal(err)
			}
			opened := time.Since(opening)
			reach := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u")}}
			for _, days := range []int{1, 7, 30} {
				b.Run(fmt.Sprint(days, "d"), func(b *testing.B) {
					var times []time.Duration
					i := 0
					for b.Loop() {
						start := time.Now()
						dashboard(b, s, reach, benchEnd.Add(time.Duration(i)*time.Second), days)
						times = append(times, time.Since(start))
						i++
					}
					slices.Sort(times)
					b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
					b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
					b.ReportMetric(float64(opened.Microseconds())/1000, "open-ms")
					b.ReportMetric(float64(sizeOf(b, path))/float64(n), "B/row")
				})
			}
			b.Run("page", func(b *testing.B) {
				for b.Loop() {
					_, err := s.Logs(b.Context(), hearth.LogQuery{Device: devices[500].Key, Limit: 50, Span: hearth.Span{To: benchEnd}})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("usage", func(b *testing.B) {
				for b.Loop() {
					_, err := s.Rollups(b.Context(), hearth.RollupQuery{
						Reach: reach, Devices: []int64{devices[500].Key}, Span: hearth.Span{From: benchEnd.AddDate(0, 0, -30), To: benchEnd},
						Groupings: []hearth.Grouping{{Sketch: true}, {Step: hearth.StepHour}},
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("events", func(b *testing.B) {
				for b.Loop() {
					_, err := s.Rollups(b.Context(), hearth.RollupQuery{
						Reach: reach, Span: hearth.Span{From: benchEnd.AddDate(0, 0, -30), To: benchEnd}, Groupings: []hearth.Grouping{{ByEvent: true, Sketch: true}},
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("scan", func(b *testing.B) {
				rows := 0
				for b.Loop() {
					for _, err := range s.ScanLogs(b.Context(), hearth.LogScan{Reach: reach, Span: hearth.Span{To: benchEnd}}) {
						if err != nil {
							b.Fatal(err)
						}
						rows++
					}
				}
				b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func dashboard(b *testing.B, s *sqlite.Store, reach hearth.Reach, end time.Time, days int) {
	b.Helper()
	step := hearth.StepHour
	if days > 7 {
		step = hearth.StepDay
	}
	out, err := s.Rollups(b.Context(), hearth.RollupQuery{
		Reach: reach, Span: hearth.Span{From: end.AddDate(0, 0, -days), To: end},
		Groupings: []hearth.Grouping{{}, {ByDevice: true}, {Step: step}, {ByEvent: true}},
	})
	if err != nil || len(out[0]) != 1 || len(out[3]) != 3 {
		b.Fatal(out, err)
	}
	if _, err := s.CountLogs(b.Context(), reach); err != nil {
		b.Fatal(err)
	}
}
