package s3blob_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/blob/blobtest"
	"hearth/internal/blob/s3blob"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t testing.TB) func() blob.Store {
		url := serve(t, nil)
		return func() blob.Store { return open(t, url) }
	})
}

// serve runs an S3 server with an empty bucket; wrap, if set, may answer instead of it.
func serve(t testing.TB, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(backend).Server()
	if wrap != nil {
		h = wrap(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return "s3://key:secret@bucket/some/prefix?region=us-east-1&part_size=5242880&endpoint=" + server.URL
}

func open(t testing.TB, url string) *s3blob.Store {
	t.Helper()
	o, err := s3blob.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3blob.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// multipart counts uploads in parts that were begun and not ended.
func multipart(pending *atomic.Int64) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			q := r.URL.Query()
			switch {
			case r.Method == http.MethodPost && q.Has("uploads"):
				pending.Add(1)
			case q.Has("uploadId") && (r.Method == http.MethodPost || r.Method == http.MethodDelete):
				pending.Add(-1)
			}
		})
	}
}

func TestWhatIsAbortedOrCancelledLeavesNoPartsBehind(t *testing.T) {
	t.Parallel()
	var pending atomic.Int64
	s := open(t, serve(t, multipart(&pending)))
	for _, cancels := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		w, err := s.Create(ctx, "file")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 11<<20)); err != nil {
			t.Fatal(err)
		}
		if pending.Load() != 1 {
			t.Fatalf("%d uploads are under way", pending.Load())
		}
		if cancels {
			cancel()
		}
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		if pending.Load() != 0 {
			t.Fatalf("an upload stayed (cancelled: %v)", cancels)
		}
	}
}

func TestAFullStorageIsSaid(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	full.Store(true)
	var pending atomic.Int64
	s := open(t, serve(t, func(h http.Handler) http.Handler {
		counted := multipart(&pending)(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && full.Load() {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusInsufficientStorage)
				_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>`))
				return
			}
			counted.ServeHTTP(w, r)
		})
	}))
	w, err := s.Create(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Write(make([]byte, 1<<20))
	}
	if hearth.ErrorCode(err) != hearth.CodeStorageFull {
		t.Fatalf("write: %v", err)
	}
	if _, err := w.Commit(); hearth.ErrorCode(err) != hearth.CodeStorageFull {
		t.Fatalf("commit: %v", err)
	}
	if pending.Load() != 0 {
		t.Fatal("an upload stayed")
	}
	full.Store(false)
	w, err = s.Create(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatalf("after space came back: %v", err)
	}
}

func TestAStorageThatIsGoneIsUnavailable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	url := "s3://key:secret@bucket?region=us-east-1&endpoint=" + server.URL
	server.Close()
	s := open(t, url)
	if err := s.Ping(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("ping: %v", err)
	}
	if _, err := s.Stat(t.Context(), "a"); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("stat: %v", err)
	}
}

func TestAMissingBucketIsUnavailable(t *testing.T) {
	t.Parallel()
	s := open(t, strings.Replace(serve(t, nil), "@bucket/", "@other-bucket/", 1))
	if err := s.Ping(t.Context()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("ping: %v", err)
	}
}

func TestURLsAreReadAndWrongOnesNamedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	o, err := s3blob.ParseURL("s3://key:s3cret@files/a/b?endpoint=https://s3.example.com&region=eu")
	if err != nil || o.Bucket != "files" || o.Prefix != "a/b" || o.AccessKey != "key" || o.SecretKey != "s3cret" ||
		o.Endpoint != "https://s3.example.com" || o.Region != "eu" {
		t.Fatalf("got %+v, error %v", o, err)
	}
	for _, bad := range []string{
		"http://files?endpoint=https://e", "s3://?endpoint=https://e", "s3://k:s3cret@files", "s3://k:s3cret@files?endpoint=ftp://e",
		"s3://k@files?endpoint=https://e", "s3://k:s3cret@files?endpoint=https://e&regoin=eu", "s3://k:s3cret@files?endpoint=https://e&part_size=1",
		"s3://k:s3cret@files/A?endpoint=https://e", "s3://k:s3cret@fi les?endpoint=https://e",
		"s3://k:s3cret@files:9000?endpoint=https://e", "s3://k:s3cret@f?endpoint=https://e", "s3://k:s3cret@files?endpoint=https://e:99999",
		"s3://k:s3cret@files?endpoint=https://*", "s3://k:s3cret@files?endpoint=https://e,f", "s3://k:s3cret@files?endpoint=https://e:",
	} {
		if _, err := s3blob.ParseURL(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, serve(t, nil))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w, err := s.Create(t.Context(), "same")
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := w.Write([]byte("whole")); err != nil {
				t.Error(err)
			}
			if info, err := w.Commit(); err != nil || info.Size != 5 {
				t.Errorf("commit: %+v, %v", info, err)
			}
		})
	}
	wg.Wait()
}
