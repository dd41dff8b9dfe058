package rest

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// staticAnswers are the answers that are the same for everyone: the pages, their files and the OpenAPI document. All requests share the bytes
// of each, compressed once, so that clients that read slowly hold none of their own.
type staticAnswers struct {
	mu    sync.Mutex
	byTag map[string]*staticAnswer
}

// staticAnswer is one of them, as it is and compressed. A form that is not smaller is nil.
type staticAnswer struct{ plain, gzip, zstd []byte }

// get returns the answer with that entity tag; body is what it is made of the first time.
func (s *staticAnswers) get(tag string, body []byte) *staticAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byTag[tag]; known != nil {
		return known
	}
	made := &staticAnswer{plain: body, gzip: smaller(gzipped(body), body), zstd: smaller(zstandard(body), body)}
	if s.byTag == nil {
		s.byTag = map[string]*staticAnswer{}
	}
	s.byTag[tag] = made
	return made
}

// serveStatic returns a handler with the answer of next, which is the same for everyone and written in one piece that nothing changes.
func (rt *Router) serveStatic(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		piece := &staticWriter{header: w.Header(), status: http.StatusOK}
		if err := next(piece, r); err != nil {
			return err
		}
		if piece.status != http.StatusOK {
			w.WriteHeader(piece.status)
			_, _ = w.Write(piece.body) // the client may have gone
			return nil
		}
		header, tag := w.Header(), entityTag("", piece.body)
		header.Set("ETag", tag)
		if header.Get("Cache-Control") == "" {
			header.Set("Cache-Control", "private, no-cache")
		}
		if rt.notModified(w, r, tag) {
			header.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		answer := rt.static.get(tag, piece.body)
		body, encoding := answer.plain, encodingOf(r.Header.Values("Accept-Encoding"))
		switch {
		case encoding == "zstd" && answer.zstd != nil:
			body = answer.zstd
		case encoding == "gzip" && answer.gzip != nil:
			body = answer.gzip
		default:
			encoding = ""
		}
		if encoding != "" {
			header.Set("Content-Encoding", encoding)
		}
		header.Add("Vary", "Accept-Encoding")
		header.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client may have gone
		return nil
	}
}

// staticWriter keeps the answer of a handler: one that is 200 without a copy.
type staticWriter struct {
	header http.Header
	status int
	body   []byte
}

func (s *staticWriter) Header() http.Header    { return s.header }
func (s *staticWriter) WriteHeader(status int) { s.status = status }

func (s *staticWriter) Write(p []byte) (int, error) {
	if s.body == nil && s.status == http.StatusOK {
		s.body = p
	} else {
		s.body = append(slices.Clip(s.body), p...)
	}
	return len(p), nil
}

// encodingOf returns the encoding for a client that accepts these: zstd, gzip, or "" for none.
func encodingOf(accepted []string) string {
	best := ""
	for part := range strings.SplitSeq(strings.Join(accepted, ","), ",") {
		name, parameter, _ := strings.Cut(part, ";")
		if _, quality, ok := strings.Cut(parameter, "="); ok {
			if q, err := strconv.ParseFloat(strings.TrimSpace(quality), 64); err != nil || q <= 0 {
				continue
			}
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "zstd":
			return "zstd"
		case "gzip":
			best = "gzip"
		}
	}
	return best
}

// minCompressed is the size from which an answer is compressed.
const minCompressed = 1024

func smaller(compressed, body []byte) []byte {
	if len(body) < minCompressed || len(compressed) >= len(body) {
		return nil
	}
	return compressed
}

func gzipped(body []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		panic("rest: the compression level is a constant: " + err.Error())
	}
	_, _ = w.Write(body) // into memory
	_ = w.Close()
	return out.Bytes()
}

func zstandard(body []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("rest: the compression options are constants: " + err.Error())
	}
	defer func() { _ = w.Close() }()
	return w.EncodeAll(body, nil)
}
