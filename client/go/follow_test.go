package hearth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	hearth "hearth/client/go"
)

var quick = hearth.FollowOptions{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond}

func follow(ctx context.Context, url string, options hearth.FollowOptions, handle func(hearth.LiveEvent) error) error {
	client, err := hearth.New(url, hearth.WithToken("hk_test"))
	if err != nil {
		return err
	}
	return client.Follow(ctx, options, handle)
}

var errEnough = errors.New("enough")

// script hands out tickets, and answers one stream after the other; the last answer repeats.
func script(t *testing.T, answers ...http.HandlerFunc) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/realtime/ticket" {
			fmt.Fprint(w, `{"ticket":"t","expires_in":30}`)
			return
		}
		n := int(requests.Add(1))
		answers[min(n, len(answers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func stream(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, text)
	}
}

func problem(status int, code string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
	}
}

const beat = `{"type":"device-heartbeat","at":"2026-03-01T12:00:00.000Z","data":{"device_id":"d","status":"active","connection":"online","last_active_at":"2026-03-01T12:00:00.000Z"}}`

func TestAStreamIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	url, _ := script(t, stream(": hello\nretry: 1\nid: a\n\nid: b\nevent: device-heartbeat\ndata: "+beat+"\n\n: \n\n"+
		"id: c\r\nevent: reset\r\ndata: {\"type\":\"reset\",\r\ndata: \"at\":\"2026-03-01T12:00:00.000Z\",\"data\":{}}\r\n\r\n"))
	var events []hearth.LiveEvent
	err := follow(t.Context(), url, quick, func(event hearth.LiveEvent) error {
		if events = append(events, event); len(events) == 2 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	value, err := events[0].Value()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if want := (hearth.Heartbeat{DeviceID: "d", Status: "active", Connection: "online", LastActiveAt: at}); err != nil || value != want {
		t.Errorf("the heartbeat is %+v, %v", value, err)
	}
	if events[0].ID != "b" || events[0].Type != hearth.EventDeviceHeartbeat || !events[0].At.Equal(at) {
		t.Errorf("the event is %+v", events[0])
	}
	if value, err := events[1].Value(); events[1].Type != hearth.EventReset || events[1].ID != "c" || value != nil || err != nil {
		t.Errorf("the reset is %+v, %v, %v", events[1], value, err)
	}
}

func TestALostConnectionGoesOnFromTheLastID(t *testing.T) {
	t.Parallel()
	var ids []string
	note := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			ids = append(ids, r.Header.Get("Last-Event-ID"))
			next(w, r)
		}
	}
	url, _ := script(t,
		note(stream("id: place\n\n")), // ends before any event
		note(stream("id: one\ndata: "+beat+"\n\nid: half\ndata: {")),
		note(problem(503, "unavailable")),
		note(problem(401, "token_expired")),
		note(stream("id: two\ndata: "+beat+"\n\n")),
	)
	count := 0
	err := follow(t.Context(), url, quick, func(hearth.LiveEvent) error {
		if count++; count == 2 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if want := []string{"", "place", "one", "one", "one"}; !slices.Equal(ids, want) {
		t.Errorf("came with the ids %q, want %q", ids, want)
	}
}

func TestARefusalIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status   int
		code     string
		requests int64
	}{
		{404, "not_found", 1}, {403, "forbidden", 1}, {422, "validation_failed", 1}, {401, "token_revoked", 2},
	} {
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			url, requests := script(t, problem(test.status, test.code))
			err := follow(t.Context(), url, quick, func(hearth.LiveEvent) error { return nil })
			var refused *hearth.Error
			if !errors.As(err, &refused) || refused.Status != test.status || string(refused.Code) != test.code {
				t.Errorf("gave %v", err)
			}
			if got := requests.Load(); got != test.requests {
				t.Errorf("asked %d times, want %d", got, test.requests)
			}
		})
	}
}

func TestASilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	hang := func(w http.ResponseWriter, r *http.Request) {
		stream("id: a\n\n")(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	url, requests := script(t, hang, stream("data: "+beat+"\n\n"))
	o := quick
	o.Silence = 50 * time.Millisecond
	if err := follow(t.Context(), url, o, func(hearth.LiveEvent) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if requests.Load() != 2 {
		t.Errorf("%d connections", requests.Load())
	}
}

func TestTheContextEndsTheWait(t *testing.T) {
	t.Parallel()
	url, _ := script(t, problem(503, "unavailable", "Retry-After", "100"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := follow(ctx, url, quick, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gave %v", err)
	}
}
