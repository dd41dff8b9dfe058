// Package e2e tests the built program from outside, as its users meet it: a process, its ports, its signals, its files.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/testserver"
)

// program is the binary under test, built once.
var program string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "hearth-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program = filepath.Join(dir, "hearth")
	// As make build does: what that has compiled is compiled no more. Its version is devel, as the documentation shows, and not the commit's.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "hearth/cmd/hearth")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// server is a running program.
type server struct {
	t    *testing.T
	url  string
	addr string
	dir  string
	// mqtt is the address for devices; "": none.
	mqtt string
	env  []string
	cmd  *exec.Cmd
	log  *lockedBuffer
	// command is what is run; nil is serve. ready, if set, is the URL that answers once it runs, where that is not url.
	command []string
	ready   string
	// members are what stands behind a fleet's address: it has no process of its own.
	members []*server
	// transport reaches the url; nil is the default one. trusts is the file of the certificates that it trusts; "" the default ones.
	transport http.RoundTripper
	trusts    string
	// ended is closed when the process is gone; exit is its error then.
	ended chan struct{}
	exit  error
}

// lockedBuffer takes the program's output while the test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serve starts a program of its own for the test, with limits off unless env says otherwise, and stops it at the end.
func serve(t *testing.T, env ...string) *server {
	t.Helper()
	return serveIn(t, t.TempDir(), env...)
}

// serveIn is serve with a data directory of the test's.
func serveIn(t *testing.T, dir string, env ...string) *server {
	t.Helper()
	addr := testserver.FreeAddr(t)
	s := &server{t: t, addr: addr, url: "http://" + addr, dir: dir, env: env}
	s.start()
	t.Cleanup(func() {
		if s.running() {
			s.stop()
		}
		if t.Failed() {
			t.Logf("the end of the program's log:\n%s", tail(s.log.String(), 4000))
		}
	})
	return s
}

// tail returns the end of a log, without the requests that went well: what failed is above it, and must not be lost from view.
func tail(text string, n int) string {
	var told strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, `"level":"INFO","msg":"request"`) {
			told.WriteString(line)
		}
	}
	text = told.String()
	return text[max(0, len(text)-n):]
}

func (s *server) start() {
	s.t.Helper()
	if s.members != nil {
		for _, m := range s.members {
			m.start()
		}
		return
	}
	s.log = &lockedBuffer{}
	command := s.command
	if command == nil {
		command = []string{"serve"}
	}
	s.cmd = exec.Command(program, command...)
	s.cmd.Env = append(os.Environ(),
		"HEARTH_ADDR="+s.addr, "HEARTH_ADMIN_ADDR=127.0.0.1:0", "HEARTH_DATA_DIR="+s.dir, "HEARTH_RATE_LIMITS=off",
		"HEARTH_BCRYPT_COST=4", "HEARTH_LOG_FORMAT=json")
	s.cmd.Env = append(s.cmd.Env, s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		s.exit = cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
	s.awaitReady(30 * time.Second)
}

// awaitReady polls: another process has no other way to say that it is there.
func (s *server) awaitReady(limit time.Duration) {
	s.t.Helper()
	deadline := time.Now().Add(limit)
	url := s.url
	if s.ready != "" {
		url = s.ready
	}
	for {
		resp, err := http.Get(url + "/health/ready")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the program ended: %v\n%s", s.exit, s.log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the program is not ready after %s: %v\n%s", limit, err, s.log)
		}
	}
}

func (s *server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
}

// kill ends the program as a crash does.
func (s *server) kill() {
	s.t.Helper()
	if s.members != nil {
		for _, m := range s.members {
			m.kill()
		}
		return
	}
	s.signal(syscall.SIGKILL)
	<-s.ended
}

// stop ends the program as an operator does, and expects it to end well within its promise.
func (s *server) stop() {
	s.t.Helper()
	if s.members != nil {
		for _, m := range s.members {
			m.stop()
		}
		return
	}
	s.signal(syscall.SIGTERM)
	s.awaitEnd()
}

// awaitEnd waits for the end of a program that was told to stop. A second signal would kill it.
func (s *server) awaitEnd() {
	s.t.Helper()
	select {
	case <-s.ended:
		if s.exit != nil {
			s.t.Errorf("the program ended with %v", s.exit)
		}
	case <-time.After(20 * time.Second):
		s.t.Errorf("the program did not stop within 20 s")
		s.kill()
	}
}

// client talks to a server as one caller.
type client struct {
	s     *server
	token string
	http  *http.Client
}

func (s *server) anonymous() *client {
	return &client{s: s, http: &http.Client{Timeout: 60 * time.Second, Transport: s.transport}}
}

// asked is the client of the program's API that makes the calls.
func (c *client) asked() *apitest.Client {
	return &apitest.Client{URL: c.s.url, Token: c.token, HTTP: c.http}
}

// send makes a request, as apitest.Client.Send does.
func (c *client) send(ctx context.Context, method, path string, body any, header ...string) (apitest.Answer, error) {
	return c.asked().Send(ctx, method, path, body, header...)
}

// do is apitest.Client.Ask with an expected status.
func (c *client) do(method, path string, body any, status int, header ...string) apitest.Answer {
	c.s.t.Helper()
	a := c.asked().Ask(c.s.t, method, path, body, header...)
	if a.Status != status {
		c.s.t.Fatalf("%s %s: %d, want %d: %.1000s", method, path, a.Status, status, a.Body)
	}
	return a
}

const password = "correct horse battery 9"

// login is the answer of signing in.
type login struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	User         struct {
		ID string `json:"id"`
	} `json:"user"`
}

// signup makes an account and signs it in.
func (s *server) signup(email string) (*client, login) {
	s.t.Helper()
	c := s.anonymous()
	c.do("POST", "/auth/signup", map[string]any{"name": "Ann", "email": email, "password": password}, 201)
	return s.login(email, password)
}

func (s *server) login(email, password string) (*client, login) {
	s.t.Helper()
	c := s.anonymous()
	var l login
	c.do("POST", "/auth/login", map[string]any{"email": email, "password": password}, 200).Into(s.t, &l)
	c.token = l.AccessToken
	return c, l
}

// device makes a device and returns its id.
func (c *client) device(name string) string {
	c.s.t.Helper()
	var d struct {
		ID string `json:"id"`
	}
	c.do("POST", "/devices", map[string]any{"name": name, "type": "sensor"}, 201).Into(c.s.t, &d)
	return d.ID
}
