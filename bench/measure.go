package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// request gives a function that fills in the same kind of request each time.
func request(method, token string, path func(client, n int) string, body func(client, n int) []byte) func(int, int, *fasthttp.Request) {
	return func(client, n int, req *fasthttp.Request) {
		req.Header.SetMethod(method)
		req.URI().SetPath("")
		req.URI().Update(path(client, n))
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if body != nil {
			req.Header.SetContentType("application/json")
			req.SetBodyRaw(body(client, n))
		}
	}
}

// trio is the three servers of a section.
type trio struct {
	floor, peer *process
	access      peerAccess
	hearth      *hearth
	ids         []string
}

func launchTrio(ctx context.Context, o options, dir string, devices int) (t trio, stop func() error, err error) {
	var running []interface{ stop() error }
	stop = func() error {
		var errs []error
		for _, p := range running {
			errs = append(errs, p.stop())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	if t.floor, err = launchFloor(ctx); err != nil {
		return t, stop, err
	}
	running = append(running, t.floor)
	if t.peer, t.access, err = launchPeer(ctx, dir); err != nil {
		return t, stop, err
	}
	running = append(running, t.peer)
	if t.hearth, err = launchHearth(ctx, o, dir); err != nil {
		return t, stop, err
	}
	running = append(running, t.hearth)
	t.ids, err = t.hearth.devices(devices)
	return t, stop, err
}

// measureHeartbeats: signs of life one by one, each acknowledged when it is durable, from o.connections clients.
func measureHeartbeats(ctx context.Context, o options, dir string, r *report) (err error) {
	t, stop, err := launchTrio(ctx, o, dir, 1000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	path := func(c, n int) string {
		return "/api/v1/devices/" + t.ids[(c*131+n)%len(t.ids)] + "/heartbeat"
	}
	body := []byte(`{"status":"active"}`)
	beat := func(int, int) []byte { return body }
	side := func(url string, next func(int, int, *fasthttp.Request)) *load {
		return &load{url: url, clients: o.connections, length: o.seconds, next: next, status: 200}
	}
	before := t.hearth.cpu()
	floor, peer, mine, err := sides{
		floor: side(t.floor.url, request("POST", t.hearth.token, path, beat)),
		peer: side(t.peer.url, request("PATCH", t.access.Token, func(int, int) string {
			return "/api/collections/devices/records/" + t.access.Device
		}, beat)),
		hearth: side(t.hearth.url, request("POST", t.hearth.token, path, beat)),
	}.rounds(ctx, o.rounds)
	if err != nil {
		return err
	}
	now, peak := t.hearth.memory()
	r.add(figure{Name: "heartbeats", Unit: "requests/s", Floor: floor, Peer: peer, Hearth: mine, Goal: "≥ 0.35",
		Note: "floor: bare net/http handler, nothing stored"})
	r.add(t.hearth.processorTime(o, "heartbeat", before, mine))
	r.add(figure{Name: "start until ready", Unit: "ms", Peer: ms(t.peer.started), Hearth: ms(t.hearth.started)})
	r.add(figure{Name: "memory after heartbeats", Unit: "MiB", Hearth: now, Note: fmt.Sprintf("peak %.0f MiB", peak)})
	return nil
}

// measureTwins: patches of twins one by one, each a new version that is durable before it is acknowledged. Those of the desired
// state are audited too.
func measureTwins(ctx context.Context, o options, dir string, r *report) (err error) {
	t, stop, err := launchTrio(ctx, o, dir, 1000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	device := func(c, n int) string { return "/api/v1/devices/" + t.ids[(c*131+n)%len(t.ids)] }
	side := func(url string, next func(int, int, *fasthttp.Request)) *load {
		return &load{url: url, clients: o.connections, length: o.seconds, next: next, status: 200}
	}
	for _, state := range []string{"reported", "desired"} {
		before := t.hearth.cpu()
		floor, _, mine, err := sides{
			floor: side(t.floor.url, request("POST", t.hearth.token, func(c, n int) string { return device(c, n) + "/heartbeat" },
				func(int, int) []byte { return []byte(`{"status":"active"}`) })),
			hearth: side(t.hearth.url, request("PATCH", t.hearth.token, func(c, n int) string { return device(c, n) + "/twin/" + state },
				func(c, n int) []byte { return fmt.Appendf(nil, `{"level":%d,"by":%d}`, n, c) })),
		}.rounds(ctx, o.rounds)
		if err != nil {
			return err
		}
		r.add(figure{Name: "twin patches, " + state, Unit: "requests/s", Floor: floor, Hearth: mine, Goal: "≥ 0.35",
			Note: "floor: bare net/http handler, nothing stored"})
		r.add(t.hearth.processorTime(o, "patch, "+state, before, mine))
	}
	return nil
}

// measurePosts: logs one by one, each durable before it is acknowledged.
func measurePosts(ctx context.Context, o options, dir string, r *report) (err error) {
	t, stop, err := launchTrio(ctx, o, dir, 1000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	bare, err := openBareLoop(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.db.Close()) }()
	var floors []float64
	for range o.rounds {
		began, n := time.Now(), 0
		for ; time.Since(began) < o.seconds; n++ {
			if err := bare.insert(ctx, []row{{int64(n % 1000), "temperature", 21.5, time.Now().UnixMilli()}}); err != nil {
				return err
			}
		}
		floors = append(floors, float64(n)/time.Since(began).Seconds())
	}
	before := t.hearth.cpu()
	_, peer, mine, err := sides{
		peer: &load{url: t.peer.url, clients: o.connections, length: o.seconds, status: 200, next: request("POST", t.access.Token,
			func(int, int) string { return "/api/collections/telemetry/records" },
			func(c, n int) []byte {
				return fmt.Appendf(nil, `{"device":"%d","event":"temperature","value":%d.5,"at":"2026-03-01 12:00:00.000Z"}`, c, n%40)
			})},
		hearth: &load{url: t.hearth.url, clients: o.connections, length: o.seconds, status: 201, next: request("POST", t.hearth.token,
			func(c, n int) string { return "/api/v1/devices/" + t.ids[(c*131+n)%len(t.ids)] + "/logs" },
			func(_, n int) []byte { return fmt.Appendf(nil, `{"event":"temperature","value":%d.5}`, n%40) })},
	}.rounds(ctx, o.rounds)
	if err != nil {
		return err
	}
	r.add(figure{Name: "single durable log posts", Unit: "requests/s", Floor: median(floors), Peer: peer, Hearth: mine,
		Note: "floor: bare SQLite loop, one fsynced row at a time"})
	r.add(t.hearth.processorTime(o, "log", before, mine))
	return nil
}

// processorTime is what the server has taken since before for each of the requests that it answered at a rate in all rounds.
func (h *hearth) processorTime(o options, name string, before time.Duration, perSecond float64) figure {
	requests := perSecond * o.seconds.Seconds() * float64(o.rounds)
	return figure{Name: "processor time of the server for a " + name, Unit: "µs", Hearth: 1e6 * (h.cpu() - before).Seconds() / requests}
}

const batchRows = 5000

// batchBody writes the JSON of a batch: rows of all devices in turn, each device's times moving on by step.
func batchBody(ids []string, n int, start time.Time, step time.Duration, rng *rand.Rand) []byte {
	return batchOf(ids, n, start, step, func(body []byte) []byte {
		return strconv.AppendFloat(append(body, `"temperature","value":`...), 20+float64(rng.IntN(800))/100, 'f', 2, 64)
	})
}

// modes are what a device says that it does: the strings of a batch.
var modes = []string{"off", "idle", "heating", "cooling", "defrosting", "fault: the fan stands still"} // never written to

// textBody is batchBody with strings.
func textBody(ids []string, n int, start time.Time, step time.Duration, rng *rand.Rand) []byte {
	return batchOf(ids, n, start, step, func(body []byte) []byte {
		return strconv.AppendQuote(append(body, `"mode","value":`...), modes[rng.IntN(len(modes))])
	})
}

// batchOf is a batch whose logs have the event and the value that add appends.
func batchOf(ids []string, n int, start time.Time, step time.Duration, add func([]byte) []byte) []byte {
	body := make([]byte, 0, batchRows*130)
	body = append(body, '[')
	for i := range batchRows {
		k := n*batchRows + i
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"device_id":"`...)
		body = append(body, ids[k%len(ids)]...)
		body = add(append(body, `","event":`...))
		body = append(body, `,"timestamp":"`...)
		body = start.Add(time.Duration(k/len(ids))*step).AppendFormat(body, "2006-01-02T15:04:05.000Z07:00")
		body = append(body, `"}`...)
	}
	return append(body, ']')
}

func bareRows(devices, n int, start time.Time, step time.Duration, rng *rand.Rand) []row {
	rows := make([]row, batchRows)
	for i := range rows {
		k := n*batchRows + i
		rows[i] = row{int64(k % devices), "temperature", 20 + float64(rng.IntN(800))/100, start.Add(time.Duration(k/devices) * step).UnixMilli()}
	}
	return rows
}

// measureBatches: rows by batches of 5,000 over HTTP from one client, beside a bare loop that gets them for free.
func measureBatches(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(1000)
	if err != nil {
		return err
	}
	bare, err := openBareLoop(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.db.Close()) }()
	start := time.Now().UTC().Add(-30 * 24 * time.Hour)
	const step = time.Minute
	rng := rand.New(rand.NewPCG(1, 2))
	var floors, mine, texts []float64
	batch, bareBatch, textBatch := 0, 0, 0
	client := &fasthttp.Client{}
	post := func(batch *int, body func([]string, int, time.Time, time.Duration, *rand.Rand) []byte) (perSecond float64, err error) {
		rows, spent := 0, time.Duration(0)
		for began := time.Now(); time.Since(began) < o.seconds; rows += batchRows {
			made := body(ids, *batch, start, step, rng)
			*batch++
			sent := time.Now()
			if err := postBatch(client, h, made); err != nil {
				return 0, err
			}
			spent += time.Since(sent)
		}
		return float64(rows) / spent.Seconds(), nil
	}
	for range o.rounds {
		began, rows := time.Now(), 0
		var spent time.Duration
		for time.Since(began) < o.seconds {
			made := bareRows(len(ids), bareBatch, start, step, rng)
			bareBatch++
			insert := time.Now()
			if err := bare.insert(ctx, made); err != nil {
				return err
			}
			spent += time.Since(insert)
			rows += batchRows
		}
		floors = append(floors, float64(rows)/spent.Seconds())

		numbers, err := post(&batch, batchBody)
		if err != nil {
			return err
		}
		strings, err := post(&textBatch, textBody)
		if err != nil {
			return err
		}
		mine, texts = append(mine, numbers), append(texts, strings)
	}
	r.add(figure{Name: "batches of 5,000", Unit: "rows/s", Floor: median(floors), Hearth: median(mine), Goal: "≥ 0.7",
		Note: "floor: bare SQLite loop in process; hearth: JSON over HTTP, one client"})
	r.add(figure{Name: "batches of 5,000 strings", Unit: "rows/s", Floor: median(mine), Hearth: median(texts), Goal: "≥ 0.6",
		Note: "floor: the batches of numbers"})
	return nil
}

func postBatch(client *fasthttp.Client, h *hearth, body []byte) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(h.url + "/api/v1/logs")
	req.Header.SetMethod("POST")
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+h.token)
	req.SetBodyRaw(body)
	if err := client.Do(req, resp); err != nil {
		return err
	}
	if resp.StatusCode() != 201 {
		return fmt.Errorf("POST /logs: %d %.300s", resp.StatusCode(), resp.Body())
	}
	return nil
}

// measureList: the first page of a list of 1,000 devices, which the caches hold.
func measureList(ctx context.Context, o options, dir string, r *report) (err error) {
	t, stop, err := launchTrio(ctx, o, dir, 1000)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	get := func(url, token, path string) *load {
		return &load{url: url, clients: o.connections, length: o.seconds, status: 200,
			next: request("GET", token, func(int, int) string { return path }, nil)}
	}
	floor, peer, mine, err := sides{
		floor:  get(t.floor.url, t.hearth.token, "/api/v1/devices"),
		peer:   get(t.peer.url, t.access.Token, "/api/collections/devices/records?perPage=50"),
		hearth: get(t.hearth.url, t.hearth.token, "/api/v1/devices"),
	}.rounds(ctx, o.rounds)
	if err != nil {
		return err
	}
	r.add(figure{Name: "cached device list (50 of 1,000)", Unit: "requests/s", Floor: floor, Peer: peer, Hearth: mine,
		Note: "floor: bare handler encoding the same list"})
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
