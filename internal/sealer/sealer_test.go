package sealer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hearth/internal/sealer"
)

func master(seed byte) []byte {
	key := make([]byte, 32)
	for i := range key {
		key[i] = seed*31 + byte(i*i)
	}
	return key
}

func open(t *testing.T, path string, keys ...[]byte) *sealer.Ring {
	t.Helper()
	ring, err := sealer.Open(sealer.Options{Path: path, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func seal(t *testing.T, f sealer.Field, plain string) []byte {
	t.Helper()
	sealed, err := f.Seal([]byte(plain))
	must(t, err)
	if strings.Contains(string(sealed), plain) {
		t.Fatalf("%q can be read in what is stored", plain)
	}
	return sealed
}

func wantOpen(t *testing.T, f sealer.Field, sealed []byte, want string) {
	t.Helper()
	plain, err := f.Open(sealed)
	if err != nil || string(plain) != want {
		t.Fatalf("opened %q, %v; want %q", plain, err, want)
	}
}

func wantNoKey(t *testing.T, f sealer.Field, sealed []byte) {
	t.Helper()
	if plain, err := f.Open(sealed); !errors.Is(err, sealer.ErrNoKey) {
		t.Fatalf("opened %q, %v; want ErrNoKey", plain, err)
	}
}

func TestValuesOpenAsTheirFieldAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	field := open(t, path, master(1)).Field("session.origin")
	sealed := seal(t, field, "192.0.2.7 and a browser")
	wantOpen(t, field, sealed, "192.0.2.7 and a browser")
	if again := seal(t, field, "192.0.2.7 and a browser"); bytes.Equal(again, sealed) {
		t.Error("the same value is sealed alike, so that equal ones show")
	}
	wantOpen(t, open(t, path, master(1)).Field("session.origin"), sealed, "192.0.2.7 and a browser")
	wantNoKey(t, open(t, path, master(1)).Field("webhook.secret"), sealed)
	for i := range sealed[len("\x00sealed1:"):] {
		damaged := bytes.Clone(sealed)
		damaged[len("\x00sealed1:")+i] ^= 1
		wantNoKey(t, field, damaged)
	}
	wantNoKey(t, field, sealed[:len(sealed)-1])
	// Values of before there was a key.
	wantOpen(t, field, []byte(`{"ip":"192.0.2.7"}`), `{"ip":"192.0.2.7"}`)
	wantOpen(t, field, nil, "")
	if field.Current([]byte(`{"ip":"192.0.2.7"}`)) || !field.Current(sealed) {
		t.Error("a plain value is Current, or a sealed one is not")
	}
}

func TestARotationInAnotherProcessShowsAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	server, command := open(t, path, master(1)), open(t, path, master(1))
	field, other := server.Field("f"), command.Field("f")
	old := seal(t, field, "old value")
	must(t, command.Rotate())
	fresh := seal(t, other, "new value")
	if other.Current(old) || !other.Current(fresh) {
		t.Error("after a rotation the old value is Current, or the new one is not")
	}
	wantOpen(t, other, old, "old value")
	wantOpen(t, field, fresh, "new value") // reads the file again by itself
	must(t, server.Follow(t.Context()))
	if !field.Current(seal(t, field, "newer value")) || field.Current(old) {
		t.Error("the server does not seal with the new key")
	}
}

func TestKeysGoOnceNoValueNeedsThem(t *testing.T) {
	t.Parallel()
	ring := open(t, filepath.Join(t.TempDir(), "keys"), master(1))
	field := ring.Field("f")
	first := seal(t, field, "first")
	must(t, ring.Rotate())
	second := seal(t, field, "second")
	must(t, ring.Rotate())
	third := seal(t, field, "third")
	wantOpen(t, field, first, "first") // a rotation alone removes nothing
	must(t, ring.Forget())
	wantNoKey(t, field, first)
	wantOpen(t, field, second, "second")
	wantOpen(t, field, third, "third")
	must(t, ring.Forget())
	wantOpen(t, field, second, "second")
}

func TestTheConfigurationsKeyChangesByARotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	sealed := seal(t, open(t, path, master(1)).Field("f"), "value")
	if _, err := sealer.Open(sealer.Options{Path: path, Keys: [][]byte{master(2)}}); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("another key opens the file: %v", err)
	}
	both := open(t, path, master(2), master(1))
	wantOpen(t, both.Field("f"), sealed, "value")
	must(t, both.Rotate())
	wantOpen(t, open(t, path, master(2)).Field("f"), sealed, "value")
	if _, err := sealer.Open(sealer.Options{Path: path, Keys: [][]byte{master(1)}}); err == nil {
		t.Error("the old key still opens the file")
	}
}

func TestTheFileIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	open(t, path, master(1))
	stat, err := os.Stat(path)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v, %v", stat.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	must(t, os.Chmod(path, 0o640))
	if _, err := sealer.Open(sealer.Options{Path: path, Keys: [][]byte{master(1)}}); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("a file that others read was opened: %v", err)
	}
}

func TestProcessesThatStartAtOnceGetTheSameKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	rings := make([]*sealer.Ring, 8)
	var all sync.WaitGroup
	for i := range rings {
		all.Go(func() {
			ring, err := sealer.Open(sealer.Options{Path: path, Keys: [][]byte{master(1)}})
			if err != nil {
				t.Error(err)
				return
			}
			rings[i] = ring
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	sealed := seal(t, rings[0].Field("f"), "value")
	for _, ring := range rings {
		wantOpen(t, ring.Field("f"), sealed, "value")
	}
}

func TestKeysThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	for name, options := range map[string]sealer.Options{
		"no key": {Path: path}, "no path": {Keys: [][]byte{master(1)}}, "a short key": {Path: path, Keys: [][]byte{make([]byte, 16)}},
	} {
		if _, err := sealer.Open(options); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	must(t, os.WriteFile(path, []byte("{}"), 0o600))
	if _, err := sealer.Open(sealer.Options{Path: path, Keys: [][]byte{master(1)}}); err == nil {
		t.Error("a file that is no key set was taken")
	}
}
