package keyshare

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hearth"
)

// oneStore is a SecretStore in memory.
type oneStore struct {
	mu    sync.Mutex
	files map[string]hearth.SecretFile
}

func (s *oneStore) Secrets(context.Context) (all []hearth.SecretFile, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.files {
		all = append(all, file)
	}
	return all, nil
}

func (s *oneStore) SetSecret(_ context.Context, file hearth.SecretFile) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[file.Name].Version != file.Version {
		return hearth.Errorf(hearth.CodeConflict, "another version of %s is stored", file.Name)
	}
	file.Version++
	s.files[file.Name] = file
	return nil
}

// instance returns the files of an instance with a data directory of its own.
func instance(t *testing.T, store hearth.SecretStore, keys ...string) *Files {
	t.Helper()
	var all [][]byte
	for _, key := range keys {
		all = append(all, []byte(strings.Repeat(key, 32)))
	}
	files, err := newFiles(Options{Dir: t.TempDir(), Store: store, Keys: all})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInstancesThatStartTogetherHaveTheSameSecret(t *testing.T) {
	t.Parallel()
	store := &oneStore{files: map[string]hearth.SecretFile{}}
	got := make([][]byte, 8)
	var starting sync.WaitGroup
	for i := range got {
		s := instance(t, store, "k")
		starting.Go(func() {
			err := s.Open(t.Context(), "a.key", func(path string) (err error) {
				got[i], err = loadSecret(path)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for i := range got {
		if len(got[i]) != secretSize || !bytes.Equal(got[i], got[0]) {
			t.Errorf("instance %d has %x, the first %x", i, got[i], got[0])
		}
	}
	if bytes.Contains(store.files["a.key"].Content, got[0]) {
		t.Error("the store has the secret in plain text")
	}
}

func TestAChangeOfKeysReachesOtherInstances(t *testing.T) {
	t.Parallel()
	store := &oneStore{files: map[string]hearth.SecretFile{}}
	one, two := instance(t, store), instance(t, store)
	write := func(s *Files, content string) {
		t.Helper()
		if err := os.WriteFile(s.path("keys"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(one, "first")
	if err := one.publish(t.Context(), "keys"); err != nil {
		t.Fatal(err)
	}
	if err := two.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(two, "second")
	if err := two.publish(t.Context(), "keys"); err != nil {
		t.Fatal(err)
	}
	write(one, "also second")
	if err := one.publish(t.Context(), "keys"); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a change that is based on old keys gives %v", err)
	}
	if err := one.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(one.path("keys")); err != nil || string(content) != "second" {
		t.Errorf("the first instance has %q, %v", content, err)
	}
	if info, err := os.Stat(one.path("keys")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy's mode is %v, %v", info.Mode(), err)
	}
}

func TestSharedKeysFollowTheEncryptionKey(t *testing.T) {
	t.Parallel()
	store := &oneStore{files: map[string]hearth.SecretFile{}}
	plain := instance(t, store)
	if err := os.WriteFile(plain.path("keys"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := plain.publish(t.Context(), "keys"); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]string{{"a"}, {"b", "a"}, {"b"}} {
		s := instance(t, store, keys...)
		stale, err := s.copy(t.Context())
		if err != nil {
			t.Fatalf("with %v: %v", keys, err)
		}
		for _, name := range stale {
			if err := s.publish(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if content, err := os.ReadFile(s.path("keys")); err != nil || string(content) != "precious" {
			t.Errorf("with %v the file is %q, %v", keys, content, err)
		}
		if bytes.Contains(store.files["keys"].Content, []byte("precious")) {
			t.Errorf("with %v the store has the keys in plain text", keys)
		}
	}
	if store.files["keys"].Version != 3 {
		t.Errorf("the keys were stored %d times, not 3", store.files["keys"].Version)
	}
	for _, keys := range [][]string{{"a"}, {}} {
		if err := instance(t, store, keys...).Follow(t.Context()); err == nil || !strings.Contains(err.Error(), "encryption_key") {
			t.Errorf("with %v: %v", keys, err)
		}
	}
}

func TestASecretIsMadeOnceAndKeptPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	secrets := make([][]byte, 20)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], err = loadSecret(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, secret := range secrets {
		if len(secret) != 32 || !bytes.Equal(secret, secrets[0]) {
			t.Fatalf("two secrets: %x and %x", secret, secrets[0])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files are left over: %v, %v", files, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecret(path); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("a secret that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecret(path); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged secret: %v", err)
	}
	if _, err := loadSecret(filepath.Join(path, "below a file")); err == nil {
		t.Error("a secret was made below a file")
	}
}
