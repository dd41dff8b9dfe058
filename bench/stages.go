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
	mark    []byte
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

func launchBare(ctx context.Context) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch(ctx, exec.Command(self, "bare", addr), addr, "/ready")
}

// bareStage watches a bare centrifuge node.
func bareStage(p *process, channels []string) (stage, error) {
	addr := p.url[len("http://"):]
	publish, err := post(p.url+"/publish", "", http.MethodPost, map[string]any{"channels": channels})
	return stage{
		name: "the bare node", mark: hearthMark, publish: publish,
		open: func(i int) (net.Conn, error) { return openWebSocket(addr, "/ws", "", channels[i%len(channels)]) },
	}, err
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
	conn, _, err := dial(addr, "GET /api/v1/realtime/sse?channels=device:"+id+" HTTP/1.1\r\nHost: "+addr+"\r\nAuthorization: Bearer "+w.viewer+
		"\r\n\r\n", "\nid: ")
	return conn, err
}

// stage watches the first channels devices, over SSE or WebSocket.
func (w *watched) stage(sse bool, channels int) (stage, error) {
	name, url, body := "hearth's WebSocket", w.url+"/api/v1/heartbeats", any(nil)
	if sse {
		name = "hearth's SSE"
	}
	if channels == 1 {
		url, body = w.url+"/api/v1/devices/"+w.ids[0]+"/heartbeat", map[string]any{"status": "active"}
	} else {
		signs := make([]map[string]any, channels)
		for i := range signs {
			signs[i] = map[string]any{"device_id": w.ids[i], "status": "active"}
		}
		body = map[string]any{"items": signs}
	}
	publish, err := post(url, w.token, http.MethodPost, body)
	return stage{
		name: name, mark: hearthMark, publish: publish,
		open: func(i int) (net.Conn, error) { return w.open(sse, w.ids[i%channels]) },
	}, err
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
		name: "PocketBase's SSE", mark: []byte(`"updated":"`), publish: publish, single: channels > 1,
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
