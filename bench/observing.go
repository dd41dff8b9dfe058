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
// not count, take turns; the first of a pair changes from round to round, and medians count.
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
	var rates, costs [2][]float64
	for round := range 2*o.rounds + 1 {
		for turn := range 2 {
			side := (round + turn) % 2
			before := servers[side].cpu()
			got, err := loads[side].run(ctx)
			if err != nil {
				return err
			}
			spent := servers[side].cpu() - before
			if round > 0 { // both are warm from then on
				rates[side] = append(rates[side], got.perSecond)
				costs[side] = append(costs[side], spent.Seconds()*1e6/(got.perSecond*o.seconds.Seconds()))
			}
			if side == 0 {
				if err := scrapeOnce(admin); err != nil {
					return err
				}
			}
		}
	}
	r.add(figure{Name: "heartbeats, counted ÷ not counted", Unit: "requests/s", Floor: median(rates[1]), Hearth: median(rates[0]), Goal: "≥ 0.97",
		Note: "floor: HEARTH_METRICS=false"})
	r.add(figure{Name: "processor time of a heartbeat, counted ÷ not counted", Unit: "µs", Floor: median(costs[1]), Hearth: median(costs[0]), Goal: "≤ 1.03",
		Note: fmt.Sprintf("medians of %d turns each; where others use the machine, steadier than the rate", len(costs[0]))})
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
