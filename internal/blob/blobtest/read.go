package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"hearth"
	"hearth/internal/blob"
)

func testRead(t *testing.T, setup Setup) {
	t.Run("any part can be read", func(t *testing.T) {
		s := setup(t)()
		data := content(100_000)
		put(t, s, "file", data)
		r, err := s.Open(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if info := r.Info(); info.Size != 100_000 || info.Key != "file" || info.ModTime.IsZero() {
			t.Fatalf("the info is %+v", info)
		}
		size := int64(len(data))
		for _, place := range []struct {
			offset int64
			whence int
			want   int64
		}{{0, io.SeekEnd, size}, {0, io.SeekStart, 0}, {-10, io.SeekEnd, size - 10}, {5000, io.SeekStart, 5000}, {20, io.SeekCurrent, 5120}, {2 * size, io.SeekStart, 2 * size}, {99_999, io.SeekStart, 99_999}} {
			at, err := r.Seek(place.offset, place.whence)
			if err != nil || at != place.want {
				t.Fatalf("seek %d from %d: %d, error %v", place.offset, place.whence, at, err)
			}
			want := data[min(at, size):min(at+100, size)]
			got := make([]byte, 100)
			n, err := io.ReadFull(r, got)
			if !bytes.Equal(got[:n], want) {
				t.Fatalf("at %d: %d bytes, not those of the file (error %v)", at, n, err)
			}
			if len(want) == 100 && err != nil || len(want) < 100 && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("at %d: error %v after %d bytes", at, err, n)
			}
		}
		if _, err := r.Seek(-1, io.SeekStart); err == nil {
			t.Fatal("a seek before the beginning succeeded")
		}
	})

	t.Run("a reader never sees a mix of two versions", func(t *testing.T) {
		open := setup(t)
		s := open()
		const size = 6 << 20
		put(t, s, "file", bytes.Repeat([]byte("a"), size))
		r, err := s.Open(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		head := make([]byte, 1000)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		put(t, open(), "file", bytes.Repeat([]byte("b"), size))
		rest, err := io.ReadAll(r)
		checkVersion(t, rest, err)
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		again, err := io.ReadAll(r)
		checkVersion(t, again, err)
		if err == nil && len(again) != size {
			t.Fatalf("%d bytes came back", len(again))
		}
		wantContent(t, s, "file", bytes.Repeat([]byte("b"), size))
	})

	t.Run("readers next to writers see whole files", func(t *testing.T) {
		s := setup(t)()
		version := func(c byte) []byte { return bytes.Repeat([]byte{c}, 50_000) }
		put(t, s, "file", version('a'))
		var wg sync.WaitGroup
		for _, c := range []byte("bcd") {
			wg.Go(func() {
				for range 5 {
					put(t, s, "file", version(c))
				}
			})
		}
		for range 3 {
			wg.Go(func() {
				for range 10 {
					r, err := s.Open(t.Context(), "file")
					if err != nil {
						t.Errorf("open: %v", err)
						return
					}
					data, err := io.ReadAll(r)
					r.Close()
					if hearth.ErrorCode(err) == hearth.CodeConflict {
						continue
					}
					if err != nil || len(data) != 50_000 || !bytes.Equal(data, version(data[0])) {
						t.Errorf("a reader saw %d bytes of no version, error %v", len(data), err)
						return
					}
				}
			})
		}
		wg.Wait()
	})

	t.Run("the end of its context ends a reader", func(t *testing.T) {
		s := setup(t)()
		put(t, s, "file", content(1000))
		ctx, cancel := context.WithCancel(t.Context())
		r, err := s.Open(ctx, "file")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cancel()
		if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
			t.Fatalf("read: %v", err)
		}
	})

	t.Run("what is not there is not found", func(t *testing.T) {
		s := setup(t)()
		put(t, s, "dir/file", nil)
		wantAbsent(t, s, "other")
		wantAbsent(t, s, "dir")
		wantAbsent(t, s, "dir/other")
	})
}

// checkVersion checks what was read of a file of "a" that was replaced by "b" meanwhile.
func checkVersion(t *testing.T, data []byte, err error) {
	t.Helper()
	if bytes.ContainsRune(data, 'b') {
		t.Fatal("the reader saw the other version")
	}
	if err != nil && hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Fatalf("the error is %v", err)
	}
}

func testList(t *testing.T, setup Setup) {
	list := func(t *testing.T, s blob.Store, o blob.ListOptions) []string {
		t.Helper()
		var keys []string
		for {
			page, err := s.List(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if o.Limit > 0 && len(page.Files) > o.Limit {
				t.Fatalf("a page of %d files", len(page.Files))
			}
			for _, f := range page.Files {
				if f.Size != int64(len(f.Key)) || f.ModTime.IsZero() {
					t.Fatalf("the file is %+v", f)
				}
				keys = append(keys, f.Key)
			}
			if page.Next == "" {
				return keys
			}
			o.After = page.Next
		}
	}
	// The order of the bytes differs from that of a walk: '-' and '.' come before '/'.
	keys := []string{"a-b", "a.b/c", "a/a", "a/b-c", "a/b.c", "a/b/x", "a/b/y", "a/c", "a0", "b/a", "b/b/c/d", "c"}

	t.Run("in the order of bytes, in pages of any size", func(t *testing.T) {
		s := setup(t)()
		for _, key := range []string{"c", "a/b/y", "a/b/x", "b/b/c/d", "a/a", "a-b", "a0", "a.b/c", "a/c", "b/a", "a/b.c", "a/b-c"} {
			put(t, s, key, []byte(key))
		}
		for _, limit := range []int{0, 1, 2, 5, 11, 12, 13} {
			if got := list(t, s, blob.ListOptions{Limit: limit}); !slices.Equal(got, keys) {
				t.Errorf("pages of %d: %v, want %v", limit, got, keys)
			}
		}
		for prefix, want := range map[string][]string{
			"a": keys[:9], "a/": keys[2:8], "a/b": keys[3:7], "a/b/": keys[5:7], "b/b/c/d": {"b/b/c/d"}, "b/b/": {"b/b/c/d"}, "x": nil, "c/": nil,
		} {
			for _, limit := range []int{0, 1, 3} {
				if got := list(t, s, blob.ListOptions{Prefix: prefix, Limit: limit}); !slices.Equal(got, want) {
					t.Errorf("prefix %q: %v, want %v", prefix, got, want)
				}
			}
		}
		for after, want := range map[string][]string{"a/b": keys[3:], "a/b/x": keys[6:], "a0": keys[9:], "c": nil, "0": keys, "b/b/c/e": keys[11:]} {
			if got := list(t, s, blob.ListOptions{After: after, Limit: 4}); !slices.Equal(got, want) {
				t.Errorf("after %q: %v, want %v", after, got, want)
			}
		}
	})

	t.Run("an empty storage has an empty list", func(t *testing.T) {
		s := setup(t)()
		if got := list(t, s, blob.ListOptions{}); len(got) != 0 {
			t.Fatalf("it has %v", got)
		}
	})

	t.Run("wrong options are refused", func(t *testing.T) {
		s := setup(t)()
		for _, o := range []blob.ListOptions{{Limit: -1}, {Limit: blob.MaxLimit + 1}, {Prefix: "A"}, {After: "a\x00"}} {
			_, err := s.List(t.Context(), o)
			wantCode(t, err, hearth.CodeValidationFailed)
		}
	})
}
