package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/resttest"
	"hearth/internal/observe"
)

// counted returns an API with metrics and a log.
func counted(t *testing.T) (a *Router, log *bytes.Buffer, requests func(class string) float64) {
	t.Helper()
	metrics := observe.NewMetrics(observe.MetricsOptions{})
	log = &bytes.Buffer{}
	a = newRouter(t, Options{
		Metrics: metrics.HTTP, Logger: slog.New(slog.NewJSONHandler(log, nil)), Users: resttest.Tokens{"ann": {UserID: "1"}}, BodyLimit: 1000, SlowRequest: time.Millisecond,
	})
	return a, log, func(class string) (sum float64) {
		families, err := metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() != "hearth_http_requests_total" {
				continue
			}
			for _, one := range family.GetMetric() {
				for _, label := range one.GetLabel() {
					if label.GetName() == "status" && label.GetValue() == class {
						sum += one.GetCounter().GetValue()
					}
				}
			}
		}
		return sum
	}
}

// What fails because the client has gone is nobody's failure: strangers raise no alert with it. A panic is one, all the same.
func TestAClientThatHasGoneIsNoFailureOfTheServer(t *testing.T) {
	t.Parallel()
	a, log, requests := counted(t)
	gone, leave := context.WithCancel(t.Context())
	handler := func(_ context.Context, in *struct {
		How string `path:"how"`
	}) (*struct{}, error) {
		leave()
		switch in.How {
		case "cancelled":
			return nil, fmt.Errorf("read: %w", context.Canceled)
		case "broken":
			return nil, errors.New("sql: interrupted")
		case "panic":
			panic("a bug")
		}
		panic(http.ErrAbortHandler)
	}
	Register(a, Operation{ID: "get-gone", Method: "GET", Path: "/gone/{how}", Tag: "Test", Access: ForAnyone}, handler)
	for _, how := range []string{"cancelled", "broken", "aborted"} {
		func() {
			defer func() { _ = recover() }()
			a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v1/gone/"+how, nil).WithContext(gone))
		}()
	}
	if failed, left := requests("5xx"), requests("499"); failed != 0 || left != 3 {
		t.Errorf("%g count as failed and %g as gone", failed, left)
	}
	if text := log.String(); strings.Contains(text, `"ERROR"`) || strings.Count(text, `"status":499`) != 3 {
		t.Errorf("the log: %s", text)
	}
	a.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/v1/gone/panic", nil).WithContext(gone))
	if failed := requests("5xx"); failed != 1 || !strings.Contains(log.String(), `"ERROR"`) {
		t.Errorf("a panic: %g failed, %s", failed, log)
	}
}

// A stream lasts as long as its client wants: that is no slow request.
func TestAStreamIsNoSlowRequest(t *testing.T) {
	t.Parallel()
	a, log, _ := counted(t)
	for _, stream := range []bool{true, false} {
		log.Reset()
		r := httptest.NewRequest("GET", "/", nil)
		logRequest(a.options, r, &Request{Status: 200, Duration: time.Hour, Stream: stream})
		if slow := strings.Contains(log.String(), "performance"); slow == stream {
			t.Errorf("a stream: %t, logged: %s", stream, log)
		}
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func (unread) Close() error { return nil }

// Where the answer is known from the head, the body is not asked for: with Expect: 100-continue it is never sent.
func TestARefusalThatTheHeadDecidesComesBeforeTheBody(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	for name, test := range map[string]struct {
		token  string
		length int64
		status int
	}{
		"no token":          {"", 20, 401},
		"a token of no one": {"bob", 20, 401},
		"a device":          {"hd_x", 20, 403},
		"too long":          {"ann", 1001, 413},
	} {
		r := httptest.NewRequest("PUT", "/api/v1/things/1", unread{t})
		r.ContentLength = test.length
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Expect", "100-continue")
		if test.token != "" {
			r.Header.Set("Authorization", "Bearer "+test.token)
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != test.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}

	// The same over a connection: no 100 Continue, and the connection ends.
	server := httptest.NewServer(a)
	defer server.Close()
	for token, want := range map[string]string{"bob": "HTTP/1.1 401 ", "ann": "HTTP/1.1 100 Continue"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "PUT /api/v1/things/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: 12\r\nExpect: 100-continue\r\n\r\n", token)
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if !strings.HasPrefix(line, want) {
			t.Errorf("%s: %q", token, line)
		}
	}
}

func TestWhatIsNoRequestGetsAProblem(t *testing.T) {
	t.Parallel()
	a, log, requests := counted(t)
	for _, status := range []int{400, 417, 431} {
		response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(a.Refused("192.0.2.7:1234", status))), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != status || !response.Close {
			t.Errorf("%d: %v %v", status, response, err)
		}
		var p Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Code != hearth.CodeMalformedBody || p.RequestID == "" ||
			p.RequestID != response.Header.Get("X-Request-ID") {
			t.Errorf("%d: %s", status, body)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%d: %s is %q", status, name, got)
			}
		}
	}
	if requests("4xx") != 3 || strings.Count(log.String(), `"ip":"192.0.2.7"`) != 3 {
		t.Errorf("%g counted, logged: %s", requests("4xx"), log)
	}
}
