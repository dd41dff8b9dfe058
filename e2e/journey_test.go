package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"syscall"
	"testing"
	"time"
)

// From sign-up to exact analytics: what the README promises a stranger.
func TestAStrangerGetsTheExactFigureBackInBothModes(t *testing.T) {
	t.Parallel()
	inBothModes(t, exactFigures)
}

func exactFigures(t *testing.T, s *server) {
	t.Helper()
	ann, _ := s.signup("ann@example.com")
	kitchen, cellar := ann.device("kitchen"), ann.device("cellar")
	start := time.Now().UTC().Add(-90 * time.Minute).Truncate(time.Second)
	var batch []map[string]any
	sum := map[string]float64{}
	for i := range 1000 {
		id, value := kitchen, float64(i)/8
		if i%3 == 0 {
			id, value = cellar, -float64(i)
		}
		sum[id] += value
		batch = append(batch, map[string]any{
			"device_id": id, "event": "temperature", "value": value,
			"timestamp": start.Add(time.Duration(i) * 5 * time.Second).Format(time.RFC3339),
		})
	}
	var accepted struct {
		Accepted int `json:"accepted"`
	}
	ann.do("POST", "/logs", batch, 201).Into(t, &accepted)
	if accepted.Accepted != 1000 {
		t.Fatalf("accepted %d", accepted.Accepted)
	}
	var dashboard struct {
		Summary struct {
			Devices int     `json:"total_devices"`
			Total   int     `json:"total_logs"`
			Logs    int     `json:"logs"`
			Value   float64 `json:"total_value"`
		} `json:"summary"`
		Devices []struct {
			ID    string  `json:"device_id"`
			Count int     `json:"log_count"`
			Value float64 `json:"total_value"`
		} `json:"devices"`
		Trend []struct {
			Count int `json:"log_count"`
		} `json:"trend"`
		Events []struct {
			Event string `json:"event"`
			Count int    `json:"count"`
		} `json:"events"`
	}
	ann.do("GET", "/analytics/dashboard?range=24h", nil, 200).Into(t, &dashboard)
	if d := dashboard.Summary; d.Devices != 2 || d.Total != 1000 || d.Logs != 1000 || math.Abs(d.Value-sum[kitchen]-sum[cellar]) > 1e-6 {
		t.Errorf("summary %+v, want 1000 logs of %v", d, sum)
	}
	if len(dashboard.Devices) != 2 || dashboard.Devices[0].ID != kitchen || dashboard.Devices[0].Count != 666 ||
		math.Abs(dashboard.Devices[0].Value-sum[kitchen]) > 1e-6 || dashboard.Devices[1].Count != 334 {
		t.Errorf("devices %+v", dashboard.Devices)
	}
	trend := 0
	for _, bucket := range dashboard.Trend {
		trend += bucket.Count
	}
	if trend != 1000 || len(dashboard.Events) != 1 || dashboard.Events[0].Count != 1000 {
		t.Errorf("trend %d, events %+v", trend, dashboard.Events)
	}

	// A write shows in the very next answer, at the other instances of a fleet within a second, and survives a restart.
	ann.do("POST", "/devices/"+kitchen+"/logs", map[string]any{"event": "temperature", "value": 1}, 201)
	delay := time.Duration(0)
	if s.members != nil {
		delay = time.Second
	}
	within(t, delay, "another log shows", func() string {
		ann.do("GET", "/analytics/dashboard?range=24h", nil, 200).Into(t, &dashboard)
		if dashboard.Summary.Total != 1001 {
			return fmt.Sprintf("%d logs", dashboard.Summary.Total)
		}
		return ""
	})
	s.stop()
	s.start()
	ann.do("GET", "/analytics/dashboard?range=24h", nil, 200).Into(t, &dashboard)
	if dashboard.Summary.Total != 1001 || dashboard.Summary.Logs != 1001 {
		t.Errorf("after a restart: %+v", dashboard.Summary)
	}
}

// SIGTERM: what is under way is finished, what comes later finds the door closed; nothing in between.
func TestStoppingFailsNoRequestUnderWay(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	id := ann.device("kitchen")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	results := make(chan string, 100)
	reached := make(chan struct{}, 1000)
	for range 8 {
		c := &client{s: s, token: ann.token, http: s.anonymous().http}
		wg.Go(func() {
			for ctx.Err() == nil {
				a, err := c.send(ctx, "POST", "/devices/"+id+"/heartbeat", map[string]any{})
				if err != nil {
					return // the connection was refused or closed between requests: nobody was told anything
				}
				select {
				case reached <- struct{}{}:
				default:
				}
				if a.Status != 200 {
					results <- fmt.Sprintf("%d %s", a.Status, a.Body)
					return
				}
			}
		})
	}
	for range 200 {
		<-reached
	}
	s.signal(syscall.SIGTERM)
	<-s.ended
	cancel()
	wg.Wait()
	close(results)
	for r := range results {
		t.Errorf("a request under way was answered %s", r)
	}
	if s.exit != nil {
		t.Errorf("the program ended with %v", s.exit)
	}
}

func TestTheOpenAPIDocumentIsServedInBothModes(t *testing.T) {
	t.Parallel()
	inBothModes(t, openAPIIsServed)
}

func openAPIIsServed(t *testing.T, s *server) {
	t.Helper()
	var doc struct {
		OpenAPI string                     `json:"openapi"`
		Paths   map[string]json.RawMessage `json:"paths"`
	}
	s.anonymous().do("GET", "/openapi.json", nil, 200).Into(t, &doc)
	if doc.OpenAPI != "3.1.0" || doc.Paths["/api/v1/devices/{id}"] == nil {
		t.Errorf("openapi %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
}
