package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// load is one measurement: so many clients, each sending its next request as soon as the one before is answered.
type load struct {
	url     string // scheme and host
	clients int
	length  time.Duration
	// next fills in the n-th request of a client.
	next func(client, n int, req *fasthttp.Request)
	// status is the one that counts; another ends the measurement.
	status int
}

// loaded is what came of it.
type loaded struct {
	perSecond float64
	p50, p99  time.Duration
}

// run measures.
func (l load) run(ctx context.Context) (loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, l.length)
	defer cancel()
	host := l.url[len("http://"):]
	client := &fasthttp.HostClient{Addr: host, MaxConns: l.clients + 8, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var failure atomic.Pointer[error]
	latencies := make([][]time.Duration, l.clients)
	var wg sync.WaitGroup
	start := time.Now()
	for c := range l.clients {
		wg.Go(func() {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(req)
			defer fasthttp.ReleaseResponse(resp)
			for n := 0; ctx.Err() == nil; n++ {
				req.Reset()
				req.SetRequestURI(l.url)
				l.next(c, n, req)
				began := time.Now()
				err := client.Do(req, resp)
				if err == nil && resp.StatusCode() != l.status {
					err = fmt.Errorf("%s %s: %d %.300s", req.Header.Method(), req.URI().Path(), resp.StatusCode(), resp.Body())
				}
				if err != nil {
					failure.CompareAndSwap(nil, &err)
					cancel()
					return
				}
				latencies[c] = append(latencies[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if err := failure.Load(); err != nil {
		return loaded{}, *err
	}
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return loaded{}, fmt.Errorf("nothing was answered in %s", l.length)
	}
	slices.Sort(all)
	return loaded{
		perSecond: float64(len(all)) / took.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// sides are measurements of the same thing that are taken in turn.
type sides struct{ floor, peer, hearth *load }

// rounds measures each side so many times, in turn, and gives the medians of the rates.
func (s sides) rounds(ctx context.Context, n int) (floor, peer, hearth float64, err error) {
	var rates [3][]float64
	for range n {
		for i, side := range []*load{s.floor, s.peer, s.hearth} {
			if side == nil {
				continue
			}
			got, err := side.run(ctx)
			if err != nil {
				return 0, 0, 0, err
			}
			rates[i] = append(rates[i], got.perSecond)
		}
	}
	return median(rates[0]), median(rates[1]), median(rates[2]), nil
}
