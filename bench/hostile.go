package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// hostilePace is the time from one request of the offender to the next: the default limit of a device.
	hostilePace = 500 * time.Millisecond
	// hostileLogs is the number of logs of its batches: the most that one may have.
	hostileLogs = 10_000
	// neighbours are the clients that others are, neighbourPace the time from one request of each to the next.
	neighbours    = 8
	neighbourPace = 25 * time.Millisecond
)

// hostility is a way to send data that costs more than it looks.
type hostility struct {
	name string
	// path is empty for POST /logs.
	path string
	body func(*offender, int) []byte
}

// offender is one account, with its devices, that sends it.
type offender struct {
	hearth
	ids []string
	rng *rand.Rand
}

// logs returns a batch, of which line writes each log after its device.
func (o *offender) logs(device func(i int) int, line func(dst []byte, i int) []byte) []byte {
	body := append(make([]byte, 0, hostileLogs*130), '[')
	for i := range hostileLogs {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, `{"device_id":"`...), o.ids[device(i)%len(o.ids)]...), '"')
		body = append(line(body, i), '}')
	}
	return append(body, ']')
}

func first(int) int { return 0 }

func appendLog(dst []byte, event string, value float64, at time.Time) []byte {
	dst = append(append(append(dst, `,"event":"`...), event...), `","value":`...)
	dst = append(strconv.AppendFloat(dst, value, 'g', -1, 64), `,"timestamp":"`...)
	return append(at.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z"), '"')
}

// ago returns a random time of the last years.
func (o *offender) ago(years int) time.Time {
	return time.Now().Add(-time.Duration(o.rng.Int64N(int64(years) * 365 * 24 * int64(time.Hour))))
}

var hostilities = []hostility{
	{name: "an event name for each log", body: func(o *offender, n int) []byte {
		return o.logs(first, func(dst []byte, i int) []byte { return appendLog(dst, fmt.Sprintf("e.%d.%d", n, i), 1, time.Now()) })
	}},
	{name: "one event at random times of 50 years", body: func(o *offender, _ int) []byte {
		return o.logs(first, func(dst []byte, _ int) []byte { return appendLog(dst, "t", o.rng.Float64(), o.ago(50)) })
	}},
	{name: "100 events at random times of 50 years", body: func(o *offender, _ int) []byte {
		return o.logs(first, func(dst []byte, i int) []byte {
			return appendLog(dst, "m."+strconv.Itoa(i%100), o.rng.Float64(), o.ago(50))
		})
	}},
	{name: "1,000 devices at random times of a year", body: func(o *offender, _ int) []byte {
		return o.logs(func(i int) int { return i }, func(dst []byte, _ int) []byte { return appendLog(dst, "t", o.rng.Float64(), o.ago(1)) })
	}},
	{name: "each batch older than the one before", body: func(o *offender, n int) []byte {
		start := time.Now().Add(-time.Duration(n+1) * hostileLogs * time.Minute)
		return o.logs(first, func(dst []byte, i int) []byte {
			return appendLog(dst, "back", float64(i), start.Add(time.Duration(i)*time.Minute))
		})
	}},
	{name: "all at one millisecond", body: func(o *offender, _ int) []byte {
		at := time.Now().Add(-time.Hour)
		return o.logs(first, func(dst []byte, i int) []byte { return appendLog(dst, "same", float64(i%7), at) })
	}},
	{name: "values of random bits", body: func(o *offender, _ int) []byte {
		return o.logs(func(i int) int { return i }, func(dst []byte, i int) []byte {
			value := math.Float64frombits(o.rng.Uint64())
			if !(math.Abs(value) <= 1e300) {
				value = 1e300
			}
			return appendLog(dst, "bits."+strconv.Itoa(i%10), value, time.Now())
		})
	}},
	{name: "strings of 256 characters, all different", body: func(o *offender, n int) []byte {
		tail := strings.Repeat("é", 240)
		return o.logs(first, func(dst []byte, i int) []byte {
			return fmt.Appendf(dst, `,"event":"text","value":"%06d.%08d.%s"`, n, i, tail)
		})
	}},
	{name: "types that change from log to log", body: func(o *offender, _ int) []byte {
		values := []string{"1", "true", `"on"`, "2.5"}
		return o.logs(first, func(dst []byte, i int) []byte {
			return append(append(dst, `,"event":"kind","value":`...), values[i%len(values)]...)
		})
	}},
	{name: "duplicates=skip over 50 years", path: "/logs?duplicates=skip", body: func(o *offender, _ int) []byte {
		return o.logs(first, func(dst []byte, _ int) []byte { return appendLog(dst, "t", o.rng.Float64(), o.ago(50)) })
	}},
	{name: "every log refused", body: func(o *offender, _ int) []byte {
		return o.logs(first, func(dst []byte, _ int) []byte { return append(dst, `,"event":"no spaces","value":1e999`...) })
	}},
	{name: "16 MiB of empty objects", body: func(*offender, int) []byte {
		return append(append([]byte{'['}, strings.Repeat("{},", 5_000_000)...), "{}]"...)
	}},
	{name: "1,000 devices of 16 KiB of metadata", path: "/devices/batch", body: func(*offender, int) []byte {
		item := `{"name":"fat","type":"t","metadata":{"a":"` + strings.Repeat("x", 900) + `"}}`
		return []byte(`{"items":[` + strings.Repeat(item+",", 999) + item + `]}`)
	}},
	{name: "a command for each of 1,000 devices", path: "/commands", body: func(o *offender, _ int) []byte {
		return []byte(`{"device_ids":["` + strings.Join(o.ids, `","`) + `"],"name":"blink"}`)
	}},
	{name: "a heartbeat of each of 1,000 devices", path: "/heartbeats", body: func(o *offender, _ int) []byte {
		return []byte(`{"items":[{"device_id":"` + strings.Join(o.ids, `","status":"error"},{"device_id":"`) + `","status":"active"}]}`)
	}},
}

// measureHostile: what others wait for while one account sends what costs most, next to what they wait for alone.
func measureHostile(ctx context.Context, o options, dir string, r *report) (err error) {
	for i, s := range hostilities {
		if !o.wants(fmt.Sprintf("hostile-%d", i+1)) {
			continue
		}
		if err := measureHostility(ctx, o, fmt.Sprintf("%s/%d", dir, i), s, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func measureHostility(ctx context.Context, o options, dir string, s hostility, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(neighbours)
	if err != nil {
		return err
	}
	bad := &offender{hearth: hearth{process: h.process, dir: h.dir}, rng: rand.New(rand.NewPCG(1, 2))}
	if err := bad.signUpAs("offender@example.com"); err != nil {
		return err
	}
	if bad.ids, err = bad.devices(1000); err != nil {
		return err
	}
	var alone, beside []time.Duration
	accepted, refused := 0, 0
	for round := range o.rounds {
		quiet, err := h.neighbours(ctx, ids, o.seconds)
		if err != nil {
			return err
		}
		alone = append(alone, quiet...)
		bodies := make([][]byte, max(1, int(o.seconds/hostilePace)))
		for i := range bodies {
			bodies[i] = s.body(bad, round*len(bodies)+i)
		}
		var wg sync.WaitGroup
		var ok, no int
		var failure error
		wg.Go(func() { ok, no, failure = bad.send(ctx, s, bodies) })
		loud, err := h.neighbours(ctx, ids, o.seconds)
		wg.Wait()
		if err = errors.Join(err, failure); err != nil {
			return err
		}
		beside = append(beside, loud...)
		accepted, refused = accepted+ok, refused+no
	}
	slices.Sort(alone)
	slices.Sort(beside)
	quiet, loud := ms(alone[len(alone)*99/100]), ms(beside[len(beside)*99/100])
	_, peak := h.memory()
	r.add(figure{Name: "neighbours' p99: " + s.name, Unit: "ms", Floor: quiet, Hearth: loud, Goal: "≤ 3", Note: fmt.Sprintf(
		"%d requests accepted, %d refused; slowest %.0f ms; memory up to %.0f MiB", accepted, refused, ms(beside[len(beside)-1]), peak)})
	return nil
}

// send sends the bodies at the offender's pace, and counts what was accepted and refused.
func (o *offender) send(ctx context.Context, s hostility, bodies [][]byte) (accepted, refused int, err error) {
	path := s.path
	if path == "" {
		path = "/logs"
	}
	client := &fasthttp.Client{ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	start := time.Now()
	for i, body := range bodies {
		time.Sleep(time.Until(start.Add(time.Duration(i) * hostilePace)))
		if ctx.Err() != nil || time.Since(start) > time.Duration(len(bodies))*hostilePace {
			break
		}
		req.SetRequestURI(o.url + "/api/v1" + path)
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/json")
		req.Header.Set("Authorization", "Bearer "+o.token)
		req.SetBodyRaw(body)
		err := client.Do(req, resp)
		switch code := resp.StatusCode(); {
		case err != nil: // the server has refused it before it was read
			refused++
		case code < 300:
			accepted++
		case code < 500 || code == 503 || code == 507:
			refused++
		default:
			return accepted, refused, fmt.Errorf("%d %.300s", code, resp.Body())
		}
	}
	return accepted, refused, nil
}

// neighbours sends heartbeats and single logs, in turn, at a steady pace, and returns how long each took from when it was due.
func (h *hearth) neighbours(ctx context.Context, ids []string, length time.Duration) ([]time.Duration, error) {
	client := &fasthttp.HostClient{Addr: h.url[len("http://"):], MaxConns: neighbours, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	defer client.CloseIdleConnections()
	took := make([][]time.Duration, neighbours)
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	start := time.Now()
	for c := range neighbours {
		wg.Go(func() {
			req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			due := start.Add(time.Duration(c) * neighbourPace / neighbours)
			for n := c; time.Since(start) < length && ctx.Err() == nil; n++ {
				time.Sleep(time.Until(due))
				path, body, status := "/heartbeat", `{}`, 200
				if n%2 == 0 {
					path, body, status = "/logs", `{"event":"temperature","value":21.5}`, 201
				}
				req.Reset()
				req.SetRequestURI(h.url + "/api/v1/devices/" + ids[c] + path)
				req.Header.SetMethod("POST")
				req.Header.SetContentType("application/json")
				req.Header.Set("Authorization", "Bearer "+h.token)
				req.SetBodyString(body)
				err := client.Do(req, resp)
				if err == nil && resp.StatusCode() != status {
					err = fmt.Errorf("a neighbour's %s: %d %.300s", path, resp.StatusCode(), resp.Body())
				}
				if err != nil {
					failure.CompareAndSwap(nil, &err)
					return
				}
				took[c] = append(took[c], time.Since(due))
				due = due.Add(neighbourPace)
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	return slices.Concat(took...), nil
}
