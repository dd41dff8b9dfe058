package guardedhttp

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// Whatever a receiver answers, a request takes little memory, and no more of the answer is read than its bound.
func TestHostileAnswersCostLittle(t *testing.T) { // alone: it counts the allocations of the process
	var bomb bytes.Buffer
	packed := gzip.NewWriter(&bomb)
	for range 64 {
		_, _ = packed.Write(make([]byte, 1<<20))
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	long := []byte(strings.Repeat("\u202e\x00", 16<<10))
	for name, answer := range map[string]http.HandlerFunc{
		"a bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"without an end": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(long); err != nil {
					return
				}
			}
		},
		"small pieces": func(w http.ResponseWriter, _ *http.Request) {
			for range 10_000 {
				if _, err := w.Write([]byte("x")); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
			}
		},
		"many headers": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 10_000 {
				w.Header().Add("X", strings.Repeat("x", i%100))
			}
		},
		"a long header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", strings.Repeat("9", 1<<20))
		},
	} {
		served := make(chan struct{})
		url := receive(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(served)
			answer(w, r)
		})
		client := New(local)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := sendTo(t, client, url, "s")
		runtime.ReadMemStats(&after)
		// The process has the receiver as well: a long header is in it more than once.
		if cost, most := after.TotalAlloc-before.TotalAlloc, uint64(8<<20); cost > most {
			t.Errorf("%s costs %d bytes, more than %d", name, cost, most)
		}
		if refused := strings.Contains(name, "header"); refused == (out.Status == http.StatusOK) {
			t.Errorf("%s: %+v", name, out)
		}
		client.client.CloseIdleConnections()
		<-served
	}
}
