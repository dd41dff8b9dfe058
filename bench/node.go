package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	domain "hearth"
	"hearth/internal/realtime"
)

// everybody may do everything: what is measured is the way of an event, not who may follow it.
type everybody struct{}

func (everybody) Authenticate(_ context.Context, token string) (domain.Caller, error) {
	return domain.Caller{UserID: token, SessionID: token, Role: domain.RoleAdmin}, nil
}

func (everybody) Device(_ context.Context, id string) (domain.Device, error) {
	return domain.Device{ID: id}, nil
}

// serveNode is hearth's realtime side alone, with the routes of serveBare and SSE: what it takes longer than the bare node is
// what hearth adds to delivering, and not what it adds by storing.
func serveNode(ctx context.Context, addr string) error {
	node, err := realtime.New(realtime.Options{
		Users: everybody{}, Devices: everybody{}, Encode: func(event domain.Event) (json.RawMessage, error) {
			data, _ := event.Data.(json.RawMessage)
			return data, nil
		},
	})
	if err != nil {
		return err
	}
	if err := node.Start(); err != nil {
		return err
	}
	serve := func(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := handle(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}
	}
	return serveEvents(ctx, addr, map[string]http.Handler{
		"GET /ws": serve(node.ServeWebSocket), "GET /sse": serve(node.ServeSSE),
	}, func(device string, at time.Time, data []byte) error {
		node.Publish(domain.Event{
			Type: domain.EventDeviceHeartbeat, At: at, Data: json.RawMessage(data), DeviceID: device, Scope: domain.OrgScope("bench"),
		})
		return nil
	})
}

// serveEvents serves the routes, and POST /publish {"channels":[…]}, which sends each device's channel the event of a heartbeat.
func serveEvents(ctx context.Context, addr string, routes map[string]http.Handler,
	publish func(device string, at time.Time, data []byte) error,
) error {
	mux := http.NewServeMux()
	for route, handler := range routes {
		mux.Handle(route, handler)
	}
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /publish", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Channels []string `json:"channels"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now().UTC()
		at := now.Format("2006-01-02T15:04:05.000Z")
		for _, channel := range in.Channels {
			device := channel[len("device:"):]
			data := []byte(`{"device_id":"` + device + `","status":"active","connection":"online","last_active_at":"` + at + `"}`)
			if err := publish(device, now, data); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
