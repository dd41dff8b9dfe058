package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/valyala/fasthttp"
)

// measureObserving: what counting costs the busiest route. Two servers, one that counts and is scraped after each turn and one that does
// not count, take turns; the first of a pair changes from round to round, and the median of the pairs' ratios counts.
func measureObserving(ctx context.Context, o options, dir string, r *report) (err error) {
	admin, err := freeAddr()
	if err != nil {
		return err
	}
	var servers [2]*hearth
	var loads [2]*load
	for i, env := range [][]string{{"HEARTH_METRICS=true", "HEARTH_ADMIN_ADDR=" + admin}, {"HEARTH_METRICS=false"}} {
		h, err := launchHearth(ctx, o, filepath.Join(dir, fmt.Sprint(i)), env...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, h.stop()) }()
		ids, err := h.devices(1000)
		if err != nil {
			return err
		}
		servers[i] = h
		loads[i] = &load{url: h.url, clients: o.connections, length: o.seconds, status: 200, next: request("POST", h.token,
			func(c, n int) string { return "/api/v1/devices/" + ids[(c*131+n)%len(ids)] + "/heartbeat" },
			func(int, int) []byte { return []byte(`{"status":"active"}`) })}
	}
	var rates [2][]float64
	var ratios []float64
	for round := range 2*o.rounds + 1 {
		var pair [2]float64
		for turn := range 2 {
			side := (round + turn) % 2
			got, err := loads[side].run(ctx)
			if err != nil {
				return err
			}
			pair[side] = got.perSecond
			if side == 0 {
				if err := scrapeOnce(admin); err != nil {
					return err
				}
			}
		}
		if round == 0 {
			continue // both are warm from here on
		}
		rates[0], rates[1] = append(rates[0], pair[0]), append(rates[1], pair[1])
		ratios = append(ratios, pair[0]/pair[1])
	}
	r.add(figure{Name: "heartbeats, counted ÷ not counted", Unit: "requests/s", Floor: median(rates[1]), Hearth: median(rates[0]), Goal: "≥ 0.97",
		Note: fmt.Sprintf("floor: HEARTH_METRICS=false; median ratio of %d pairs %.3f", len(ratios), median(ratios))})
	return nil
}

func scrapeOnce(admin string) error {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != fasthttp.StatusOK {
		return fmt.Errorf("GET /metrics: %d", resp.StatusCode)
	}
	return nil
}
