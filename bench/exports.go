package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// exportOf is what the measurement reads of an export.
type exportOf struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Result struct {
		Records int64 `json:"record_count"`
		Size    int64 `json:"file_size"`
	} `json:"result"`
	CreatedAt time.Time `json:"created_at"`
	StartedAt time.Time `json:"started_at"`
}

// measureExports: logs to CSV, ordered over HTTP until the file is there, beside `sqlite3 -csv` printing the same columns of
// the same rows from a plain table into a file; Parquet and zstd beside it.
func measureExports(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := fillHearth(ctx, o, dir, o.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	first, _, err := h.export(ctx, "csv", "none")
	if err != nil {
		return err
	}
	plain, err := h.plainTable(ctx, dir, first.ID)
	if err != nil {
		return err
	}
	before, _ := h.memory()
	var floors, busy, mine []float64
	for range o.rounds {
		began := time.Now()
		cpu, err := printTable(ctx, plain, filepath.Join(dir, "printed.csv"))
		if err != nil {
			return err
		}
		busy = append(busy, float64(first.Result.Records)/cpu.Seconds())
		floors = append(floors, float64(first.Result.Records)/time.Since(began).Seconds())
		done, took, err := h.export(ctx, "csv", "none")
		if err != nil {
			return err
		}
		mine = append(mine, float64(done.Result.Records)/took.Seconds())
	}
	after, peak := h.memory()
	r.add(figure{Name: "export to CSV", Unit: "rows/s", Floor: median(floors), Hearth: median(mine), Goal: "≥ 1.0",
		Note: fmt.Sprintf("%d rows; floor: sqlite3 -csv from a plain table (by its processor time alone: %.0f rows/s)",
			first.Result.Records, median(busy))})
	r.add(figure{Name: "memory growth of the exports", Unit: "MiB", Hearth: after - before, Goal: "≤ 64", Note: fmt.Sprintf("peak %.0f MiB", peak)})
	for _, other := range [][2]string{{"csv", "zstd"}, {"csv", "gzip"}, {"parquet", "none"}, {"parquet", "zstd"}} {
		done, took, err := h.export(ctx, other[0], other[1])
		if err != nil {
			return err
		}
		r.add(figure{Name: "export to " + other[0] + ", " + other[1], Unit: "rows/s", Hearth: float64(done.Result.Records) / took.Seconds(),
			Note: fmt.Sprintf("%.1f bytes a row", float64(done.Result.Size)/float64(done.Result.Records))})
	}
	after, peak = h.memory()
	r.add(figure{Name: "memory growth with Parquet and compression", Unit: "MiB", Hearth: after - before, Note: fmt.Sprintf("peak %.0f MiB", peak)})
	return nil
}

// export orders an export of all logs and waits for its end.
func (h *hearth) export(ctx context.Context, format, compression string) (e exportOf, took time.Duration, err error) {
	began := time.Now()
	if err := h.call("POST", "/exports", map[string]any{"type": "logs", "format": format, "compression": compression}, &e); err != nil {
		return e, 0, err
	}
	for e.Status == "queued" || e.Status == "running" {
		if ctx.Err() != nil {
			return e, 0, ctx.Err()
		}
		time.Sleep(20 * time.Millisecond)
		if err := h.call("GET", "/exports/"+e.ID, nil, &e); err != nil {
			return e, 0, err
		}
	}
	took = time.Since(began)
	if e.Status != "completed" {
		err = fmt.Errorf("the export to %s is %s", format, e.Status)
	}
	return e, took, err
}

// plainTable loads the CSV file of an export into a table of the same columns, and gives the database.
func (h *hearth) plainTable(ctx context.Context, dir, id string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/api/v1/exports/"+id+"/file", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	csv, db := filepath.Join(dir, "export.csv"), filepath.Join(dir, "plain.db")
	file, err := os.Create(csv)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(file, resp.Body); err != nil {
		return "", errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	load := exec.CommandContext(ctx, "sqlite3", db)
	load.Stdin = strings.NewReader("CREATE TABLE logs(timestamp TEXT, device_id TEXT, device_name TEXT, device_type TEXT, event TEXT, value REAL);\n" +
		".import --csv --skip 1 " + csv + " logs\n")
	if out, err := load.CombinedOutput(); err != nil {
		return "", fmt.Errorf("load the plain table: %w: %.500s", err, out)
	}
	return db, nil
}

// printTable gives the processor time of the printing, which a busy machine does not lengthen.
func printTable(ctx context.Context, db, to string) (cpu time.Duration, err error) {
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	printing := exec.CommandContext(ctx, "sqlite3", "-csv", "-header", db, "SELECT timestamp, device_id, device_name, device_type, event, value FROM logs")
	printing.Stdout = out
	if err := errors.Join(printing.Run(), out.Close()); err != nil {
		return 0, err
	}
	return printing.ProcessState.UserTime() + printing.ProcessState.SystemTime(), nil
}
