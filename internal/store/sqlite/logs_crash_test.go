package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/tsdb"
)

// crashFile, if set, makes the test binary append logs to that store until it is killed.
const crashFile = "HEARTH_CRASH_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		if err := appendForEver(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	flag.Parse()
	// What is asked for on the command line comes first.
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		if err := flag.Set("rapid.checks", modelChecks); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// appendForEver appends batches from several goroutines and prints the value of each when it is acknowledged. The logs
// of one batch share a value that no other has.
func appendForEver(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Options{Path: path, Logs: tsdb.Options{FoldRows: 300, ChunkRows: 200}})
	if err != nil {
		return err
	}
	const writers = 4
	failed := make(chan error, writers)
	start := time.Now().UnixNano()
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				value := float64(start%1e9)*1e4 + float64(i*writers+w)
				batch := make([]hearth.LogEntry, crashBatch)
				for j := range batch {
					batch[j] = hearth.LogEntry{Device: int64(1 + (i+j)%3), Event: "e", Value: hearth.Number(value), At: at(time.Duration(i*7+j) * time.Second)}
				}
				if _, err := s.AppendLogs(ctx, batch, nil, hearth.SideEffects{}); err != nil {
					failed <- err
					return
				}
				if _, err := fmt.Printf("%v\n", value); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

const crashBatch = 20

func at(offset time.Duration) int64 {
	return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC).Add(offset).UnixMilli()
}

func TestAKilledWriterLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t, t.TempDir())
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		d := hearth.Device{ID: fmt.Sprint(i), Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u", CreatedAt: time.Now(), UpdatedAt: time.Now()}
		if _, err := s.CreateDevices(t.Context(), []hearth.Device{d}, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[float64]bool{}
	for round := range 5 {
		killWriter(t, path, 40+30*round, acknowledged)
		checkCrashed(t, path, acknowledged)
	}
}

// killWriter lets a child write until it has acknowledged a number of batches, kills it, and notes what it acknowledged.
func killWriter(t *testing.T, path string, batches int, acknowledged map[float64]bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashFile+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	n := 0
	for lines.Scan() {
		var value float64
		if _, err := fmt.Sscan(lines.Text(), &value); err != nil {
			t.Fatal(err)
		}
		acknowledged[value] = true
		if n++; n == batches {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || n < batches {
		t.Fatalf("the child ended after %d batches: %v", n, err)
	}
}

func checkCrashed(t *testing.T, path string, acknowledged map[float64]bool) {
	t.Helper()
	opening := time.Now()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(opening); took > 2*time.Second {
		t.Errorf("opening after a crash took %v", took)
	}
	all := hearth.Reach{All: true}
	span := hearth.Span{From: time.Unix(0, 0), To: time.Unix(4e9, 0)}
	seen := map[float64]int{}
	total := int64(0)
	for e, err := range s.ScanLogs(t.Context(), hearth.LogScan{Reach: all, Span: span}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Value.Number()]++
		total++
	}
	for value := range acknowledged {
		if seen[value] != crashBatch {
			t.Errorf("of an acknowledged batch %d logs are there, want %d", seen[value], crashBatch)
		}
	}
	for _, n := range seen {
		if n != crashBatch {
			t.Errorf("of a batch %d logs are there, want all or none", n)
		}
	}
	out, err := s.Rollups(t.Context(), hearth.RollupQuery{Reach: all, Span: span, Groupings: []hearth.Grouping{{}, {ByDevice: true, Step: hearth.StepHour}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, groups := range out {
		sum := int64(0)
		for _, g := range groups {
			sum += g.Count
		}
		if sum != total {
			t.Errorf("grouping %d sums up %d logs, %d are stored", i, sum, total)
		}
	}
	if n, err := s.CountLogs(t.Context(), all); err != nil || n != total {
		t.Errorf("%d logs are counted, %v; %d are stored", n, err, total)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the integrity check says %q, %v", verdict, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
