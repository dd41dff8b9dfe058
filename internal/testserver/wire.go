package testserver

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Wire is a network between a test and a server that the test can cut, hang and slow down.
type Wire struct {
	tb    testing.TB
	proxy *toxiproxy.Proxy
}

// NewWire lays a wire to the server at that address ("host:port"). It is taken away when the test ends.
func NewWire(tb testing.TB, upstream string) *Wire {
	tb.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	w := &Wire{tb: tb, proxy: toxiproxy.NewProxy(server, "wire", FreeAddr(tb), upstream)}
	w.Mend()
	tb.Cleanup(w.Cut)
	return w
}

// Addr is where the test connects to; it never changes.
func (w *Wire) Addr() string { return w.proxy.Listen }

// Cut ends every connection; new ones are refused.
func (w *Wire) Cut() { w.proxy.Stop() }

// Mend lets connections through again after Cut.
func (w *Wire) Mend() {
	w.tb.Helper()
	if err := w.proxy.Start(); err != nil {
		w.tb.Fatalf("start the wire: %v", err)
	}
}

// Hang holds back everything that the server answers, until Clear.
func (w *Wire) Hang() { w.toxic(`{"type": "timeout", "attributes": {"timeout": 0}}`) }

// Slow delays everything that the server answers, until Clear.
func (w *Wire) Slow(by time.Duration) {
	w.toxic(`{"type": "latency", "attributes": {"latency": ` + strconv.FormatInt(by.Milliseconds(), 10) + `}}`)
}

func (w *Wire) toxic(description string) {
	w.tb.Helper()
	if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(description)); err != nil {
		w.tb.Fatalf("disturb the wire: %v", err)
	}
}

// Clear ends Hang and Slow. Connections that hung are ended.
func (w *Wire) Clear() { w.proxy.Toxics.ResetToxics(context.Background()) }
