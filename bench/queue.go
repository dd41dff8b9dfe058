package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// pickupJobs are ordered one after the other, each when the one before has ended.
	pickupJobs = 200
	idleLength = 10 * time.Second
)

// measureQueue: 10,000 small jobs through each kind of queue by its own benchmark, in a process of its own; and the real program,
// alone on one machine: how soon an idle one begins a job, and what idling costs.
func measureQueue(ctx context.Context, o options, dir string, r *report) error {
	kinds := []struct{ name, folder string }{{"embedded", "sqlitequeue"}}
	if _, err := exec.LookPath("redis-server"); err == nil {
		kinds = append(kinds, struct{ name, folder string }{"Redis", "redisqueue"})
	}
	for _, kind := range kinds {
		figures, err := benchQueue(ctx, o, filepath.Join(dir, kind.folder+".test"), kind.folder)
		if err != nil {
			return err
		}
		r.add(figure{Name: "queue, " + kind.name + ": 10,000 small jobs", Unit: "jobs/s", Hearth: median(figures["jobs/s"]),
			Note: fmt.Sprintf("added at %.0f jobs/s beside it, durably", median(figures["added/s"]))})
		r.add(figure{Name: "queue, " + kind.name + ": pickup when idle, p50", Unit: "ms", Hearth: median(figures["p50-ms"])})
		r.add(figure{Name: "queue, " + kind.name + ": pickup when idle, p99", Unit: "ms", Hearth: median(figures["p99-ms"]), Goal: "≤ 50"})
		r.add(figure{Name: "queue, " + kind.name + ": an idle worker", Unit: "% of a processor", Hearth: median(figures["idle-cpu-%"]), Goal: "≤ 1"})
	}
	return measurePickup(ctx, o, dir, r)
}

// benchQueue runs an adapter's benchmark and gives each round's figures by their units.
func benchQueue(ctx context.Context, o options, binary, folder string) (map[string][]float64, error) {
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./internal/queue/"+folder)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the benchmark: %w: %.500s", err, out)
	}
	out, err := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^BenchmarkQueue$", "-test.benchtime", "1x",
		"-test.count", strconv.Itoa(o.rounds)).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the benchmark of %s: %w: %.2000s", folder, err, out)
	}
	figures := map[string][]float64{}
	for line := range strings.Lines(string(out)) {
		// BenchmarkQueue/idle  1  0.98 idle-cpu-%  1.6 p50-ms …
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkQueue/") {
			continue
		}
		for pair := range slices.Chunk(fields[2:], 2) {
			value, err := strconv.ParseFloat(pair[0], 64)
			if err != nil || len(pair) != 2 {
				return nil, fmt.Errorf("the benchmark of %s says %q", folder, line)
			}
			figures[pair[1]] = append(figures[pair[1]], value)
		}
	}
	for _, unit := range []string{"jobs/s", "added/s", "p50-ms", "p99-ms", "idle-cpu-%"} {
		if len(figures[unit]) != o.rounds {
			return nil, fmt.Errorf("the benchmark of %s tells %d times of %s: %.2000s", folder, len(figures[unit]), unit, out)
		}
	}
	return figures, nil
}

// measurePickup orders exports of nothing: from the order, through the outbox and the queue, to the start of the run, by the
// program's own times.
func measurePickup(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	var idle []float64
	for range o.rounds {
		before := h.cpu()
		select {
		case <-time.After(idleLength):
		case <-ctx.Done():
			return ctx.Err()
		}
		idle = append(idle, 100*(h.cpu()-before).Seconds()/idleLength.Seconds())
	}
	var waited []float64
	for range pickupJobs {
		done, err := h.exportOfNothing(ctx)
		if err != nil {
			return err
		}
		waited = append(waited, ms(done.StartedAt.Sub(done.CreatedAt)))
	}
	slices.Sort(waited)
	r.add(figure{Name: "the idle program", Unit: "% of a processor", Hearth: median(idle), Goal: "≤ 1", Note: "all of it: server, worker, chores"})
	r.add(figure{Name: "an ordered export begins, p50", Unit: "ms", Hearth: waited[len(waited)/2]})
	r.add(figure{Name: "an ordered export begins, p99", Unit: "ms", Hearth: waited[len(waited)*99/100], Goal: "≤ 50",
		Note: fmt.Sprintf("%d orders on an idle program, through the outbox and the queue", pickupJobs)})
	return nil
}

func (h *hearth) exportOfNothing(ctx context.Context) (e exportOf, err error) {
	if err := h.call("POST", "/exports", map[string]any{"type": "device_report", "format": "csv"}, &e); err != nil {
		return e, err
	}
	for e.Status == "queued" || e.Status == "running" {
		select {
		case <-ctx.Done():
			return e, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if err := h.call("GET", "/exports/"+e.ID, nil, &e); err != nil {
			return e, err
		}
	}
	if e.Status != "completed" {
		err = fmt.Errorf("the export of nothing is %s", e.Status)
	}
	return e, err
}
