// Package blobtest holds what every adapter of package blob must do: one suite, run by each adapter's tests.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/blob"
)

// Setup makes a fresh, empty storage. Each call of open is one more store on it, as another process would have it.
type Setup func(t testing.TB) (open func() blob.Store)

// Run runs the whole suite.
func Run(t *testing.T, setup Setup) {
	t.Run("write", func(t *testing.T) { t.Parallel(); testWrite(t, setup) })
	t.Run("read", func(t *testing.T) { t.Parallel(); testRead(t, setup) })
	t.Run("list", func(t *testing.T) { t.Parallel(); testList(t, setup) })
	t.Run("keys", func(t *testing.T) { t.Parallel(); testKeys(t, setup) })
}

func content(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = source.Read(data) // never fails
	return data
}

func put(t testing.TB, s blob.Store, key string, data []byte) blob.Info {
	t.Helper()
	info, err := blob.Write(t.Context(), s, blob.File{Key: key, Fill: func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}})
	if err != nil {
		t.Fatalf("write %s: %v", key, err)
	}
	return info
}

func get(t testing.TB, s blob.Store, key string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("open %s: %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data
}

func wantContent(t testing.TB, s blob.Store, key string, want []byte) {
	t.Helper()
	if got := get(t, s, key); !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes, and not the %d that were written", key, len(got), len(want))
	}
}

func wantAbsent(t testing.TB, s blob.Store, key string) {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.Open(t.Context(), key)
	wantCode(t, err, hearth.CodeNotFound)
}

func wantCode(t testing.TB, err error, want hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != want {
		t.Fatalf("the error is %v, want the code %q", err, want)
	}
}

func create(t testing.TB, s blob.Store, key string) blob.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t testing.TB, w io.Writer, data []byte) {
	t.Helper()
	if n, err := w.Write(data); err != nil || n != len(data) {
		t.Fatalf("write: %d bytes, error %v", n, err)
	}
}

func commit(t testing.TB, w blob.Writer) {
	t.Helper()
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func testWrite(t *testing.T, setup Setup) {
	t.Run("a file comes back as it was written, whatever its size", func(t *testing.T) {
		s := setup(t)()
		for name, size := range map[string]int{"empty": 0, "small": 10, "part": 5 << 20, "parts": 12<<20 + 17} {
			data := content(size)
			key := "sizes/" + name
			info := put(t, s, key, data)
			if info.Key != key || info.Size != int64(size) || info.ModTime.IsZero() {
				t.Errorf("%s: the info is %+v", name, info)
			}
			if stat, err := s.Stat(t.Context(), key); err != nil || stat != info {
				t.Errorf("%s: stat gives %+v (error %v), commit gave %+v", name, stat, err, info)
			}
			wantContent(t, s, key, data)
		}
	})

	t.Run("nothing is visible before the commit", func(t *testing.T) {
		open := setup(t)
		s := open()
		w := create(t, s, "a/file")
		write(t, w, content(6<<20))
		wantAbsent(t, s, "a/file")
		if page, err := s.List(t.Context(), blob.ListOptions{}); err != nil || len(page.Files) != 0 {
			t.Fatalf("the list is %v, error %v", page.Files, err)
		}
		commit(t, w)
		wantContent(t, open(), "a/file", content(6<<20))
	})

	t.Run("an aborted file never was, and the one before stays", func(t *testing.T) {
		s := setup(t)()
		put(t, s, "kept", []byte("first"))
		for _, key := range []string{"kept", "never"} {
			w := create(t, s, key)
			write(t, w, content(6<<20))
			if err := w.Abort(); err != nil {
				t.Fatal(err)
			}
			if err := w.Abort(); err != nil {
				t.Fatalf("a second abort: %v", err)
			}
			if _, err := w.Commit(); err == nil {
				t.Fatal("it was committed after its abort")
			}
			if _, err := w.Write([]byte("x")); err == nil {
				t.Fatal("it was written after its abort")
			}
		}
		wantAbsent(t, s, "never")
		wantContent(t, s, "kept", []byte("first"))
	})

	t.Run("an abort after the commit changes nothing", func(t *testing.T) {
		s := setup(t)()
		w := create(t, s, "file")
		write(t, w, []byte("x"))
		commit(t, w)
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err == nil {
			t.Fatal("it was committed twice")
		}
		wantContent(t, s, "file", []byte("x"))
	})

	t.Run("a failed fill drops the file", func(t *testing.T) {
		s := setup(t)()
		cause := errors.New("no more rows")
		_, err := blob.Write(t.Context(), s, blob.File{Key: "file", Fill: func(w io.Writer) error {
			_, _ = io.WriteString(w, "half")
			return cause
		}})
		if !errors.Is(err, cause) {
			t.Fatalf("the error is %v", err)
		}
		wantAbsent(t, s, "file")
	})

	t.Run("of two writers the last to commit wins, whole", func(t *testing.T) {
		s := setup(t)()
		first, second := create(t, s, "file"), create(t, s, "file")
		write(t, first, bytes.Repeat([]byte("1"), 6<<20))
		write(t, second, []byte("22"))
		commit(t, second)
		wantContent(t, s, "file", []byte("22"))
		commit(t, first)
		wantContent(t, s, "file", bytes.Repeat([]byte("1"), 6<<20))
	})

	t.Run("the end of its context ends a writer", func(t *testing.T) {
		s := setup(t)()
		ctx, cancel := context.WithCancel(t.Context())
		w, err := s.Create(ctx, "file")
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, content(6<<20))
		cancel()
		if _, err := w.Write([]byte("x")); !errors.Is(err, context.Canceled) {
			t.Fatalf("write: %v", err)
		}
		if _, err := w.Commit(); !errors.Is(err, context.Canceled) {
			t.Fatalf("commit: %v", err)
		}
		wantAbsent(t, s, "file")
		if _, err := s.Create(ctx, "file"); !errors.Is(err, context.Canceled) {
			t.Fatalf("create: %v", err)
		}
	})

	t.Run("a deleted file is gone, and deleting it again is no error", func(t *testing.T) {
		s := setup(t)()
		put(t, s, "dir/file", []byte("x"))
		put(t, s, "dir/other", []byte("y"))
		for range 2 {
			if err := s.Delete(t.Context(), "dir/file"); err != nil {
				t.Fatal(err)
			}
		}
		wantAbsent(t, s, "dir/file")
		wantContent(t, s, "dir/other", []byte("y"))
	})

	t.Run("an open storage answers", func(t *testing.T) {
		s := setup(t)()
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func testKeys(t *testing.T, setup Setup) {
	s := setup(t)()
	long := strings.Repeat("a", blob.MaxSegment)
	for _, key := range []string{"a", "0", "a.b", "a-b_c.d/e.f", "b..c", long, "l/" + long} {
		put(t, s, key, []byte(key))
		wantContent(t, s, key, []byte(key))
	}
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "a/.", "./a", ".tmp/a", "a/.hidden", "A", "a b", "a\x00b", "a\nb",
		`a\b`, "a%2fb", "ä", "~", strings.Repeat("a", blob.MaxSegment+1), strings.Repeat("a/", blob.MaxKey/2) + "a",
	} {
		if _, err := s.Create(t.Context(), key); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("create %q: %v", key, err)
		}
		if _, err := s.Open(t.Context(), key); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("open %q: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("stat %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("delete %q: %v", key, err)
		}
	}
}
