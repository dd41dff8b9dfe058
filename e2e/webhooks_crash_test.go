package e2e

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const webhookKills = 10

// A crash at any moment loses no event of a device that was created, and makes no second delivery of one: what comes again has the
// same webhook-id.
func TestKillingTheServerLosesNoWebhookAndDoublesNone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	deliveries := map[string]map[string]bool{} // webhook-ids by device
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct{ Data struct{ ID string } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return // the server died while it sent
		}
		mu.Lock()
		defer mu.Unlock()
		if deliveries[body.Data.ID] == nil {
			deliveries[body.Data.ID] = map[string]bool{}
		}
		deliveries[body.Data.ID][r.Header.Get("Webhook-Id")] = true
	}))
	defer receiver.Close()
	s := serve(t, "HEARTH_ACCESS_TTL=12h", "HEARTH_RATE_LIMITS=off", "HEARTH_WEBHOOK_ALLOW=127.0.0.0/8")
	ann, _ := s.signup("ann@example.com")
	ann.do("POST", "/webhooks", map[string]any{"name": "all", "url": receiver.URL, "events": []string{"device.created"}}, 201)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	var created []string
	for range webhookKills {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					a, err := ann.send(ctx, "POST", "/devices", map[string]any{"name": "lamp", "type": "lamp"})
					if err != nil || a.Status != 201 {
						return
					}
					var d struct{ ID string }
					a.Into(t, &d)
					mu.Lock()
					created = append(created, d.ID)
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+rng.IntN(400)) * time.Millisecond) // a crash has no moment of its own
		s.kill()
		cancel()
		wg.Wait()
		s.start()
	}
	missing := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range created {
			if len(deliveries[id]) == 0 {
				n++
			}
		}
		return n
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); missing() > 0 && time.Now().Before(deadline); {
		<-tick.C
	}
	if n := missing(); n > 0 {
		t.Errorf("%d of %d events were lost", n, len(created))
	}
	mu.Lock()
	defer mu.Unlock()
	for id, ids := range deliveries {
		if len(ids) != 1 {
			t.Errorf("the device %s has %d deliveries", id, len(ids))
		}
	}
	t.Logf("%d devices were created, %d deliveries came", len(created), len(deliveries))
}
