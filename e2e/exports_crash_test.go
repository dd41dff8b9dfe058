package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	exportKills = 20
	exportLogs  = 200_000
	// resumeLimit is what is promised: an export that was cut off goes on within it. Here they also end within it.
	resumeLimit = 30 * time.Second
)

// exportOf is what the tests read of an export.
type exportOf struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Result *struct {
		Records int    `json:"record_count"`
		Size    int64  `json:"file_size"`
		SHA256  string `json:"sha256"`
	} `json:"result"`
	Error *struct {
		Code string `json:"code"`
	} `json:"error"`
	CompletedAt *time.Time `json:"completed_at"`
}

// Exports that a crash cut off are begun again by themselves: every one ends, each with one whole file, and nothing else is left.
func TestKillingTheServerDuringExportsLeavesNoneStuckAndNoneDoubled(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=12h")
	ann, _ := s.signup("ann@example.com")
	device := ann.device("meter")
	ann.sendLogs(device, exportLogs)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	orders := []map[string]any{
		{"type": "logs", "format": "csv", "compression": "gzip"}, {"type": "logs", "format": "parquet"}, {"type": "logs", "format": "json"},
	}
	var ids []string
	for kill := range exportKills {
		for range 2 {
			var e exportOf
			ann.do("POST", "/exports", orders[(kill+len(ids))%len(orders)], 202).Into(t, &e)
			ids = append(ids, e.ID)
		}
		// The moment of a crash is any moment.
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		s.kill()
		s.start()
	}
	back := time.Now()
	open := map[string]bool{}
	for _, id := range ids {
		open[id] = true
	}
	for len(open) > 0 && time.Since(back) < resumeLimit {
		time.Sleep(100 * time.Millisecond)
		for id := range open {
			var e exportOf
			ann.do("GET", "/exports/"+id, nil, 200).Into(t, &e)
			switch e.Status {
			case "queued", "running":
				continue
			case "completed":
				checkExport(t, ann, e, exportLogs)
			default:
				t.Errorf("the export %s is %s", id, e.Status)
			}
			delete(open, id)
		}
	}
	t.Logf("%d exports had ended %s after the last of %d crashes", len(ids), time.Since(back), exportKills)
	if len(open) > 0 {
		t.Errorf("%d of %d exports are stuck", len(open), len(ids))
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "files", "exports"))
	if err != nil || len(files) != len(ids) {
		t.Errorf("%d files of %d exports, %v", len(files), len(ids), err)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "files", ".tmp")); err != nil || len(left) != 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
}

// sendLogs stores n logs of the device, of the last day.
func (c *client) sendLogs(device string, n int) {
	c.s.t.Helper()
	began := time.Now().Add(-24 * time.Hour).UTC()
	for sent := 0; sent < n; sent += 10_000 {
		items := make([]map[string]any, min(10_000, n-sent))
		for i := range items {
			at := began.Add(time.Duration(sent+i) * time.Millisecond)
			items[i] = map[string]any{"device_id": device, "event": "count", "value": sent + i, "timestamp": at}
		}
		c.do("POST", "/logs", items, 201)
	}
}

// checkExport downloads the file and holds it against what the export says of it, and the number of logs that it should have.
func checkExport(t *testing.T, c *client, e exportOf, logs int) {
	t.Helper()
	a, err := c.send(context.WithoutCancel(t.Context()), "GET", "/exports/"+e.ID+"/file", nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(a.Body)
	if got := hex.EncodeToString(sum[:]); a.Status != 200 || e.Result == nil || e.Result.Records != logs || got != e.Result.SHA256 {
		t.Errorf("%d: the file of %s has %d bytes with the sum %s; the export says %s", a.Status, e.ID, len(a.Body), got, fmt.Sprintf("%+v", e.Result))
	}
}
