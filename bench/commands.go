package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// latencyDevices is the number of devices with which the way of a command is timed: few enough that none queues for the processor.
const latencyDevices = 8

// measureCommands: a user sends each device its next command as soon as the last one is answered; the device waits in a poll and
// answers at once. Each command is durable before it is acknowledged, and so is its answer.
func measureCommands(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(max(o.connections, latencyDevices))
	if err != nil {
		return err
	}
	tokens := make([]string, len(ids))
	for i, id := range ids {
		var made struct {
			Token string `json:"token"`
		}
		if err := h.call("POST", "/devices/"+id+"/tokens", nil, &made); err != nil {
			return err
		}
		tokens[i] = made.Token
	}
	var rates, p50s, p99s, costs []float64
	for range o.rounds {
		few, err := h.sendCommands(ctx, o.seconds, ids[:latencyDevices], tokens)
		if err != nil {
			return err
		}
		before := h.cpu()
		many, err := h.sendCommands(ctx, o.seconds, ids, tokens)
		if err != nil {
			return err
		}
		costs = append(costs, 1e6*(h.cpu()-before).Seconds()/(many.perSecond*o.seconds.Seconds()))
		rates, p50s, p99s = append(rates, many.perSecond), append(p50s, ms(few.p50)), append(p99s, ms(few.p99))
	}
	note := fmt.Sprintf("%d devices", latencyDevices)
	r.add(figure{Name: "command from POST to a waiting poll, p50", Unit: "ms", Hearth: median(p50s), Note: note})
	r.add(figure{Name: "command from POST to a waiting poll, p99", Unit: "ms", Hearth: median(p99s), Goal: "≤ 20", Note: note})
	r.add(figure{Name: "commands sent, polled and answered", Unit: "commands/s", Hearth: median(rates), Goal: "≥ 3000",
		Note: fmt.Sprintf("%d devices, each with the next command once the last is answered", len(ids))})
	r.add(figure{Name: "processor time of the server for a command", Unit: "µs", Hearth: median(costs), Note: "post, poll and result, each durable"})
	return nil
}

// sendCommands measures from the POST to the answer of the poll, and counts whole rounds.
func (h *hearth) sendCommands(ctx context.Context, length time.Duration, ids, tokens []string) (loaded, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	client := &fasthttp.HostClient{Addr: h.url[len("http://"):], MaxConns: 2*len(ids) + 8, ReadTimeout: 40 * time.Second, WriteTimeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var failure atomic.Pointer[error]
	fail := func(err error) {
		failure.CompareAndSwap(nil, &err)
		cancel()
	}
	latencies := make([][]time.Duration, len(ids))
	var wg sync.WaitGroup
	start := time.Now()
	for i, id := range ids {
		path := h.url + "/api/v1/devices/" + id + "/commands"
		arrived := make(chan time.Time)
		wg.Go(func() { // the device
			defer close(arrived)
			for ctx.Err() == nil {
				var command struct {
					ID string `json:"id"`
				}
				status, err := ask(client, "GET", path+"/next?wait=1s", tokens[i], "", &command)
				if err != nil {
					fail(err)
					return
				}
				if status == 204 {
					continue
				}
				at := time.Now()
				if status, err = ask(client, "POST", path+"/"+command.ID+"/result", tokens[i], `{"ok":true}`, nil); err != nil || status != 204 {
					fail(errors.Join(fmt.Errorf("a result is answered with %d", status), err))
					return
				}
				arrived <- at
			}
		})
		wg.Go(func() { // the user
			for ctx.Err() == nil {
				began := time.Now()
				if status, err := ask(client, "POST", path, h.token, `{"name":"set-level","params":{"level":3}}`, nil); err != nil || status != 202 {
					fail(errors.Join(fmt.Errorf("a command is answered with %d", status), err))
					break
				}
				if at, ok := <-arrived; ok {
					latencies[i] = append(latencies[i], at.Sub(began))
				}
			}
			for range arrived { // lets the device end
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
		return loaded{}, fmt.Errorf("no command was answered in %s", length)
	}
	slices.Sort(all)
	return loaded{perSecond: float64(len(all)) / took.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}

// ask makes a request and decodes the answer, if there is one.
func ask(client *fasthttp.HostClient, method, url, token, body string, into any) (status int, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(url)
	req.Header.SetMethod(method)
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.SetContentType("application/json")
		req.SetBodyString(body)
	}
	if err := client.Do(req, resp); err != nil {
		return 0, err
	}
	if into != nil && resp.StatusCode() == 200 {
		err = json.Unmarshal(resp.Body(), into)
	}
	return resp.StatusCode(), err
}
