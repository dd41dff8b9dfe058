package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	alarmRules    = 1000
	alarmBatch    = 100
	alarmBatches  = 50 // a second: 5,000 logs
	silentDevices = 20_000
)

// measureAlarms: how long it takes from the POST of a log to the event of the alarm on a stream, what rules cost logs that no rule is
// about, and what silent devices cost.
func measureAlarms(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(alarmRules)
	if err != nil {
		return err
	}
	var without, other []float64
	for range o.rounds {
		got, err := h.ingest(ctx, o, ids)
		if err != nil {
			return err
		}
		without = append(without, got)
	}
	for i, id := range ids {
		if err := h.rule(fmt.Sprint("other ", i), id, `{"event":"other","operator":"gt","value":0}`); err != nil {
			return err
		}
	}
	for range o.rounds {
		got, err := h.ingest(ctx, o, ids)
		if err != nil {
			return err
		}
		other = append(other, got)
	}
	r.add(figure{Name: "logs with 1,000 rules that match none, by logs without rules", Hearth: median(other) / median(without), Goal: "≥ 0.9",
		Note: fmt.Sprintf("%.0f and %.0f logs/s", median(other), median(without))})
	for i, id := range ids {
		if err := h.rule(fmt.Sprint("t ", i), id, `{"event":"t","operator":"gt","value":0}`); err != nil {
			return err
		}
	}
	p50, p99, err := h.alarmLatency(ctx, o, ids)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d logs/s in batches of %d, one in %d raises or clears an alarm; %d rules", alarmBatch*alarmBatches, alarmBatch, alarmBatch, 2*alarmRules)
	r.add(figure{Name: "log to alarm event, p50", Unit: "ms", Hearth: ms(p50), Note: note})
	r.add(figure{Name: "log to alarm event, p99", Unit: "ms", Hearth: ms(p99), Goal: "≤ 100", Note: note})
	// Last: what waits to be judged then would delay the alarms.
	looked, err := h.ingest(ctx, o, ids)
	if err != nil {
		return err
	}
	r.add(figure{Name: "logs each of which a rule looks at and none meets, by logs without rules", Hearth: looked / median(without), Note: fmt.Sprintf("%.0f logs/s", looked)})
	return measureSilence(o, h, r)
}

func (h *hearth) rule(name, device, condition string) error {
	devices := "{}"
	if device != "" {
		devices = `{"ids":["` + device + `"]}`
	}
	return h.call("POST", "/rules", json.RawMessage(`{"name":"`+name+`","severity":"info","devices":`+devices+`,"condition":`+condition+`}`), nil)
}

// ingest returns how many logs a second are stored, in batches of 1,000.
func (h *hearth) ingest(ctx context.Context, o options, ids []string) (perSecond float64, err error) {
	const batch = 1000
	bodies := make([][]byte, 4)
	for i := range bodies {
		var b bytes.Buffer
		for n := range batch {
			fmt.Fprintf(&b, `{"device_id":%q,"event":"t","value":%d}`+"\n", ids[(i*batch+n)%len(ids)], -n)
		}
		bodies[i] = b.Bytes()
	}
	l := &load{url: h.url, clients: len(bodies), length: o.seconds, status: 201, next: func(client, n int, req *fasthttp.Request) {
		request("POST", h.token, func(int, int) string { return "/api/v1/logs" }, func(c, _ int) []byte { return bodies[c] })(client, n, req)
		req.Header.SetContentType("application/x-ndjson")
	}}
	got, err := l.run(ctx)
	return got.perSecond * batch, err
}

// alarmLatency posts logs at a steady rate, and reads the stream.
func (h *hearth) alarmLatency(ctx context.Context, o options, ids []string) (p50, p99 time.Duration, err error) {
	var me struct {
		ID string `json:"id"`
	}
	if err := h.call("GET", "/users/me", nil, &me); err != nil {
		return 0, 0, err
	}
	stream, err := openSSE(strings.TrimPrefix(h.url, "http://"), "/api/v1/realtime/sse", h.token, "user:"+me.ID)
	if err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex
	sent := map[string]time.Time{}
	var latencies []time.Duration
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(stream)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
			if !ok || !bytes.Contains(data, []byte(`{"type":"alarm"`)) {
				continue
			}
			var event struct {
				Data struct {
					DeviceID string `json:"device_id"`
				} `json:"data"`
			}
			if json.Unmarshal(data, &event) != nil {
				continue
			}
			mu.Lock()
			if at, waits := sent[event.Data.DeviceID]; waits {
				latencies = append(latencies, time.Since(at))
				delete(sent, event.Data.DeviceID)
			}
			mu.Unlock()
		}
	})
	client := &fasthttp.HostClient{Addr: strings.TrimPrefix(h.url, "http://"), MaxConns: 64}
	var posting sync.WaitGroup
	failures := make(chan error, 1)
	tick := time.NewTicker(time.Second / alarmBatches)
	for n := 0; n < int(o.seconds.Seconds())*alarmBatches && ctx.Err() == nil; n++ {
		<-tick.C
		var b bytes.Buffer
		b.WriteByte('[')
		for i := range alarmBatch {
			value := -1
			if i == 0 && n/len(ids)%2 == 0 {
				value = 1
			}
			fmt.Fprintf(&b, `{"device_id":%q,"event":%q,"value":%d}`, ids[(n+i*7)%len(ids)], map[bool]string{true: "t", false: "u"}[i == 0], value)
			b.WriteByte(map[bool]byte{true: ']', false: ','}[i == alarmBatch-1])
		}
		mu.Lock()
		sent[ids[n%len(ids)]] = time.Now()
		mu.Unlock()
		posting.Go(func() {
			if status, err := ask(client, "POST", h.url+"/api/v1/logs", h.token, b.String(), nil); err != nil || status != 201 {
				select {
				case failures <- errors.Join(fmt.Errorf("logs are answered with %d", status), err):
				default:
				}
			}
		})
	}
	tick.Stop()
	posting.Wait()
	time.Sleep(time.Second) // the last events
	err = stream.Close()
	reading.Wait()
	select {
	case failed := <-failures:
		return 0, 0, failed
	default:
	}
	if len(latencies) == 0 {
		return 0, 0, errors.Join(err, errors.New("no alarm was raised"))
	}
	slices.Sort(latencies)
	return latencies[len(latencies)/2], latencies[len(latencies)*99/100], err
}

// measureSilence: the processor time of the server while devices that never reported have a rule about their silence.
func measureSilence(o options, h *hearth, r *report) error {
	if err := h.signUpAs("silent@example.com"); err != nil {
		return err
	}
	if _, err := h.devices(silentDevices); err != nil {
		return err
	}
	before, began := h.cpu(), time.Now()
	if err := h.rule("silent", "", `{"no_data":{"for":2592000}}`); err != nil {
		return err
	}
	for last := before; ; { // until the devices are watched
		time.Sleep(2 * time.Second)
		if now := h.cpu(); now-last < 200*time.Millisecond {
			break
		} else {
			last = now
		}
	}
	r.add(figure{Name: "processor time to begin watching a device", Unit: "µs", Hearth: 1e6 * (h.cpu() - before).Seconds() / silentDevices,
		Note: fmt.Sprintf("%d devices, in %.0f s", silentDevices, time.Since(began).Seconds())})
	before, began = h.cpu(), time.Now()
	time.Sleep(2 * o.seconds)
	r.add(figure{Name: "of a core for silent devices with a rule", Unit: "%", Hearth: 100 * (h.cpu() - before).Seconds() / time.Since(began).Seconds(), Goal: "≤ 5",
		Note: fmt.Sprintf("%d devices, idle otherwise", silentDevices)})
	return nil
}
