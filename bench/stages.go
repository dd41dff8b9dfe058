package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// stage is a server with devices that connections watch.
type stage struct {
	name string
	// open connects the i-th watcher.
	open func(i int) (net.Conn, error)
	// publish sends one event to each of the channels; single tells that it is to one of them alone, in turn.
	publish func() error
	single  bool
	// steps are publish in pieces of stepSize channels: what a measurement at a fixed pace sends in turn.
	steps []func() error
	mark  []byte
	// on is the server.
	on *process
}

// stepSize is how many devices a gateway reports at once while delays are measured: a burst of a thousand would itself take
// longer than the delays that are asked for.
const stepSize = 100

// inSteps completes a stage that publishes with one request for any number of channels.
func (s stage) inSteps(channels int, request func(from, to int) (func() error, error)) (stage, error) {
	var err error
	if s.publish, err = request(0, channels); err != nil {
		return s, err
	}
	for from := 0; from < channels; from += stepSize {
		step, err := request(from, min(from+stepSize, channels))
		if err != nil {
			return s, err
		}
		s.steps = append(s.steps, step)
	}
	return s, nil
}

// hearthMark stands once in each of hearth's and the bare node's events, before its time.
var hearthMark = []byte(`"last_active_at":"`)

// post gives a function that sends the same request each time.
func post(url, token, method string, body any) (func() error, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	client := &fasthttp.Client{ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxConnsPerHost: 64}
	return func() error {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.SetRequestURI(url)
		req.Header.SetMethod(method)
		req.Header.SetContentType("application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		req.SetBodyRaw(data)
		if err := client.Do(req, resp); err != nil {
			return err
		}
		if resp.StatusCode() >= 300 {
			return fmt.Errorf("%s %s: %d %.300s", method, url, resp.StatusCode(), resp.Body())
		}
		return nil
	}, nil
}

// launchNode starts a node without a program around it: "bare", centrifuge's own, or "node", hearth's.
func launchNode(ctx context.Context, kind string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch(ctx, exec.Command(self, kind, addr), addr, "/ready")
}

// nodeStage watches such a node.
func nodeStage(p *process, name string, sse bool, channels []string) (stage, error) {
	addr := p.url[len("http://"):]
	s := stage{name: name, mark: hearthMark, on: p, open: func(i int) (net.Conn, error) {
		if sse {
			return openSSE(addr, "/sse", "bench", channels[i%len(channels)])
		}
		return openWebSocket(addr, "/ws", "bench", channels[i%len(channels)])
	}}
	return s.inSteps(len(channels), func(from, to int) (func() error, error) {
		return post(p.url+"/publish", "", http.MethodPost, map[string]any{"channels": channels[from:to]})
	})
}

func openSSE(addr, path, token, channel string) (net.Conn, error) {
	conn, _, err := dial(addr, "GET "+path+"?channels="+channel+" HTTP/1.1\r\nHost: "+addr+"\r\nAuthorization: Bearer "+token+"\r\n\r\n", "\nid: ")
	return conn, err
}

// watched is a hearth with an organization's devices and somebody who may read them and owns none, so that a watcher gets
// the events of the device that it asked for and no others.
type watched struct {
	*hearth
	viewer string
	ids    []string
}

func launchWatched(ctx context.Context, o options, dir string) (*watched, error) {
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	w := &watched{hearth: h}
	if err := w.fill(1000); err != nil {
		return nil, fmt.Errorf("%w, %w", err, h.stop())
	}
	return w, nil
}

func (w *watched) fill(devices int) error {
	var org struct {
		ID string `json:"id"`
	}
	if err := w.call("POST", "/organizations", map[string]any{"name": "Bench"}, &org); err != nil {
		return err
	}
	account := map[string]any{"name": "Viewer", "email": "viewer@example.com", "password": "a bench password 1"}
	var made struct {
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if err := w.call("POST", "/auth/signup", account, &made); err != nil {
		return err
	}
	if err := w.call("PUT", "/organizations/"+org.ID+"/members/"+made.User.ID, map[string]any{"role": "viewer"}, nil); err != nil {
		return err
	}
	delete(account, "name")
	var login struct {
		AccessToken string `json:"access_token"`
	}
	if err := w.call("POST", "/auth/login", account, &login); err != nil {
		return err
	}
	w.viewer = login.AccessToken
	items := make([]map[string]any, devices)
	for i := range items {
		items[i] = map[string]any{"name": fmt.Sprintf("bench device %d", i), "type": "sensor", "organization_id": org.ID}
	}
	var batch struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if err := w.call("POST", "/devices/batch", map[string]any{"items": items}, &batch); err != nil {
		return err
	}
	for _, item := range batch.Items {
		w.ids = append(w.ids, item.ID)
	}
	return nil
}

// open connects a watcher of a device.
func (w *watched) open(sse bool, id string) (net.Conn, error) {
	addr := w.url[len("http://"):]
	if !sse {
		return openWebSocket(addr, "/api/v1/realtime/ws", w.viewer, "device:"+id)
	}
	return openSSE(addr, "/api/v1/realtime/sse", w.viewer, "device:"+id)
}

// stage watches the first channels devices, over SSE or WebSocket.
func (w *watched) stage(sse bool, channels int) (stage, error) {
	s := stage{name: "hearth's WebSocket", mark: hearthMark, on: w.process, open: func(i int) (net.Conn, error) {
		return w.open(sse, w.ids[i%channels])
	}}
	if sse {
		s.name = "hearth's SSE"
	}
	return s.inSteps(channels, func(from, to int) (func() error, error) {
		if channels == 1 {
			return post(w.url+"/api/v1/devices/"+w.ids[0]+"/heartbeat", w.token, http.MethodPost, map[string]any{"status": "active"})
		}
		signs := make([]map[string]any, to-from)
		for i := range signs {
			signs[i] = map[string]any{"device_id": w.ids[from+i], "status": "active"}
		}
		return post(w.url+"/api/v1/heartbeats", w.token, http.MethodPost, map[string]any{"items": signs})
	})
}

var clientID = regexp.MustCompile(`"clientId":"([^"]+)"`)

// peerStage watches records of PocketBase.
func peerStage(p *process, access peerAccess, channels int) (stage, error) {
	addr := p.url[len("http://"):]
	ids := make([]string, channels)
	creates := make([]map[string]any, channels)
	for i := range ids {
		ids[i] = fmt.Sprintf("w%014d", i)
		creates[i] = map[string]any{
			"method": "PUT", "url": "/api/collections/devices/records", "body": map[string]any{"id": ids[i], "name": "bench device"},
		}
	}
	create, err := post(p.url+"/api/batch", access.Token, http.MethodPost, map[string]any{"requests": creates})
	if err != nil {
		return stage{}, err
	}
	if err := create(); err != nil {
		return stage{}, err
	}
	// A batch of as many updates takes PocketBase minutes: each looks at every client.
	updates := make([]func() error, channels)
	for i, id := range ids {
		url := p.url + "/api/collections/devices/records/" + id
		if updates[i], err = post(url, access.Token, http.MethodPatch, map[string]any{"status": "active"}); err != nil {
			return stage{}, err
		}
	}
	var turn atomic.Int64
	publish := func() error { return updates[int(turn.Add(1))%channels]() }
	return stage{
		name: "PocketBase's SSE", mark: []byte(`"updated":"`), publish: publish, single: channels > 1, steps: []func() error{publish}, on: p,
		open: func(i int) (net.Conn, error) { return openPeer(addr, access.Token, ids[i%channels]) },
	}, err
}

func openPeer(addr, token, id string) (net.Conn, error) {
	conn, answer, err := dial(addr, "GET /api/realtime HTTP/1.1\r\nHost: "+addr+"\r\n\r\n", `"clientId":"`)
	if err != nil {
		return nil, err
	}
	found := clientID.FindSubmatch(answer)
	if found == nil {
		return nil, fmt.Errorf("PocketBase told no client's id: %.300q", answer)
	}
	body := fmt.Appendf(nil, `{"clientId":%q,"subscriptions":["devices/%s"]}`, found[1], id)
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/api/realtime", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return nil, fmt.Errorf("PocketBase answers %d to a subscription", resp.StatusCode)
	}
	return conn, nil
}

func liveDir(dir, name string) (string, error) {
	dir = filepath.Join(dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
