package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A storm of batches of 10,000, some of them compressed, is survived by a program that has 128 MiB: what is worked on at once is bounded, and
// everything that was accepted is there.
func TestAStormOfBatchesIsSurvivedInLittleMemory(t *testing.T) {
	t.Parallel()
	const clients, batches, logs, most = 24, 3, 10_000, 128 << 10 // KiB
	s := serve(t, "GOMEMLIMIT=80MiB")
	ann, _ := s.signup("ann@example.com")
	device := ann.device("storm")
	var batch bytes.Buffer
	for i := range logs {
		fmt.Fprintf(&batch, ",{\"device_id\":%q,\"event\":\"temperature\",\"value\":%d.%04d}", device, i%40, i)
	}
	body := "[" + batch.String()[1:] + "]"
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(body)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	accepted := 0
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			of, header := body, []string(nil)
			if i%2 == 0 {
				of, header = packed.String(), []string{"Content-Encoding", "gzip", "Content-Type", "application/json"}
			}
			for range batches {
				a, err := ann.send(t.Context(), "POST", "/logs", of, header...)
				switch {
				case err != nil:
					t.Error(err)
				case a.status == 201:
					mu.Lock()
					accepted += logs
					mu.Unlock()
				case a.status != 503 && a.status != 429 || a.header.Get("Retry-After") == "":
					t.Errorf("the answer is %d %.200s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
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
	peak := size("VmHWM") - size("RssFile") // what is of files, the program itself above all, is given up where memory is short
	t.Logf("%d of %d logs were accepted, with %d MiB at most", accepted, clients*batches*logs, peak>>10)
	if peak > most {
		t.Errorf("the program had %d MiB, more than %d", peak>>10, most>>10)
	}
	if accepted < logs*batches {
		t.Errorf("%d logs were accepted", accepted)
	}
	var figures struct {
		Summary struct {
			Total int `json:"total_logs"`
		} `json:"summary"`
	}
	ann.do("GET", "/analytics/dashboard?range=24h", nil, 200).into(t, &figures)
	if figures.Summary.Total != accepted {
		t.Errorf("%d logs are there, of %d that were accepted", figures.Summary.Total, accepted)
	}
}
