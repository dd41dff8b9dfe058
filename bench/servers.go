package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	url string
	cmd *exec.Cmd
	log *bytes.Buffer
	// started is how long it took until it answered.
	started time.Duration
}

// launch starts a server and waits until it answers at path.
func launch(ctx context.Context, cmd *exec.Cmd, addr, path string) (*process, error) {
	p := &process{url: "http://" + addr, cmd: cmd, log: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = io.Discard, p.log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for {
		resp, err := http.Get(p.url + path)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.started = time.Since(began)
				return p, nil
			}
		}
		if ctx.Err() != nil || time.Since(began) > 30*time.Second {
			return nil, errors.Join(fmt.Errorf("%s does not answer: %.2000s", cmd.Path, p.log), p.stop())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = p.cmd.Wait() // a server that was told to end may say so with its exit code
	return nil
}

// cpu gives the processor time that the server has used, in the system's ticks of 10 ms.
func (p *process) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The name in brackets may hold anything; the 12th and 13th field behind it are the times in the program and in the system.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory gives the resident set in MiB, now and at its highest.
func (p *process) memory() (now, peak float64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
			now = kb / 1024
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			peak = kb / 1024
		}
	}
	return now, peak
}

// freeAddr returns an address that a server may listen on. Its port is below those that the system gives to connections, one of which
// could take it before the server has it.
func freeAddr() (addr string, err error) {
	for range 100 {
		addr = fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

func launchFloor(ctx context.Context) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch(ctx, exec.Command(self, "floor", addr), addr, "/api/v1/devices")
}

func launchPeer(ctx context.Context, dir string) (*process, peerAccess, error) {
	var access peerAccess
	addr, err := freeAddr()
	if err != nil {
		return nil, access, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, access, err
	}
	dir = filepath.Join(dir, "peer")
	p, err := launch(ctx, exec.Command(self, "peer", addr, dir), addr, "/api/health")
	if err != nil {
		return nil, access, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "peer.json"))
	if err == nil {
		err = json.Unmarshal(data, &access)
	}
	return p, access, err
}

// hearth is a running hearth with an account.
type hearth struct {
	*process
	dir   string
	token string
}

func launchHearth(ctx context.Context, o options, dir string, env ...string) (*hearth, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	h := &hearth{dir: filepath.Join(dir, "hearth")}
	if h.process, err = startHearth(ctx, o, addr, h.dir, env...); err != nil {
		return nil, err
	}
	if err := h.signUp(); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// signUp makes an account and signs it in.
func (h *hearth) signUp() error { return h.signUpAs("bench@example.com") }

func (h *hearth) signUpAs(email string) error {
	account := map[string]any{"name": "Bench", "email": email, "password": "a bench password 1"}
	if err := h.call("POST", "/auth/signup", account, nil); err != nil {
		return err
	}
	delete(account, "name")
	var login struct {
		AccessToken string `json:"access_token"`
	}
	err := h.call("POST", "/auth/login", account, &login)
	h.token = login.AccessToken
	return err
}

func startHearth(ctx context.Context, o options, addr, dir string, env ...string) (*process, error) {
	cmd := exec.Command(o.hearth, "serve")
	cmd.Env = append(os.Environ(),
		"HEARTH_ADDR="+addr, "HEARTH_ADMIN_ADDR=127.0.0.1:0", "HEARTH_DATA_DIR="+dir, "HEARTH_RATE_LIMITS=off", "HEARTH_ACCESS_TTL=24h",
		"HEARTH_LOG_FORMAT=json")
	cmd.Env = append(cmd.Env, env...)
	return launch(ctx, cmd, addr, "/health/ready")
}

// call makes one request of the API and decodes its answer.
func (h *hearth) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, h.url+"/api/v1"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// devices makes n devices and gives their ids.
func (h *hearth) devices(n int) ([]string, error) {
	ids := make([]string, 0, n)
	for len(ids) < n {
		items := make([]map[string]any, min(1000, n-len(ids)))
		for i := range items {
			items[i] = map[string]any{"name": fmt.Sprintf("bench device %d", len(ids)+i), "type": "sensor"}
		}
		var made struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		if err := h.call("POST", "/devices/batch", map[string]any{"items": items}, &made); err != nil {
			return nil, err
		}
		for _, item := range made.Items {
			ids = append(ids, item.ID)
		}
	}
	return ids, nil
}

// diskBytes gives the size of hearth's data.
func (h *hearth) diskBytes() (total int64) {
	// A file that goes away while it is counted counts nothing.
	_ = filepath.Walk(h.dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			total += info.Size()
		}
		return nil
	})
	return total
}
