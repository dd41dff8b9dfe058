package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"hearth/internal/api/rest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestTheDocumentationIsOnePageWithoutScripts(t *testing.T) {
	t.Parallel()
	a, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/docs", nil))
	page := w.Body.String()
	if w.Code != 200 || !strings.Contains(page, "<main>") || strings.Contains(page, "<script") || strings.Contains(page, "http://") {
		t.Errorf("%d %.300s", w.Code, page)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "style-src 'sha256-") || !strings.Contains(csp, "img-src 'self'") || !strings.Contains(page, `<link rel="icon" href="/icon.svg"`) {
		t.Errorf("policy %s", csp)
	}
}

func TestAPageIsFoundWithASlashBehindIt(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	a, err := New(Options{Pages: map[string]http.Handler{"/docs/guide": page, "/docs/guide/{path...}": page, "/{$}": page, "/devices/{id}": page}})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"/docs/": "/docs", "/docs/guide/": "/docs/guide", "/docs/guide/x/": "/docs/guide/x", "/devices/1/?a=b%2f": "/devices/1?a=b%2f", "/devices/%5cx/": "/devices/%5Cx",
		"/": "", "/docs": "", "//docs/": "", "/docs//": "", "/docs/../docs/": "", "/nothing/": "", "/api/v1/": "", "/api/v1/devices/": "", "/docs%ff/": "",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if r.URL, err = url.ParseRequestURI(target); err != nil {
			t.Fatal(err)
		}
		r.RequestURI = target
		a.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != want || (want != "") != (w.Code == http.StatusFound) {
			t.Errorf("%s: %d to %q, want %q", target, w.Code, got, want)
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/docs/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("POST: %d", w.Code)
	}
}

// Everyone shares the bytes of an answer that is the same for everyone, in each encoding.
func TestStaticAnswersAreSharedBytes(t *testing.T) {
	t.Parallel()
	a, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]*byte{}
	for range 2 {
		for accepted, encoding := range map[string]string{
			"": "", "gzip": "gzip", "br, gzip;q=0.5": "gzip", "gzip, zstd": "zstd", "gzip;q=0": "", "x": "",
		} {
			r := httptest.NewRequest("GET", "/openapi.json", nil)
			r.Header.Set("Accept-Encoding", accepted)
			w := &keptWriter{header: http.Header{}}
			a.ServeHTTP(w, r)
			if got := w.header.Get("Content-Encoding"); got != encoding || w.header.Get("ETag") == "" || w.header.Get("Vary") != "Origin" {
				t.Errorf("%q: %q %v", accepted, got, w.header)
			}
			if len(w.pieces) != 1 {
				t.Fatalf("%q: %d pieces", accepted, len(w.pieces))
			}
			first := &w.pieces[0][0]
			if seen[encoding] != nil && seen[encoding] != first {
				t.Errorf("%q: the bytes are another copy", accepted)
			}
			seen[encoding] = first
			var reader io.Reader = bytes.NewReader(w.pieces[0])
			switch encoding {
			case "gzip":
				reader, err = gzip.NewReader(reader)
			case "zstd":
				reader, err = zstd.NewReader(reader)
			}
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(reader); err != nil || !json.Valid(text) {
				t.Errorf("%q: %v", accepted, err)
			}
		}
	}
}

// keptWriter keeps the pieces of an answer themselves.
type keptWriter struct {
	header http.Header
	pieces [][]byte
}

func (k *keptWriter) Header() http.Header { return k.header }
func (*keptWriter) WriteHeader(int)       {}
func (k *keptWriter) Write(p []byte) (int, error) {
	k.pieces = append(k.pieces, p)
	return len(p), nil
}

// 600 clients that ask for the largest page and do not read it hold little memory.
func TestSlowReadersOfTheDocumentHoldLittleMemory(t *testing.T) {
	a, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	defer server.Close()
	const readers = 600
	used := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapInuse + stats.StackInuse
	}
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(conn, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
		_, _ = io.ReadFull(conn, make([]byte, 16)) // its answer has begun
		return conn
	}
	defer ask().Close() // the document is made
	before := used()
	slow := make([]net.Conn, readers)
	for i := range slow {
		slow[i] = ask()
	}
	defer func() {
		for _, conn := range slow {
			_ = conn.Close()
		}
	}()
	if held := int64(used()) - int64(before); held > readers*64<<10 {
		t.Errorf("%d slow readers hold %d KiB each", readers, held/readers/1024)
	}
}

// fewAtOnce are Peers that allow an address one thing at a time.
type fewAtOnce map[string]bool

func (f fewAtOnce) Enter(address string) (leave func(), ok bool) {
	if f[address] {
		return nil, false
	}
	f[address] = true
	return func() { delete(f, address) }, true
}

// Behind a proxy the requests of each client are counted, by the address that the proxy names.
func TestAClientBehindAProxyHasSoManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	peers := fewAtOnce{}
	a, err := New(Options{Serving: rest.Options{Peers: peers, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(peer, client string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/openapi.json", nil)
		r.RemoteAddr = peer + ":1"
		r.Header.Set("X-Forwarded-For", client)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
	for range 3 { // one after the other is not at once
		if w := get("192.0.2.1", "203.0.113.5"); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	peers["203.0.113.5"] = true
	w := get("192.0.2.1", "203.0.113.5")
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"limit":"connections"`) {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	if w := get("192.0.2.1", "203.0.113.6"); w.Code != 200 {
		t.Errorf("another client: %d", w.Code)
	}
	if w := get("192.0.2.9", "203.0.113.5"); w.Code != 200 {
		t.Errorf("a client that is no proxy: %d", w.Code)
	}
}
