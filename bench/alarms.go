package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	alarmRules   = 1000
	alarmBatch   = 100
	alarmBatches = 50 // a second: 5,000 logs
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
	latencies, err := h.alarmLatency(ctx, o, ids)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d logs/s in batches of %d, one in %d raises or clears an alarm; %d rules", alarmBatch*alarmBatches, alarmBatch, alarmBatch, 2*alarmRules)
	r.add(figure{Name: "log to alarm event, p50", Unit: "ms", Hearth: ms(quantile(latencies, 50)), Note: note})
	r.add(figure{Name: "log to alarm event, p99", Unit: "ms", Hearth: ms(quantile(latencies, 99)), Goal: "≤ 100", Note: note})
	// Last: what waits to be judged then would delay the alarms.
	looked, err := h.ingest(ctx, o, ids)
	if err != nil {
		return err
	}
	r.add(figure{Name: "logs each of which a rule looks at and none meets, by logs without rules", Hearth: looked / median(without), Note: fmt.Sprintf("%.0f logs/s", looked)})
	return nil
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

// quantile returns the value that a percentage of sorted durations does not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100]
}

// alarmLatency posts logs at a steady rate, reads the stream, and returns how long the events of alarms took, sorted.
func (h *hearth) alarmLatency(ctx context.Context, o options, ids []string) (latencies []time.Duration, err error) {
	var me struct {
		ID string `json:"id"`
	}
	if err := h.call("GET", "/users/me", nil, &me); err != nil {
		return nil, err
	}
	stream, err := openSSE(strings.TrimPrefix(h.url, "http://"), "/api/v1/realtime/sse", h.token, "user:"+me.ID)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	sent := map[string]time.Time{}
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
	failed := h.postAlarms(ctx, o, ids, func(id string) {
		mu.Lock()
		sent[id] = time.Now()
		mu.Unlock()
	})
	err = errors.Join(failed, stream.Close())
	reading.Wait()
	if err == nil && len(latencies) == 0 {
		err = errors.New("no alarm was raised")
	}
	slices.Sort(latencies)
	return latencies, err
}

// postAlarms posts logs at a steady rate: the first of each batch raises or clears an alarm of the device that note is called with.
func (h *hearth) postAlarms(ctx context.Context, o options, ids []string, note func(id string)) error {
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
		note(ids[n%len(ids)])
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
	select {
	case failed := <-failures:
		return failed
	default:
		return nil
	}
}

// measureWebhooks: how long it takes from an alarm until its delivery comes in at a receiver, and from the POST of its log.
func measureWebhooks(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir, "HEARTH_WEBHOOK_ALLOW=127.0.0.0/8")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	ids, err := h.devices(alarmRules)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	sent := map[string]time.Time{}
	var fromEvent, fromLog []time.Duration
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		now := time.Now()
		var body struct {
			Timestamp time.Time
			Data      struct {
				DeviceID string `json:"device_id"`
			}
		}
		if json.NewDecoder(request.Body).Decode(&body) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		fromEvent = append(fromEvent, now.Sub(body.Timestamp))
		if at, waits := sent[body.Data.DeviceID]; waits {
			fromLog = append(fromLog, now.Sub(at))
			delete(sent, body.Data.DeviceID)
		}
	}))
	defer receiver.Close()
	hook := map[string]any{"name": "bench", "url": receiver.URL, "events": []string{"alarm.raised", "alarm.cleared"}}
	if err := h.call("POST", "/webhooks", hook, nil); err != nil {
		return err
	}
	for i, id := range ids {
		if err := h.rule(fmt.Sprint("t ", i), id, `{"event":"t","operator":"gt","value":0}`); err != nil {
			return err
		}
	}
	err = h.postAlarms(ctx, o, ids, func(id string) {
		mu.Lock()
		sent[id] = time.Now()
		mu.Unlock()
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if len(fromLog) == 0 {
		return errors.New("no webhook was sent")
	}
	slices.Sort(fromEvent)
	slices.Sort(fromLog)
	note := fmt.Sprintf("%d logs/s in batches of %d, each raises or clears an alarm; %d deliveries to one receiver", alarmBatch*alarmBatches, alarmBatch, len(fromEvent))
	r.add(figure{Name: "alarm to its webhook's request, p50", Unit: "ms", Hearth: ms(quantile(fromEvent, 50)), Note: note})
	r.add(figure{Name: "alarm to its webhook's request, p99", Unit: "ms", Hearth: ms(quantile(fromEvent, 99)), Goal: "≤ 100", Note: note})
	r.add(figure{Name: "log to the webhook's request of its alarm, p99", Unit: "ms", Hearth: ms(quantile(fromLog, 99)), Note: note})
	return nil
}

// begunDevices is how many devices a new rule begins to watch; the others are copies of these.
const begunDevices = 20_000

// measureSilence: the processor time of the server while devices that never reported have a rule about their silence.
func measureSilence(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	begun := min(o.devices, begunDevices)
	if _, err := h.devices(begun); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(h.dir, "hearth.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	before, began := h.cpu(), time.Now()
	if err := h.rule("silent", "", `{"no_data":{"for":2592000}}`); err != nil {
		return err
	}
	for watched := 0; watched < begun; time.Sleep(time.Second) {
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM alarm_watches`).Scan(&watched); err != nil {
			return err
		}
	}
	r.add(figure{Name: "processor time to begin watching a device", Unit: "µs", Hearth: 1e6 * (h.cpu() - before).Seconds() / float64(begun),
		Note: fmt.Sprintf("%d devices, in %.0f s", begun, time.Since(began).Seconds())})
	time.Sleep(12 * time.Second) // until the rule has looked for new devices
	if err := h.stop(); err != nil {
		return err
	}
	watched := begun
	for n := 1; watched < o.devices; n++ {
		if err := copyDevices(ctx, db, n, begun); err != nil {
			return err
		}
		watched += begun
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	if h.process, err = startHearth(ctx, o, addr, h.dir); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	before, began = h.cpu(), time.Now()
	time.Sleep(10 * o.seconds)
	_, memory := h.memory()
	r.add(figure{Name: "of a core for silent devices with a rule", Unit: "%", Hearth: 100 * (h.cpu() - before).Seconds() / time.Since(began).Seconds(), Goal: "≤ 5",
		Note: fmt.Sprintf("%d devices, idle otherwise; at most %.0f MiB", watched, memory)})
	return nil
}

// copyDevices adds the nth copy of the first devices, with what rules know of them, to the store of a server that is stopped.
func copyDevices(ctx context.Context, db *sql.DB, n, devices int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it was committed
	for _, table := range []struct{ name, key, by string }{{"devices", "id", "key"}, {"presence", "", "device"}, {"alarm_watches", "device_id", ""}} {
		rows, err := tx.QueryContext(ctx, `SELECT name FROM pragma_table_info(?)`, table.name)
		if err != nil {
			return err
		}
		var columns, values []string
		for rows.Next() {
			var column string
			if err := rows.Scan(&column); err != nil {
				return err
			}
			value := column
			switch column {
			case table.key:
				value = fmt.Sprintf("'%08x' || substr(%s, 9)", n, column)
			case table.by:
				value = fmt.Sprintf("%s + %d", column, n*devices)
			}
			columns, values = append(columns, column), append(values, value)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		where := table.by + fmt.Sprint(" <= ", devices)
		if table.by == "" {
			where = table.key + " >= '01'" // the copies begin with 00
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO "+table.name+"("+strings.Join(columns, ",")+") SELECT "+strings.Join(values, ",")+" FROM "+table.name+" WHERE "+where)
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}
