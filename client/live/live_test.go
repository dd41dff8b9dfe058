package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/client/live"
	"hearth/internal/realtime"
)

const annID = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a51"

func token(context.Context) (string, error) { return "ann", nil }

func options(url string) live.Options {
	return live.Options{URL: url, Token: token, MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond}
}

var errEnough = errors.New("enough")

// script answers one request after the other; the last answer repeats.
func script(t *testing.T, answers ...http.HandlerFunc) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
	}
}

const beat = `{"type":"device-heartbeat","at":"2026-03-01T12:00:00.000Z","data":{"device_id":"d","status":"active","connection":"online","last_active_at":"2026-03-01T12:00:00.000Z"}}`

func TestAStreamIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	url, _ := script(t, stream(": hello\nretry: 1\nid: a\n\nid: b\nevent: device-heartbeat\ndata: "+beat+"\n\n: \n\n"+
		"id: c\r\nevent: reset\r\ndata: {\"type\":\"reset\",\r\ndata: \"at\":\"2026-03-01T12:00:00.000Z\",\"data\":{}}\r\n\r\n"))
	var events []live.Event
	err := live.Follow(t.Context(), options(url), func(event live.Event) error {
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
	if want := (live.Heartbeat{DeviceID: "d", Status: "active", Connection: "online", LastActiveAt: at}); err != nil || value != want {
		t.Errorf("the heartbeat is %+v, %v", value, err)
	}
	if events[0].ID != "b" || events[0].Type != live.TypeDeviceHeartbeat || !events[0].At.Equal(at) {
		t.Errorf("the event is %+v", events[0])
	}
	if value, err := events[1].Value(); events[1].Type != live.TypeReset || events[1].ID != "c" || value != nil || err != nil {
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
	err := live.Follow(t.Context(), options(url), func(live.Event) error {
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
			err := live.Follow(t.Context(), options(url), func(live.Event) error { return nil })
			refused, ok := errors.AsType[*live.Refused](err)
			if !ok || refused.Status != test.status || refused.Code != test.code {
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
	o := options(url)
	o.Silence = 50 * time.Millisecond
	if err := live.Follow(t.Context(), o, func(live.Event) error { return errEnough }); !errors.Is(err, errEnough) {
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
	if err := live.Follow(ctx, options(url), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gave %v", err)
	}
}

type people struct{}

func (people) Authenticate(context.Context, string) (hearth.Caller, error) {
	return hearth.Caller{UserID: annID, Role: hearth.RoleUser}, nil
}

func (people) Device(context.Context, string) (hearth.Device, error) {
	return hearth.Device{}, hearth.NotFound("device")
}

// The real server, whose connections are cut again and again.
func TestNothingIsMissedWhileConnectionsAreCut(t *testing.T) {
	t.Parallel()
	node, err := realtime.New(realtime.Options{
		Users: people{}, Devices: people{}, Drain: time.Millisecond,
		Encode: func(event hearth.Event) (json.RawMessage, error) { return json.Marshal(event.Data) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}, 1000)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/realtime/sse", func(w http.ResponseWriter, r *http.Request) {
		opened <- struct{}{}
		if err := node.ServeSSE(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	const events = 500
	var followed sync.WaitGroup
	var numbers []int
	first := make(chan struct{})
	followed.Go(func() {
		err := live.Follow(t.Context(), options(server.URL), func(event live.Event) error {
			var number int
			if err := json.Unmarshal(event.Data, &number); err != nil || event.Type != live.TypeNotification {
				return fmt.Errorf("%+v: %w", event, err)
			}
			if len(numbers) == 0 {
				close(first)
			}
			if numbers = append(numbers, number); number == events {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Error(err)
		}
	})
	publish := func(number int) {
		node.Publish(hearth.Event{Type: hearth.EventNotification, At: time.Now(), Data: number, UserID: annID})
	}
	<-opened
	// The stream begins with the first event that it is there for; from then on none may be missing.
	began := false
	for !began {
		publish(0)
		select {
		case <-first:
			began = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	for number := 1; number <= events; number++ {
		publish(number)
		if number%20 == 0 {
			server.CloseClientConnections()
			<-opened
		}
	}
	followed.Wait()
	numbers = slices.DeleteFunc(numbers, func(number int) bool { return number == 0 })
	want := make([]int, events)
	for i := range want {
		want[i] = i + 1
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("came %v", numbers)
	}
}
