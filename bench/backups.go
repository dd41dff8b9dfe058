package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// backupWrites a second of backupBatch rows each make the 5,000 rows/s that are written beside a backup.
	backupWrites = 50
	backupBatch  = 100
)

// measureBackups: the p99 of writes at 5,000 rows/s beside backups, one after the other, beside the p99 without; the size of
// an archive, and the time that a restore takes with its proofs.
func measureBackups(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := fillHearth(ctx, o, dir, o.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	archive := filepath.Join(dir, "measured.tar")
	whole, err := createBackup(ctx, o, h, archive)
	if err != nil {
		return err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return err
	}
	r.add(figure{Name: "archive a row", Unit: "bytes", Hearth: float64(info.Size()) / float64(o.rows)})
	ids, err := h.devices(1)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(5, 6))
	body := smallBatch(ids[0], rng)
	writes := paced{url: h.url, perSecond: backupWrites, clients: 8, length: max(20*time.Second, 4*o.seconds), status: 201,
		next: request("POST", h.token, func(int, int) string { return "/api/v1/logs" }, func(int, int) []byte { return body })}
	if _, err := writes.run(ctx); err != nil { // warms up
		return err
	}
	archive = filepath.Join(dir, "measured.tar")
	// Every measurement holds a backup from its beginning to its end, and what follows it.
	writes.length = max(writes.length, 3*whole+5*time.Second)
	var quiet, busy, took []float64
	for range o.rounds {
		p99, err := writes.run(ctx)
		if err != nil {
			return err
		}
		quiet = append(quiet, ms(p99))
		beside, durations, err := besideBackups(ctx, o, h, archive, writes)
		if err != nil {
			return err
		}
		busy = append(busy, ms(beside))
		took = append(took, durations...)
	}
	r.add(figure{Name: "p99 of writes beside backups", Unit: "ms", Floor: median(quiet), Hearth: median(busy), Goal: "≤ 1.5",
		Note: fmt.Sprintf("%d rows stored, %d rows/s written; floor: the same without backups; a backup takes %.1f s", o.rows,
			backupWrites*backupBatch, median(took))})
	// Nobody writes any more: this archive holds all.
	if _, err := createBackup(ctx, o, h, archive); err != nil {
		return err
	}
	rows, err := h.storedRows()
	if err != nil {
		return err
	}
	restored := filepath.Join(dir, "restored")
	began := time.Now()
	restore := exec.CommandContext(ctx, o.hearth, "backup", "restore", archive, "--to", "sqlite:"+restored)
	restore.Env = append(os.Environ(), "HEARTH_DATA_DIR="+h.dir)
	out, err := restore.CombinedOutput()
	if err != nil {
		return fmt.Errorf("restore: %w: %.500s", err, out)
	}
	spent := time.Since(began)
	if !strings.Contains(string(out), "the store holds what the archive holds") {
		return fmt.Errorf("restore says: %.500s", out)
	}
	r.add(figure{Name: "restore", Unit: "rows/s", Hearth: float64(rows) / spent.Seconds(), Note: "with reading the archive twice, rollups made anew, and the comparison"})
	return compareAnswers(ctx, o, h, restored, r)
}

// createBackup makes an archive in the place of an older one, and tells how long it took.
func createBackup(ctx context.Context, o options, h *hearth, archive string) (time.Duration, error) {
	if err := os.Remove(archive); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	began := time.Now()
	create := exec.CommandContext(ctx, o.hearth, "backup", "create", archive)
	create.Env = append(os.Environ(), "HEARTH_DATA_DIR="+h.dir)
	if out, err := create.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("backup: %w: %.500s", err, out)
	}
	return time.Since(began), nil
}

func smallBatch(id string, rng *rand.Rand) []byte {
	body := []byte("[")
	for i := range backupBatch {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"device_id":%q,"event":"temperature","value":%d.%02d}`, id, 20+rng.IntN(8), rng.IntN(100))
	}
	return append(body, ']')
}

// besideBackups gives the p99 of the writes while one backup after the other is made, and the seconds that each took.
func besideBackups(ctx context.Context, o options, h *hearth, archive string, writes paced) (p99 time.Duration, took []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	writing := make(chan struct{})
	go func() {
		var err error
		p99, err = writes.run(ctx)
		close(writing)
		done <- err
	}()
	for {
		select {
		case <-writing:
			return p99, took, <-done
		default:
		}
		length, err := createBackup(ctx, o, h, archive)
		if err != nil {
			cancel()
			<-writing
			return 0, nil, errors.Join(err, <-done)
		}
		took = append(took, length.Seconds())
	}
}
