package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to check the file itself

	"hearth/internal/apitest"
)

const (
	kills       = 50
	crashWriter = 4
)

// crashLoad writes to its own device until the server dies. Each log has a value that was never used before, so that a
// lost and a doubled one both show.
type crashLoad struct {
	device string
	next   int
	// acked and sent are values of logs that were acknowledged, and that may or may not have been stored.
	acked map[int]bool
	sent  map[int]bool
}

func (l *crashLoad) run(ctx context.Context, c *client, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := 1
		if rng.IntN(3) == 0 {
			n = 1 + rng.IntN(400)
		}
		items := make([]map[string]any, n)
		values := make([]int, n)
		for i := range items {
			values[i] = l.next
			items[i] = map[string]any{"device_id": l.device, "event": "count", "value": l.next}
			l.sent[l.next] = true
			l.next++
		}
		var a apitest.Answer
		var err error
		if n == 1 {
			a, err = c.send(ctx, "POST", "/devices/"+l.device+"/logs", map[string]any{"event": "count", "value": values[0]})
		} else {
			a, err = c.send(ctx, "POST", "/logs", items)
		}
		if err != nil || a.Status != 201 {
			return // the server is gone
		}
		for _, v := range values {
			l.acked[v] = true
			delete(l.sent, v)
		}
	}
}

// stored reads every value of the device back, page by page.
func (l *crashLoad) stored(t *testing.T, c *client) map[int]int {
	t.Helper()
	found := map[int]int{}
	cursor := ""
	for {
		var page struct {
			Items []struct {
				Value float64 `json:"value"`
			} `json:"items"`
			Next *string `json:"next_cursor"`
		}
		c.do("GET", "/devices/"+l.device+"/logs?range=7d&limit=200&fields=value&cursor="+cursor, nil, 200).Into(t, &page)
		for _, item := range page.Items {
			found[int(item.Value)]++
		}
		if page.Next == nil {
			return found
		}
		cursor = *page.Next
	}
}

// A crash at any moment loses nothing that was acknowledged and doubles nothing, and the sums agree with the logs.
func TestKillingTheServerUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=12h")
	ann, _ := s.signup("ann@example.com")
	loads := make([]*crashLoad, crashWriter)
	for i := range loads {
		loads[i] = &crashLoad{device: ann.device(fmt.Sprint("device ", i)), next: i * 10_000_000, acked: map[int]bool{}, sent: map[int]bool{}}
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var slowest atomic.Int64
	for range kills {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, l := range loads {
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
			c := &client{s: s, token: ann.token, http: s.anonymous().http}
			wg.Go(func() { l.run(ctx, c, own) })
		}
		// The moment of a crash is any moment.
		time.Sleep(time.Duration(20+rng.IntN(180)) * time.Millisecond)
		s.kill()
		cancel()
		wg.Wait()
		began := time.Now()
		s.start()
		slowest.Store(max(slowest.Load(), int64(time.Since(began))))
	}
	t.Logf("slowest start after a crash: %s", time.Duration(slowest.Load()))
	total := 0
	for _, l := range loads {
		if len(l.acked) == 0 {
			t.Fatal("nothing was acknowledged: the test tested nothing")
		}
		found := l.stored(t, ann)
		for v := range l.acked {
			if found[v] != 1 {
				t.Errorf("acknowledged value %d is stored %d times", v, found[v])
			}
		}
		for v, n := range found {
			if n > 1 || !l.acked[v] && !l.sent[v] {
				t.Errorf("value %d is stored %d times, sent %v", v, n, l.sent[v])
			}
			total += n
		}
		var usage struct {
			Summary struct {
				Count int64 `json:"count"`
			} `json:"summary"`
		}
		ann.do("GET", "/devices/"+l.device+"/usage?range=7d&interval=hour", nil, 200).Into(t, &usage)
		if usage.Summary.Count != int64(len(found)) {
			t.Errorf("usage counts %d logs, %d are stored", usage.Summary.Count, len(found))
		}
	}
	t.Logf("%d logs are stored after %d kills", total, kills)
	s.stop()
	checkIntegrity(t, filepath.Join(s.dir, "hearth.db"))
}

func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %q %v", verdict, err)
	}
}
