package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	centrifugego "github.com/centrifugal/centrifuge-go"

	live "hearth/client/go"
	"hearth/internal/apitest"
	"hearth/internal/testserver"
)

// What the contract says of one answer holds of the same answer through nginx: headers once, codes, ids, limits of bodies.
func TestNginxPassesAnswersOnAsTheyAre(t *testing.T) {
	t.Parallel()
	f, s, direct := behind(t)
	ann, _ := s.signup("ann@example.com")
	id := ann.device("kitchen")

	a := ann.do("GET", "/devices/"+id, nil, 200, "X-Request-ID", "mine-1")
	for name, want := range map[string]string{
		"X-Request-ID": "mine-1", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Strict-Transport-Security": "max-age=31536000", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q once", name, got, want)
		}
	}
	if a := ann.do("GET", "/devices/"+id, nil, 304, "If-None-Match", a.Header.Get("ETag")); len(a.Body) != 0 {
		t.Errorf("a 304 has a body: %s", a.Body)
	}
	for _, bad := range []string{"", "two words", `quo"te`, strings.Repeat("x", 129)} {
		a := ann.do("GET", "/devices/"+id, nil, 200, "X-Request-ID", bad)
		if got := a.Header.Get("X-Request-ID"); got == bad || len(got) < 32 {
			t.Errorf("the request id %q becomes %q", bad, got)
		}
	}
	if a := ann.do("PUT", "/devices/"+id, nil, 405); a.Header.Get("Allow") == "" || problem(t, a) != "method_not_allowed" {
		t.Errorf("405: %v %s", a.Header, a.Body)
	}

	// Bodies: the same limit to the byte, and the same words, whoever refuses.
	through, past := ann, direct.anonymous()
	past.token = ann.token
	for path, limit := range map[string]int{"/devices": 1 << 20, "/logs": 16 << 20, "/devices/batch": 1 << 20} {
		fits, over := strings.Repeat(" ", limit-2)+"[]", strings.Repeat(" ", limit-1)+"[]"
		for _, c := range []*client{through, past} {
			if a, err := c.send(t.Context(), "POST", path, fits); err != nil || a.Status == 413 || a.Status >= 500 {
				t.Errorf("%s: a body of the limit: %d %v", path, a.Status, err)
			}
			if a, err := c.send(t.Context(), "POST", path, over); err != nil || a.Status != 413 || problem(t, a) != "payload_too_large" {
				t.Errorf("%s: a byte more: %d %s %v", path, a.Status, a.Body, err)
			}
		}
	}
	resp, err := http.Get("http://" + f.plain + "/api/v1/devices?q=a%2Fb") // follows to a port that is not there
	if err == nil {
		_ = resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "https://127.0.0.1/api/v1/devices?q=a%2Fb") {
		t.Errorf("plain HTTP leads to %v", err)
	}
}

// problem returns the code of a problem, and holds that it is one.
func problem(t *testing.T, a apitest.Answer) string {
	t.Helper()
	var p struct {
		Code      string `json:"code"`
		Status    int    `json:"status"`
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(a.Body, &p); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("no problem: %v %q %.200s", err, a.Header.Get("Content-Type"), a.Body)
		return ""
	}
	if p.Status != a.Status || p.RequestID != a.Header.Get("X-Request-ID") {
		t.Errorf("the problem says %d and %q, the answer %d and %q", p.Status, p.RequestID, a.Status, a.Header.Get("X-Request-ID"))
	}
	return p.Code
}

// What one of the two would read otherwise, one of them refuses.
func TestARequestMeansTheSameAtNginxAndBehindIt(t *testing.T) {
	t.Parallel()
	f, s, direct := behind(t)
	ann, _ := s.signup("ann@example.com")
	auth := "Authorization: Bearer " + ann.token + "\r\n"
	tests := map[string]struct {
		request string
		// stricter is a status with which nginx refuses what the program would take.
		stricter string
	}{
		"plain":                       {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"doubled slash":               {request: "GET /api/v1//users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"leading slashes":             {request: "GET //api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"dots":                        {request: "GET /api/v1/devices/../users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"escaped dots":                {request: "GET /api/v1/devices/%2e%2e/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"escaped slash":               {request: "GET /api/v1/users%2Fme HTTP/1.1\r\nHost: x\r\n" + auth},
		"escaped letter":              {request: "GET /api/v1/users/%6de HTTP/1.1\r\nHost: x\r\n" + auth},
		"trailing slash":              {request: "GET /api/v1/users/me/ HTTP/1.1\r\nHost: x\r\n" + auth},
		"NUL":                         {request: "GET /api/v1/users/me%00 HTTP/1.1\r\nHost: x\r\n" + auth, stricter: "400"},
		"broken escape":               {request: "GET /api/v1/users/%zz HTTP/1.1\r\nHost: x\r\n" + auth},
		"semicolon":                   {request: "GET /api/v1/users/me;a=b?x;y HTTP/1.1\r\nHost: x\r\n" + auth},
		"fragment":                    {request: "GET /api/v1/users/me#x HTTP/1.1\r\nHost: x\r\n" + auth},
		"absolute address":            {request: "GET http://y/api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"no host":                     {request: "GET /api/v1/users/me HTTP/1.1\r\n" + auth},
		"two hosts":                   {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + auth},
		"HTTP/1.0":                    {request: "GET /api/v1/users/me HTTP/1.0\r\n" + auth},
		"space before a colon":        {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer " + ann.token + "\r\n"},
		"folded header":               {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n " + ann.token + "\r\n", stricter: "400"},
		"underscore":                  {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 9.9.9.9\r\n" + auth},
		"two authorizations":          {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\n" + auth, stricter: "400"},
		"method in small letters":     {request: "get /api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth, stricter: "400"},
		"unknown method":              {request: "BREW /api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"TRACE":                       {request: "TRACE /api/v1/users/me HTTP/1.1\r\nHost: x\r\n" + auth},
		"long address":                {request: "GET /api/v1/users/me?q=" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: x\r\n" + auth},
		"longer address":              {request: "GET /api/v1/users/me?q=" + strings.Repeat("x", 20000) + " HTTP/1.1\r\nHost: x\r\n" + auth},
		"header over the limit":       {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 70000) + "\r\n" + auth},
		"two lengths":                 {request: "POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n" + auth + "\r\n[] "},
		"length and chunks":           {request: "POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n" + auth + "\r\n2\r\n[]\r\n0\r\n", stricter: "400"},
		"unknown encoding of the way": {request: "POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n" + auth + "\r\n2\r\n[]\r\n0\r\n", stricter: "400"},
		"negative length":             {request: "POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n" + auth},
		"chunks":                      {request: "POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n" + auth + "\r\n2\r\n[]\r\n0\r\n"},
		"another expectation":         {request: "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nExpect: more\r\n" + auth, stricter: "200"},
		"another version of HTTP":     {request: "GET /api/v1/users/me HTTP/3.0\r\nHost: x\r\n" + auth, stricter: "400"},
		"not the proxy's own address": {request: "GET /.hearth/unavailable HTTP/1.1\r\nHost: x\r\n" + auth},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head, body, hasBody := strings.Cut(test.request, "\r\n\r\n")
			if !hasBody {
				head = strings.TrimSuffix(head, "\r\n")
			}
			request := head + "\r\nConnection: close\r\n\r\n" + body
			if hasBody {
				request += "\r\n"
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			past, err := raw(ctx, direct.addr, nil, request)
			if err != nil {
				t.Fatal(err)
			}
			through, err := raw(ctx, f.addr, f.tls, request)
			if err != nil {
				t.Fatal(err)
			}
			want, got := statusOf(past), statusOf(through)
			for who, answer := range map[string]string{"nginx": through, "the program": past} {
				head, _, _ := strings.Cut(answer, "\r\n\r\n")
				head = strings.ToLower(head) + "\r\n"
				headers := []string{
					"content-type: application/problem+json", "x-content-type-options: nosniff", "x-frame-options: deny", "referrer-policy: no-referrer", "x-request-id: ",
					"vary: origin",
				}
				if statusOf(answer) == "405" {
					headers = append(headers, "allow: ")
				}
				for _, header := range headers {
					if statusOf(answer) >= "400" && !strings.Contains(head, "\r\n"+header) {
						t.Errorf("the answer of %s lacks %q: %.600s", who, header, answer)
					}
				}
			}
			if test.stricter != "" {
				want = test.stricter
			}
			if got != want || want == "" {
				t.Errorf("through nginx %q, without it %q\n%.600s\n---\n%.600s", got, want, through, past)
			}
		})
	}
}

// statusOf returns the status of an answer as it came.
func statusOf(answer string) string {
	fields := strings.Fields(answer)
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

func TestAClientCannotChooseItsAddressThroughNginx(t *testing.T) {
	t.Parallel()
	_, s, _ := behind(t)
	ann, _ := s.signup("ann@example.com")
	c := s.anonymous()
	c.do("POST", "/auth/login", map[string]any{"email": "ann@example.com", "password": password}, 200,
		"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9", "X-Real-IP", "203.0.113.9")
	var sessions struct {
		Items []struct {
			IP string `json:"ip"`
		} `json:"items"`
	}
	ann.do("GET", "/auth/sessions", nil, 200).Into(t, &sessions)
	if len(sessions.Items) != 2 {
		t.Fatalf("%d sessions", len(sessions.Items))
	}
	for _, session := range sessions.Items {
		if session.IP != "127.0.0.1" {
			t.Errorf("a session is of %s", session.IP)
		}
	}
}

func TestStreamsGoThroughNginx(t *testing.T) {
	t.Parallel()
	f, s, _ := behind(t, "HEARTH_ACCESS_TTL=1h")
	ann, who := s.signup("ann@example.com")
	id := ann.device("kitchen")
	beat := func() { ann.do("POST", "/devices/"+id+"/heartbeat", map[string]any{}, 200) }

	// WebSocket: an event arrives as soon as it happened.
	socket := centrifugego.NewJsonClient("wss://"+f.addr+"/api/v1/realtime/ws", centrifugego.Config{Token: who.AccessToken, TLSConfig: f.tls})
	defer socket.Close()
	events := make(chan string, 100)
	joined := make(chan struct{}, 1)
	socket.OnSubscribed(func(centrifugego.ServerSubscribedEvent) { joined <- struct{}{} })
	socket.OnPublication(func(e centrifugego.ServerPublicationEvent) { events <- string(e.Data) })
	if err := socket.Connect(); err != nil {
		t.Fatal(err)
	}
	await(t, joined, "the socket joins")
	beat()
	if got := await(t, events, "an event by WebSocket"); !strings.Contains(got, "device-heartbeat") {
		t.Errorf("the socket got %s", got)
	}

	// SSE: what was missed comes when the reader comes back, once.
	lastID := ""
	follow := func(n int, during func()) (got []live.LiveEvent) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		open := make(chan struct{})
		defer once(ctx, open, during)()
		err := s.follower(ann.token).Follow(ctx, live.FollowOptions{
			LastID: lastID, Channels: []string{"device:" + id}, Opened: sync.OnceFunc(func() { close(open) }),
		}, func(e live.LiveEvent) error {
			got, lastID = append(got, e), e.ID
			if len(got) == n {
				return io.EOF
			}
			return nil
		})
		if err != io.EOF { //nolint:errorlint // it is the handler's own
			t.Fatalf("after %d events: %v", len(got), err)
		}
		return got
	}
	follow(2, func() { beat(); beat() })
	beat()
	beat()
	for i, e := range follow(3, beat) {
		if e.Type != live.EventDeviceHeartbeat {
			t.Errorf("event %d after coming back is %s", i, e.Type)
		}
	}
	socket.Close()

	// A ticket is in the address, and in no log.
	var ticket struct {
		Ticket string `json:"ticket"`
	}
	ann.do("POST", "/realtime/ticket", nil, 201).Into(t, &ticket)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+"/api/v1/realtime/sse?ticket="+ticket.Ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.anonymous().http.Do(req)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v %v", resp, err)
	}
	cancel()
	_ = resp.Body.Close()
	requests := f.accessLog(func(lines []accessLine) bool {
		return slices.ContainsFunc(lines, func(l accessLine) bool { return l.Path == "/api/v1/realtime/sse" && l.Status == 200 })
	})
	text, err := os.ReadFile(filepath.Join(f.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"ticket": ticket.Ticket, "access token": ann.token, "password": password} {
		if bytes.Contains(text, []byte(secret)) || strings.Contains(f.log.String(), secret) {
			t.Errorf("the %s is in a log", name)
		}
	}
	if len(requests) < 8 || requests[0].RequestID == "" || requests[0].Method != "POST" || requests[0].Upstream == "" {
		t.Errorf("the access log: %+v", requests)
	}
}

// follower returns a client of the server with a token.
func (s *server) follower(token string) *live.Client {
	s.t.Helper()
	transport := s.transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	c, err := live.New(s.url, live.WithToken(token), live.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// once does something when open is closed, unless ctx ends before. What it returns waits for the end of that: an event may be there
// before the answer to what caused it.
func once(ctx context.Context, open <-chan struct{}, do func()) (done func()) {
	var doing sync.WaitGroup
	doing.Go(func() {
		select {
		case <-open:
			do()
		case <-ctx.Done():
		}
	})
	return doing.Wait
}

func await[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("waiting until %s took too long", what)
	}
	return v
}

type accessLine struct {
	RequestID string `json:"request_id"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	Upstream  string `json:"upstream"`
}

// accessLog returns nginx's access log once it is enough. Each line must be JSON.
func (f *front) accessLog(enough func([]accessLine) bool) (lines []accessLine) {
	f.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		text, err := os.ReadFile(filepath.Join(f.dir, "access.log"))
		if err != nil {
			f.t.Fatal(err)
		}
		lines = nil
		for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
			var l accessLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				f.t.Fatalf("a line of the access log is no JSON: %s", line)
			}
			lines = append(lines, l)
		}
		if enough(lines) {
			return lines
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the access log is not complete: %s", text)
		}
		time.Sleep(5 * time.Millisecond) // nginx has no other way to say that it has written
	}
}

// An instance that is gone costs nobody a request; one that breaks off in the middle costs a POST, which nginx must not repeat.
func TestNginxRetriesOnlyWhatMayBeRepeated(t *testing.T) {
	t.Parallel()
	var good, breaking counter
	healthy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		good.add(r.Method)
		w.WriteHeader(http.StatusOK)
	}))
	defer healthy.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		breaking.add(r.Method)
		panic(http.ErrAbortHandler)
	}))
	defer broken.Close()
	methods := []string{"GET", "POST", "PATCH", "PUT", "DELETE"}
	const each = 40

	t.Run("an instance that is gone", func(t *testing.T) {
		dead := testserver.FreeAddr(t)
		c := newFront(t, []string{dead, addrOf(healthy)}).before(t).anonymous()
		for _, method := range methods {
			for range each {
				c.do(method, "/anything", "{}", 200)
			}
		}
	})
	t.Run("an instance that breaks off", func(t *testing.T) {
		before := good.of("POST") + good.of("PATCH")
		// Never rested, so that every second request meets it.
		c := newFront(t, []string{addrOf(broken), addrOf(healthy)}, edit{"site/upstream.conf", "max_fails=2 fail_timeout=2s", "max_fails=0"}).
			before(t).anonymous()
		failed := map[string]int{}
		for _, method := range methods {
			for range each {
				a, err := c.send(t.Context(), method, "/anything", "{}")
				if err != nil {
					t.Fatal(err)
				}
				if a.Status != 200 {
					failed[method]++
					if a.Status != 503 || problem(t, a) != "unavailable" || a.Header.Get("Retry-After") == "" {
						t.Errorf("%s: %d %v %s", method, a.Status, a.Header, a.Body)
					}
				}
			}
		}
		if failed["GET"]+failed["PUT"]+failed["DELETE"] != 0 {
			t.Errorf("requests that may be repeated failed: %v", failed)
		}
		if met := breaking.of("POST") + breaking.of("PATCH"); failed["POST"]+failed["PATCH"] != met || met < each/2 {
			t.Errorf("%d POST and PATCH met the broken instance, %v failed", met, failed)
		}
		if seen := good.of("POST") + good.of("PATCH") - before; seen+failed["POST"]+failed["PATCH"] != 2*each {
			t.Errorf("of %d POST and PATCH, %d reached the healthy instance and %v failed: one was repeated", 2*each, seen, failed)
		}
	})
	t.Run("no instance at all", func(t *testing.T) {
		c := newFront(t, []string{testserver.FreeAddr(t), testserver.FreeAddr(t)}).before(t).anonymous()
		for range 5 {
			if a := c.do("POST", "/anything", "{}", 503); problem(t, a) != "unavailable" || a.Header.Get("Retry-After") == "" {
				t.Errorf("%v %s", a.Header, a.Body)
			}
		}
	})
}

func addrOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

func TestNginxEndsConnectionsThatSendTheirHeadersSlowly(t *testing.T) {
	t.Parallel()
	f, s, _ := behind(t)
	const slow = 200
	began := time.Now()
	var wg sync.WaitGroup
	for i := range slow {
		wg.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if i%2 == 0 { // the others do not even begin with TLS
				secure := f.tls.Clone()
				secure.ServerName = "127.0.0.1"
				conn = tls.Client(conn, secure)
				if _, err := fmt.Fprintf(conn, "GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: "); err != nil {
					t.Error(err)
				}
			}
			_ = conn.SetReadDeadline(began.Add(30 * time.Second))
			_, err = io.Copy(io.Discard, conn)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("a slow connection was closed after %s, %v", took, err)
			}
		})
	}
	for range 20 {
		s.anonymous().do("GET", "/health/live", nil, 200)
	}
	wg.Wait()
}

func TestNginxRefusesAFloodFromOneAddress(t *testing.T) {
	t.Parallel()
	direct := serve(t, "HEARTH_TRUSTED_PROXIES=127.0.0.1")
	s := newFront(t, []string{direct.addr}, edit{"site/limits.conf", "rate=300r/s", "rate=1r/m"},
		edit{"site/limits.conf", "burst=600", "burst=4"}, edit{"hearth/server.conf", "burst=600", "burst=4"}).before(t)
	refused := 0
	for range 8 {
		a, err := s.anonymous().send(t.Context(), "GET", "/users/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		switch a.Status {
		case 401:
		case 429:
			refused++
			var p struct {
				Limit string `json:"limit"`
			}
			a.Into(t, &p)
			if problem(t, a) != "rate_limited" || p.Limit != "address" || a.Header.Get("Retry-After") == "" || a.Header.Get("X-Frame-Options") != "DENY" ||
				a.Header.Get("RateLimit-Limit") != "300" || a.Header.Get("RateLimit-Remaining") != "0" || a.Header.Get("RateLimit-Reset") != "1" {
				t.Errorf("%v %s", a.Header, a.Body)
			}
		default:
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if refused != 3 {
		t.Errorf("%d of 8 requests were refused, want 3 beyond the first and a burst of 4", refused)
	}
}
