package rest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// answerWriter notes status and size of an answer.
type answerWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	leave  func() // counts a connection that is hijacked as closed; nil: nothing does
}

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what was written so far.
func (w *answerWriter) Flush() {
	// A connection that cannot flush has no stream to wait for.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over, for WebSocket.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.status = http.StatusSwitchingProtocols
	if w.leave != nil {
		conn = &hijackedConn{Conn: conn, leave: w.leave}
	}
	return conn, buffered, nil
}

// hijackedConn is the connection of a client behind a proxy, which counts among those of its address until it is closed.
type hijackedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *hijackedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// stallTimeout is how long a client may take for one piece of a file; a download as a whole may take any time.
const stallTimeout = 60 * time.Second

// KeepSending moves the deadline of an answer on, before the next piece of a file is written.
func KeepSending(control *http.ResponseController) {
	// Where the connection has no deadlines (tests), there is none to move.
	_ = control.SetWriteDeadline(time.Now().Add(stallTimeout))
}

// logRequest writes the request's line. A 5xx is an error, a slow request a warning of kind performance.
func logRequest(o Options, r *http.Request, info *Request) {
	level, kind := slog.LevelInfo, "app"
	switch {
	case info.Err != nil && !info.Gone:
		level, kind = slog.LevelError, "error"
	case o.SlowRequest > 0 && info.Duration >= o.SlowRequest && !info.Stream:
		level, kind = slog.LevelWarn, "performance"
	case info.Status == http.StatusUnauthorized, info.Status == http.StatusForbidden, info.Status == http.StatusTooManyRequests:
		kind = "security"
	}
	ctx := r.Context()
	if !o.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("kind", kind), slog.String("method", info.Method), slog.String("route", info.Route), slog.Int("status", info.Status), slog.Float64("duration_ms", float64(info.Duration.Microseconds())/1000),
		slog.Int64("bytes", info.Bytes), slog.String("caller", info.Caller.Actor()), slog.String("ip", info.Caller.IP))
	if info.Code != "" {
		attrs = append(attrs, slog.String("code", string(info.Code)))
	}
	if info.Err != nil {
		attrs = append(attrs, slog.String("err", info.Err.Error()))
	}
	line := slog.NewRecord(time.Now(), level, "request", 0) // without the place in the code, which costs a walk over the stack
	line.AddAttrs(attrs...)
	_ = o.Logger.Handler().Handle(ctx, line) // as Logger does: there is nowhere to report it
}

// withETag returns a 200 answer an entity tag of its content, and answers 304 where the client has it already. A tag that
// the handler set (a version) stays in front: "7-0123456789abcdef".
func (rt *Router) withETag(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		held := &heldAnswer{header: w.Header(), body: takeBuffer()}
		defer held.body.release()
		if err := next(held, r); err != nil {
			return err
		}
		if held.status != 0 && held.status != http.StatusOK {
			w.WriteHeader(held.status)
			_, _ = w.Write(held.body.Bytes()) // the client may have gone
			return nil
		}
		tag := entityTag(strings.Trim(w.Header().Get("ETag"), `"`), held.body.Bytes())
		w.Header().Set("ETag", tag)
		if w.Header().Get("Cache-Control") == "" {
			w.Header().Set("Cache-Control", "private, no-cache")
		}
		if rt.notModified(w, r, tag) {
			w.Header().Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		w.Header().Set("Content-Length", strconv.Itoa(held.body.Len()))
		_, _ = w.Write(held.body.Bytes())
		return nil
	}
}

// entityTag is of the content alone, so that every instance returns the same.
func entityTag(version string, body []byte) string {
	sum := sha256.Sum256(body)
	if version != "" {
		version += "-"
	}
	return `"` + version + hex.EncodeToString(sum[:8]) + `"`
}

// heldAnswer keeps an answer back. Answers of operations with ETag are pages and single objects: their size is bounded.
type heldAnswer struct {
	header http.Header
	status int
	body   *pooledBuffer
}

func (h *heldAnswer) Header() http.Header         { return h.header }
func (h *heldAnswer) Write(p []byte) (int, error) { return h.body.Write(p) }
func (h *heldAnswer) WriteHeader(status int)      { h.status = status }

// pooledBuffer is used again for other answers: pages of 20 KB are the most that the collector would have to do.
type pooledBuffer struct{ bytes.Buffer }

// maxPooledBuffer bounds what a buffer that is not in use may hold.
const maxPooledBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new(pooledBuffer) }} // of pooledBuffers

func takeBuffer() *pooledBuffer {
	return buffers.Get().(*pooledBuffer) //nolint:forcetypeassert // nothing else is in it
}

// release ends the use of the buffer and of its bytes.
func (b *pooledBuffer) release() {
	if b.Cap() <= maxPooledBuffer {
		b.Reset()
		buffers.Put(b)
	}
}
