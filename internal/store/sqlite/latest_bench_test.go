package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
)

// BenchmarkLatest asks for the latest values of a device with 50 events that reported each hour, beside a table that has no more than the
// latest values: with a day of history and with a year.
func BenchmarkLatest(b *testing.B) {
	const events = 50
	b.Run("bare", func(b *testing.B) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(`CREATE TABLE latest (device INTEGER, event TEXT, value REAL, ts INTEGER, PRIMARY KEY (device, event)) WITHOUT ROWID`); err != nil {
			b.Fatal(err)
		}
		for i := range events {
			if _, err := db.Exec(`INSERT INTO latest VALUES (1, ?, ?, ?)`, fmt.Sprint("event", i), i, benchEnd.UnixMilli()); err != nil {
				b.Fatal(err)
			}
		}
		stmt, err := db.Prepare(`SELECT event, value, ts FROM latest WHERE device = ?`)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			rows, err := stmt.Query(1)
			if err != nil {
				b.Fatal(err)
			}
			found := 0
			for rows.Next() {
				var event string
				var value float64
				var at int64
				if err := rows.Scan(&event, &value, &at); err != nil {
					b.Fatal(err)
				}
				found++
			}
			if err := rows.Err(); err != nil || found != events {
				b.Fatal(found, err)
			}
		}
	})
	for _, days := range []int{1, 365} {
		b.Run(fmt.Sprint(days, "d"), func(b *testing.B) {
			s, devices := openBench(b, filepath.Join(b.TempDir(), "hearth.db"))
			start := benchEnd.AddDate(0, 0, -days)
			for day := range days {
				batch := make([]hearth.LogEntry, 0, 24*events)
				for hour := range 24 {
					at := start.Add(time.Duration(day*24+hour) * time.Hour).UnixMilli()
					for i := range events {
						batch = append(batch, hearth.LogEntry{Device: devices[500].Key, Event: fmt.Sprint("event", i), Value: hearth.Number(float64(hour * i)), At: at})
					}
				}
				if _, err := s.AppendLogs(b.Context(), batch, nil, hearth.SideEffects{}); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.FoldLogs(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				latest, err := s.LatestLogs(b.Context(), []int64{devices[500].Key})
				if err != nil || len(latest) != events {
					b.Fatal(len(latest), err)
				}
			}
		})
	}
}

// BenchmarkYearByMonths asks what a year of a meter is, by the months of zones, of which some begin their days within an hour: of ten million logs.
func BenchmarkYearByMonths(b *testing.B) {
	const logs = 10_000_000
	s, devices := openBench(b, filepath.Join(b.TempDir(), "hearth.db"))
	end := benchEnd.Truncate(time.Hour)
	start := end.AddDate(-1, 0, 0)
	step := end.Sub(start) / logs
	reading := 0
	for i := range logs / benchBatch {
		batch := make([]hearth.LogEntry, benchBatch)
		for j := range batch {
			n := i*benchBatch + j
			reading += n & 3
			batch[j] = hearth.LogEntry{
				Device: devices[500].Key, Event: "energy", Value: hearth.Number(float64(reading) / 100), At: start.Add(time.Duration(n) * step).UnixMilli(),
			}
		}
		if _, err := s.AppendLogs(b.Context(), batch, nil, hearth.SideEffects{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.FoldLogs(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, zone := range []string{"Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "UTC"} {
		b.Run(zone, func(b *testing.B) { yearByMonths(b, s, devices[500].Key, start, end, zone, logs) })
	}
}

func yearByMonths(b *testing.B, s *sqlite.Store, device int64, start, end time.Time, in string, logs int64) {
	b.Helper()
	zone, err := time.LoadLocation(in)
	if err != nil {
		b.Fatal(err)
	}
	months := []int64{start.UnixMilli()}
	for at := time.Date(start.Year(), start.Month()+1, 1, 0, 0, 0, 0, zone); at.Before(end); at = at.AddDate(0, 1, 0) {
		months = append(months, at.UnixMilli())
	}
	query := hearth.RollupQuery{
		Reach: hearth.Reach{All: true}, Devices: []int64{device}, Event: "energy", Span: hearth.Span{From: start, To: end},
		Groupings: []hearth.Grouping{{Sketch: true, Changes: true}, {Bounds: months, Changes: true}},
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		out, err := s.Rollups(b.Context(), query)
		if err != nil || len(out[0]) != 1 || len(out[1]) != len(months) || out[0][0].Count != logs {
			b.Fatal(len(out[1]), err)
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/float64(b.N)/1e6, "cpu-ms/op") // on a machine that does other work too
}
