package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"hearth"
	client "hearth/client/go"
	"hearth/internal/realtime"
)

const annID = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a51"

var errEnough = errors.New("enough")

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
	mux.HandleFunc("POST /api/v1/realtime/ticket", func(w http.ResponseWriter, r *http.Request) {
		ticket, err := node.IssueTicket(r.Context(), "ann")
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"ticket": ticket})
	})
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
	follower, err := client.New(server.URL, client.WithToken("ann"))
	if err != nil {
		t.Fatal(err)
	}
	quick := client.FollowOptions{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond}
	var followed sync.WaitGroup
	var numbers []int
	first := make(chan struct{})
	followed.Go(func() {
		err := follower.Follow(t.Context(), quick, func(event client.LiveEvent) error {
			var number int
			if err := json.Unmarshal(event.Data, &number); err != nil || event.Type != client.EventNotification {
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
