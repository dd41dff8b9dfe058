package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	centrifugego "github.com/centrifugal/centrifuge-go"

	live "hearth/client/go"
	"hearth/internal/testserver"
)

// liveExport is what streams tell of an export.
type liveExport struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Progress struct {
		Step      string `json:"step"`
		Processed int    `json:"processed_records"`
		Total     int    `json:"total_records"`
	} `json:"progress"`
}

// heardOf collects what one stream tells of an export until it has told of its end and of the notification, which come by ways of their own.
type heardOf struct {
	steps           []liveExport
	ended, notified bool
	done            chan struct{}
}

func (h *heardOf) take(t *testing.T, kind string, data json.RawMessage) {
	switch kind {
	case "export-progress":
		var e liveExport
		if err := json.Unmarshal(data, &e); err != nil {
			t.Error(err)
		}
		h.steps = append(h.steps, e)
		h.ended = e.Status == "completed" || e.Status == "failed"
	case "notification":
		if !strings.Contains(string(data), `"export_ready"`) {
			t.Errorf("another notification: %s", data)
		}
		h.notified = true
	default:
		return
	}
	if h.ended && h.notified {
		h.notified = false // done once
		close(h.done)
	}
}

// overSSE and overWebSocket listen at one server until the test ends; they return once everything from now on is heard.
func overSSE(t *testing.T, s *server, token string) *heardOf {
	t.Helper()
	h := &heardOf{done: make(chan struct{})}
	open := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		_ = s.follower(token).Follow(ctx, live.FollowOptions{Opened: sync.OnceFunc(func() { close(open) })}, func(e live.LiveEvent) error {
			h.take(t, string(e.Type), e.Data)
			return nil
		})
	})
	t.Cleanup(func() { cancel(); following.Wait() })
	await(t, open, "the stream is open")
	return h
}

func overWebSocket(t *testing.T, s *server, token string) *heardOf {
	t.Helper()
	h := &heardOf{done: make(chan struct{})}
	socket := centrifugego.NewJsonClient("ws://"+s.addr+"/api/v1/realtime/ws", centrifugego.Config{Token: token})
	t.Cleanup(socket.Close)
	joined := make(chan struct{}, 2)
	socket.OnSubscribed(func(centrifugego.ServerSubscribedEvent) { joined <- struct{}{} })
	socket.OnPublication(func(p centrifugego.ServerPublicationEvent) {
		var e live.LiveEvent
		if err := json.Unmarshal(p.Data, &e); err != nil {
			t.Error(err)
		}
		h.take(t, string(e.Type), e.Data)
	})
	if err := socket.Connect(); err != nil {
		t.Fatal(err)
	}
	await(t, joined, "the socket joins")
	return h
}

// checkSteps holds what a stream told against an export that went well: in order, up to its end.
func (h *heardOf) checkSteps(t *testing.T, name, id string, logs int) (between int) {
	t.Helper()
	await(t, h.done, name+" told of the end and the notification")
	var states []string
	last := 0
	for _, e := range h.steps {
		if e.ID != id || e.Progress.Processed < last {
			t.Errorf("%s told of %+v after %d records", name, e, last)
		}
		last = e.Progress.Processed
		if len(states) == 0 || states[len(states)-1] != e.Status {
			states = append(states, e.Status)
		}
		if e.Status == "running" && last > 0 && last < logs && e.Progress.Total == logs {
			between++
		}
	}
	if got := strings.Join(states, " "); got != "running completed" || last != logs {
		t.Errorf("%s told of an export that is %s with %d records", name, got, last)
	}
	return between
}

// sendBatches stores batches of 10,000 logs, fast: many enough that exporting them takes a while.
func (c *client) sendBatches(device string, batches int) {
	c.s.t.Helper()
	var body []byte
	for range 10_000 {
		body = fmt.Appendf(body, `{"device_id":%q,"event":"temperature","value":%v}`+"\n", device, mathrand.Float64())
	}
	for range batches {
		c.do("POST", "/logs", body, 201, "Content-Type", "application/x-ndjson")
	}
}

// A worker is a process of its own, on one machine too, and what it does shows live at the server.
func TestWhatAWorkerBesideTheServerDoesShowsLive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := make([]byte, 32)
	rand.Read(secret)
	key := "HEARTH_ENCRYPTION_KEY=" + base64.StdEncoding.EncodeToString(secret) // what they tell one another is sealed
	s := serveIn(t, dir, "HEARTH_WORKER=false", key)
	ann, who := s.signup("ann@example.com")
	const batches = 200
	ann.sendBatches(ann.device("meter"), batches)
	sse, socket := overSSE(t, s, who.AccessToken), overWebSocket(t, s, who.AccessToken)
	var e exportOf
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "json", "compression": "gzip"}, 202).Into(t, &e)
	admin := testserver.FreeAddr(t)
	worker := &server{
		t: t, dir: dir, addr: testserver.FreeAddr(t), command: []string{"worker"}, ready: "http://" + admin, env: []string{"HEARTH_ADMIN_ADDR=" + admin, key},
	}
	worker.start()
	t.Cleanup(worker.stop)
	for name, heard := range map[string]*heardOf{"the SSE stream": sse, "the WebSocket": socket} {
		if between := heard.checkSteps(t, name, e.ID, batches*10_000); between == 0 {
			t.Errorf("%s told of no progress between start and end", name)
		} else {
			t.Logf("%s told %d times of progress", name, between)
		}
	}
	within(t, time.Second, "the export is completed", func() string {
		ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
		if e.Status != "completed" {
			return e.Status
		}
		return ""
	})
	checkExport(t, ann, e, batches*10_000)
}
