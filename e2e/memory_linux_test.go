package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Storms of batches, some of them compressed, are survived by a program that has 128 MiB, again and again: what is worked on at once is bounded,
// and everything that was accepted is there.
func TestAStormOfBatchesIsSurvivedInLittleMemory(t *testing.T) {
	t.Parallel()
	const logs = 10_000
	for name, storm := range map[string]struct {
		clients, batches, least int
		value                   func(client, batch, i int) string
	}{
		"numbers": {24, 3, 3 * logs, func(_, _, i int) string { return fmt.Sprintf("%d.%04d", i%40, i) }},
		"different texts": {24, 2, 2 * logs, func(client, batch, i int) string {
			return fmt.Sprintf("\"%0200d\"", (client*2+batch)*logs+i)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "GOMEMLIMIT=80MiB")
			ann, _ := s.signup("ann@example.com")
			device := ann.device("storm")
			accepted := s.storm(t, ann, storm.clients, storm.batches, func(client, batch int) string {
				var body strings.Builder
				for i := range logs {
					fmt.Fprintf(&body, ",{\"device_id\":%q,\"event\":\"temperature\",\"value\":%s}", device, storm.value(client, batch, i))
				}
				return "[" + body.String()[1:] + "]"
			}) * logs
			t.Logf("%d of %d logs were accepted", accepted, storm.clients*storm.batches*logs)
			if accepted < storm.least {
				t.Errorf("%d logs were accepted", accepted)
			}
			var figures struct {
				Summary struct {
					Total int `json:"total_logs"`
				} `json:"summary"`
			}
			ann.do("GET", "/analytics/dashboard?range=24h", nil, 200).Into(t, &figures)
			if figures.Summary.Total != accepted {
				t.Errorf("%d logs are there, of %d that were accepted", figures.Summary.Total, accepted)
			}
			s.fitsInto128MiB(t)
		})
	}
}

// storm sends batches of logs by many clients at once, every other client's compressed, and returns how many were accepted. Those that are not
// are asked to come again.
func (s *server) storm(t *testing.T, ann *client, clients, batches int, body func(client, batch int) string) int {
	t.Helper()
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for batch := range batches {
				of, header := body(i, batch), []string(nil)
				if i%2 == 0 {
					var packed bytes.Buffer
					w := gzip.NewWriter(&packed)
					if _, err := w.Write([]byte(of)); err != nil || w.Close() != nil {
						t.Error(err)
					}
					of, header = packed.String(), []string{"Content-Encoding", "gzip", "Content-Type", "application/json"}
				}
				a, err := ann.send(t.Context(), "POST", "/logs", of, header...)
				switch {
				case err != nil:
					t.Error(err)
				case a.Status == http.StatusCreated:
					accepted.Add(1)
				case a.Status != http.StatusServiceUnavailable && a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "":
					t.Errorf("the answer is %d %.200s", a.Status, a.Body)
				}
			}
		})
	}
	wg.Wait()
	return int(accepted.Load())
}

// fitsInto128MiB fails the test if the program has had more memory. What is of files, the program itself above all, is given up where memory is
// short.
func (s *server) fitsInto128MiB(t *testing.T) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	size := func(name string) int {
		_, after, _ := strings.Cut(string(status), "\n"+name+":")
		n, err := strconv.Atoi(strings.TrimSpace(strings.Split(after, "kB")[0]))
		if err != nil {
			t.Fatalf("no %s in %s", name, status)
		}
		return n
	}
	peak := size("VmHWM") - size("RssFile")
	t.Logf("the program had %d MiB at most", peak>>10)
	if peak > 128<<10 {
		t.Errorf("the program had %d MiB, more than 128", peak>>10)
	}
}
