package app_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
)

// serveOnce runs a program while use runs.
func serveOnce(t *testing.T, cfg *config.Config, use func(url string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if err := app.Run(ctx, app.Settings{Config: cfg}, func(s app.Serving) {
		use(s.URL)
		cancel()
	}); err != nil {
		t.Errorf("the program stopped with %v", err)
	}
}

func TestTheLimitOfSigningInHoldsOverARestart(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits("auth=3/1h"); err != nil {
		t.Fatal(err)
	}
	login := func(url string) int {
		resp, err := http.Post(url+"/api/v1/auth/login", "application/json", strings.NewReader(`{"email":"a@example.com","password":"wrong wrong"}`))
		if err != nil {
			t.Fatal(err)
		}
		return errorless(t, resp)
	}
	serveOnce(t, cfg, func(url string) {
		for i, want := range []int{401, 401, 401, 429} {
			if got := login(url); got != want {
				t.Errorf("try %d: %d, want %d", i+1, got, want)
			}
		}
	})
	serveOnce(t, cfg, func(url string) {
		if got := login(url); got != 429 {
			t.Errorf("after the restart: %d, want 429", got)
		}
	})
}

func TestSessionsBehindOneAddressDoNotSpendEachOthersRefreshes(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits("auth=off,refresh=3/1h"); err != nil {
		t.Fatal(err)
	}
	c := &apitest.Client{URL: apitest.Start(t, cfg)}
	refresh := func(token string) apitest.Answer {
		return c.Ask(t, "POST", "/auth/refresh", apitest.Object{"refresh_token": token})
	}
	for i := range 8 {
		email := "a" + strconv.Itoa(i) + "@example.com"
		c.Call(t, "POST", "/auth/signup", apitest.Object{"name": "A", "email": email, "password": apitest.Password})
		grant := c.Call(t, "POST", "/auth/login", apitest.Object{"email": email, "password": apitest.Password})
		for n := range 4 {
			answer := refresh(apitest.Text(grant, "refresh_token"))
			if want := []int{200, 200, 200, 429}[n]; answer.Status != want || answer.Header.Get("RateLimit-Limit") != "3" {
				t.Fatalf("user %d, refresh %d: %d %s", i, n, answer.Status, answer.Body)
			}
			if answer.Status == 200 {
				grant = nil
				answer.Into(t, &grant)
			} else if !strings.Contains(string(answer.Body), `"limit":"refresh"`) {
				t.Errorf("the refusal does not name the limit: %s", answer.Body)
			}
		}
	}
	for n := range 4 { // tokens of no session, and bodies that name none, count by address
		if answer := refresh("hr_unknown" + strconv.Itoa(n)); answer.Status != []int{401, 401, 401, 429}[n] {
			t.Errorf("unknown token %d: %d %s", n, answer.Status, answer.Body)
		}
	}
	if answer := c.Ask(t, "POST", "/auth/refresh", "{"); answer.Status != 429 {
		t.Errorf("a broken body: %d %s", answer.Status, answer.Body)
	}
}

// Failed logins of strangers, on the account and from their addresses, keep out neither a user who signed in before nor, from an address
// of its own, anybody else.
func TestFailedLoginsOfStrangersKeepNoOneOut(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		cfg := m.Config(t)
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		var err error
		if cfg.RateLimits, err = config.ParseRateLimits("auth=4/1h"); err != nil {
			t.Fatal(err)
		}
		c := &apitest.Client{URL: apitest.Start(t, cfg)}
		login := func(ip, email, password string) apitest.Answer {
			return c.Ask(t, "POST", "/auth/login", apitest.Object{"email": email, "password": password}, "X-Forwarded-For", ip)
		}
		for _, email := range []string{"ann@example.com", "bob@example.com"} {
			made := c.Ask(t, "POST", "/auth/signup", apitest.Object{"name": "A", "email": email, "password": apitest.Password}, "X-Forwarded-For", "192.0.2.1")
			if made.Status != 201 {
				t.Fatalf("sign-up: %d %s", made.Status, made.Body)
			}
		}
		want := func(a apitest.Answer, status int) {
			t.Helper()
			if a.Status != status || a.Header.Get("RateLimit-Limit") != "4" {
				t.Errorf("a login is answered %d %s, want %d", a.Status, a.Body, status)
			}
		}
		want(login("192.0.2.1", "ann@example.com", apitest.Password), 200)
		for i := range 4 { // from four addresses
			want(login("203.0.113."+strconv.Itoa(i), "ann@example.com", "wrong wrong"), 401)
		}
		want(login("203.0.113.99", "ann@example.com", apitest.Password), 429) // too many failed on the account
		want(login("192.0.2.1", "ann@example.com", apitest.Password), 200)    // but she was there before
		for i := range 4 {                                                    // from her address, on other accounts
			want(login("192.0.2.1", "x"+strconv.Itoa(i)+"@example.com", "wrong wrong"), 401)
		}
		want(login("192.0.2.1", "bob@example.com", apitest.Password), 429)
		want(login("198.51.100.1", "bob@example.com", apitest.Password), 200)
		want(login("192.0.2.1", "ann@example.com", apitest.Password), 200)
		for i := range 3 { // successes from one address spend nobody else's
			want(login("198.51.100.1", "bob@example.com", apitest.Password), []int{200, 200, 200}[i])
		}
		want(login("198.51.100.1", "bob@example.com", apitest.Password), 429) // his own bucket there
		want(login("198.51.100.1", "ann@example.com", "wrong wrong"), 429)    // her account is still closed to strangers
		broken := c.Ask(t, "POST", "/auth/login", "{", "X-Forwarded-For", "198.51.100.9")
		want(broken, 400)
	})
}

// errorless reads an answer away and returns its status.
func errorless(t *testing.T, resp *http.Response) int {
	t.Helper()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.Replace(strings.TrimPrefix(url, "http://"), "localhost", "127.0.0.1", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // most are closed by the server
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestSlowHeadersAreCutOffWithinTenSeconds(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Config(t))
	var wg sync.WaitGroup
	for i := range 200 {
		conn, begin := dial(t, url), time.Now()
		wg.Go(func() {
			if _, err := fmt.Fprintf(conn, "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow-%d: ", i); err != nil {
				t.Error(err)
			}
			if data, err := io.ReadAll(conn); err != nil || bytes.HasPrefix(data, []byte("HTTP/1.1 2")) {
				t.Errorf("connection %d: %q, %v", i, data, err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("connection %d was closed after %s", i, took)
			}
		})
	}
	for range 10 {
		resp, err := http.Get(url + "/health/live")
		if err != nil {
			t.Fatal(err)
		}
		if status := errorless(t, resp); status != 200 {
			t.Errorf("beside slow clients: %d", status)
		}
	}
	wg.Wait()
}

func TestBrokenRequestsAreRefused(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Config(t))
	const post = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for name, tt := range map[string]struct{ request, status string }{
		"a header over the limit":        {"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
		"ten thousand headers":           {"GET /health/live HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 10_000) + "\r\n", "431"},
		"an address over the limit":      {"GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "414"},
		"a line break in a header":       {"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: b\rc\r\n\r\n", "400"},
		"a NUL in a header":              {"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: b\x00\r\n\r\n", "400"},
		"no host":                        {"GET /health/live HTTP/1.1\r\n\r\n", "400"},
		"two hosts":                      {"GET /health/live HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
		"no HTTP":                        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"two lengths":                    {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "400"},
		"a negative length":              {post + "Content-Length: -1\r\n\r\n", "400"},
		"an unknown transfer encoding":   {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"},
		"a chunk of no size":             {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", "400"},
		"a chunk of too great a size":    {post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n", "400"},
		"an announced body that is huge": {post + "Content-Length: 99999999999\r\n\r\n" + strings.Repeat(" ", 2<<20), "413"},
		"a body in chunks without end":   {post + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 20), "413"},
		"a wrong version":                {"GET /health/live HTTP/3.9\r\nHost: x\r\n\r\n", "400"},
		"a percent sign too many":        {"GET /health/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"a good request":                 {"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, url)
			go func() { _, _ = io.WriteString(conn, tt.request) }() // the server may hang up first
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+tt.status+" ") {
				t.Errorf("%q, %v, want %s", line, err, tt.status)
			}
		})
	}
}
