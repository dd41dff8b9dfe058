package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	smallRows = 100_000
	history   = 30 * 24 * time.Hour
)

// measureDashboard: the dashboard of 1,000 devices with 30 days of history, never from a cache (each request asks for
// another range by a millisecond), with a small history and with a large one.
func measureDashboard(ctx context.Context, o options, dir string, r *report) error {
	ranges := []struct {
		name   string
		length time.Duration
	}{{"24h", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}, {"30d", history}}
	var small, large [3]time.Duration
	for _, rows := range []int{smallRows, o.rows} {
		h, err := fillHearth(ctx, o, filepath.Join(dir, fmt.Sprint(rows)), rows)
		if err != nil {
			return err
		}
		for i, rg := range ranges {
			p99, err := dashboardP99(ctx, o, h, rg.length)
			if err != nil {
				return errors.Join(err, h.stop())
			}
			if rows == smallRows {
				small[i] = p99
			} else {
				large[i] = p99
			}
		}
		if rows == smallRows {
			if err := h.stop(); err != nil {
				return err
			}
			continue
		}
		if err := reportSize(ctx, o, h, rows, r); err != nil {
			return err
		}
	}
	for i, rg := range ranges {
		r.add(figure{Name: "uncached dashboard, range " + rg.name, Unit: "p99 ms", Floor: ms(small[i]), Hearth: ms(large[i]), Goal: "≤ 1.5",
			Against: fmt.Sprintf("%d rows ÷ %d rows", o.rows, smallRows), Note: "floor column: the small history"})
	}
	return nil
}

// reportSize stops the filled server, measures its files, and starts it again to see how long that takes.
func reportSize(ctx context.Context, o options, h *hearth, rows int, r *report) error {
	now, peak := h.memory()
	if err := h.stop(); err != nil {
		return err
	}
	r.add(figure{Name: "disk a row", Unit: "bytes", Hearth: float64(h.diskBytes()) / float64(rows), Note: fmt.Sprintf("%d rows", rows)})
	r.add(figure{Name: "memory with the large history", Unit: "MiB", Hearth: now, Note: fmt.Sprintf("peak %.0f MiB", peak)})
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	again, err := startHearth(ctx, o, addr, h.dir)
	if err != nil {
		return err
	}
	r.add(figure{Name: "start with the large history", Unit: "ms", Hearth: ms(again.started)})
	return again.stop()
}

// fillHearth starts a hearth with that many logs of 1,000 devices, spread evenly over the history.
func fillHearth(ctx context.Context, o options, dir string, rows int) (*hearth, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	ids, err := h.devices(1000)
	if err != nil {
		return nil, errors.Join(err, h.stop())
	}
	step := history / time.Duration(rows/len(ids))
	start := time.Now().UTC().Add(-history).Truncate(time.Millisecond)
	rng := rand.New(rand.NewPCG(3, 4))
	client := &fasthttp.Client{ReadTimeout: time.Minute}
	for n := range rows / batchRows {
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, h.stop())
		}
		if err := postBatch(client, h, batchBody(ids, n, start, step, rng)); err != nil {
			return nil, errors.Join(err, h.stop())
		}
		if n%50 == 0 {
			fmt.Fprintf(os.Stderr, "\r%d of %d rows", n*batchRows, rows)
		}
	}
	fmt.Fprintln(os.Stderr)
	return h, nil
}

func dashboardP99(ctx context.Context, o options, h *hearth, length time.Duration) (time.Duration, error) {
	end := time.Now().UTC()
	got, err := load{url: h.url, clients: 1, length: o.seconds * 2, status: 200, next: request("GET", h.token, func(_, n int) string {
		to := end.Add(-time.Duration(n) * time.Millisecond)
		q := url.Values{"from": {to.Add(-length).Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}
		return "/api/v1/analytics/dashboard?" + q.Encode()
	}, nil)}.run(ctx)
	return got.p99, err
}
