package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/crypto/bcrypt"
)

const (
	// beatsPerSecond is the load that logins must not slow down; loginsPerSecond are asked for beside it. Passwords are
	// hashed at the cost of the defaults, about 50 ms each, so that two processors cannot do them all: what is over is
	// queued or refused, and devices must not notice.
	beatsPerSecond  = 500
	loginsPerSecond = 50
)

// measureLogins: the p99 of heartbeats at a fixed rate, alone and while people sign in.
func measureLogins(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(1000)
	if err != nil {
		return err
	}
	const people = 20
	for n := range people {
		account := map[string]any{"name": "Bench", "email": fmt.Sprintf("bench%d@example.com", n), "password": "a bench password 1"}
		if err := h.call("POST", "/auth/signup", account, nil); err != nil {
			return err
		}
	}
	beat := request("POST", h.token, func(c, n int) string { return "/api/v1/devices/" + ids[(c*131+n)%len(ids)] + "/heartbeat" },
		func(int, int) []byte { return []byte(`{"status":"active"}`) })
	var alone, beside, burning []float64
	var done, refused atomic.Int64
	for range o.rounds {
		quiet, err := paced{url: h.url, perSecond: beatsPerSecond, clients: 32, length: o.seconds, next: beat}.run(ctx)
		if err != nil {
			return err
		}
		busy, err := besideLogins(ctx, o, h, beat, func(status int) error {
			switch status {
			case http.StatusOK:
				done.Add(1)
			case http.StatusServiceUnavailable:
				refused.Add(1)
			default:
				return fmt.Errorf("a login was answered %d", status)
			}
			return nil
		})
		if err != nil {
			return err
		}
		// What any other program does to the machine that keeps one processor busy in the same way.
		burner, err := launchBurner(ctx)
		if err != nil {
			return err
		}
		burnt, err := paced{url: h.url, perSecond: beatsPerSecond, clients: 32, length: o.seconds, next: beat}.run(ctx)
		if err := errors.Join(err, burner()); err != nil {
			return err
		}
		alone, beside, burning = append(alone, ms(quiet)), append(beside, ms(busy)), append(burning, ms(burnt))
	}
	measured := float64(o.rounds) * o.seconds.Seconds()
	r.add(figure{
		Name: "p99 of heartbeats while people sign in", Unit: "ms", Floor: median(alone), Hearth: median(beside), Goal: "≤ 2",
		Against: "without logins",
		Note: fmt.Sprintf("%d heartbeats/s; of %d logins/s asked for %.0f/s were done and %.0f/s refused (503)", beatsPerSecond, loginsPerSecond,
			float64(done.Load())/measured, float64(refused.Load())/measured),
	})
	r.add(figure{
		Name: "p99 of heartbeats beside another program", Unit: "ms", Floor: median(alone), Hearth: median(burning), Against: "without it",
		Note: "a process of its own hashes passwords on one processor, as logins do inside hearth",
	})
	return nil
}

// launchBurner starts a process that hashes passwords, one after another; stop ends it.
func launchBurner(ctx context.Context) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "burn")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, and says so
		return err
	}, nil
}

// burn hashes passwords until the process is killed.
func burn() error {
	for {
		if _, err := bcrypt.GenerateFromPassword([]byte("a bench password 1"), bcrypt.DefaultCost); err != nil {
			return err
		}
	}
}

// besideLogins gives the p99 of heartbeats while logins go on.
func besideLogins(
	ctx context.Context, o options, h *hearth, beat func(int, int, *fasthttp.Request), count func(status int) error,
) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- signIn(ctx, h.url, count) }()
	p99, err := paced{url: h.url, perSecond: beatsPerSecond, clients: 32, length: o.seconds, next: beat}.run(ctx)
	cancel()
	return p99, errors.Join(err, <-ended)
}

// signIn begins loginsPerSecond logins until ctx ends, whether or not those before are answered.
func signIn(ctx context.Context, url string, count func(status int) error) error {
	ticker := time.NewTicker(time.Second / loginsPerSecond)
	defer ticker.Stop()
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			wg.Wait()
			if err := failure.Load(); err != nil {
				return *err
			}
			return nil
		case <-ticker.C:
		}
		wg.Go(func() {
			body := fmt.Appendf(nil, `{"email":"bench%d@example.com","password":"a bench password 1"}`, n%20)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/auth/login", bytes.NewReader(body))
			if err == nil {
				req.Header.Set("Content-Type", "application/json")
				var resp *http.Response
				if resp, err = http.DefaultClient.Do(req); err == nil {
					_ = resp.Body.Close()
					err = count(resp.StatusCode)
				}
			}
			if err != nil && ctx.Err() == nil {
				failure.CompareAndSwap(nil, &err)
			}
		})
	}
}

// paced is a load at a fixed rate: latencies count from when a request was due, so that waiting for a client counts.
type paced struct {
	url       string
	perSecond int
	clients   int
	length    time.Duration
	status    int // that counts; 0 is 200
	next      func(client, n int, req *fasthttp.Request)
}

// run gives the p99.
func (p paced) run(ctx context.Context) (time.Duration, error) {
	client := &fasthttp.HostClient{Addr: p.url[len("http://"):], MaxConns: p.clients + 8, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	latencies := make([][]time.Duration, p.clients)
	failures := make([]error, p.clients)
	step := time.Second * time.Duration(p.clients) / time.Duration(p.perSecond)
	var wg sync.WaitGroup
	start := time.Now()
	for c := range p.clients {
		wg.Go(func() {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(req)
			defer fasthttp.ReleaseResponse(resp)
			due := start.Add(step * time.Duration(c) / time.Duration(p.clients))
			for n := 0; due.Sub(start) < p.length && ctx.Err() == nil; n++ {
				time.Sleep(time.Until(due))
				req.Reset()
				req.SetRequestURI(p.url)
				p.next(c, n, req)
				err := client.Do(req, resp)
				if err == nil && resp.StatusCode() != cmp.Or(p.status, http.StatusOK) {
					err = fmt.Errorf("a request was answered %d %.300s", resp.StatusCode(), resp.Body())
				}
				if err != nil {
					failures[c] = err
					return
				}
				latencies[c] = append(latencies[c], time.Since(due))
				due = due.Add(step)
			}
		})
	}
	wg.Wait()
	all := slices.Concat(latencies...)
	if err := errors.Join(failures...); err != nil || len(all) == 0 {
		return 0, errors.Join(err, ctx.Err())
	}
	slices.Sort(all)
	return all[len(all)*99/100], nil
}
