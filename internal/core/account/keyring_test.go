package account_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hearth/internal/core/account"
)

func keyOf(t *testing.T, grant account.Grant) string {
	t.Helper()
	token, _, err := jwt.NewParser().ParseUnverified(grant.AccessToken, jwt.MapClaims{})
	must(t, err)
	id, _ := token.Header["kid"].(string)
	return id
}

func TestKeysAreMadeOnceAndKeptToTheirOwner(t *testing.T) {
	t.Parallel()
	options := account.KeyRingOptions{Path: filepath.Join(t.TempDir(), "keys.json"), AccessTTL: time.Minute}
	var mu sync.Mutex
	ids := map[string]bool{}
	var wg sync.WaitGroup
	for range 10 { // processes that start at the same time agree
		wg.Go(func() {
			ring, err := account.OpenKeyRing(options)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[ring.Public()[0].ID] = true
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("%d keys were made", len(ids))
	}
	stat, err := os.Stat(options.Path)
	must(t, err)
	if stat.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %04o", stat.Mode().Perm())
	}
	files, err := os.ReadDir(filepath.Dir(options.Path))
	must(t, err)
	if len(files) != 1 {
		t.Errorf("files were left behind: %v", files)
	}
}

func TestKeysThatCannotBeTrustedAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good.json")
	_, err := account.OpenKeyRing(account.KeyRingOptions{Path: good, AccessTTL: time.Minute})
	must(t, err)
	data, err := os.ReadFile(good)
	must(t, err)
	field := func(name, value string) func(string) string {
		return func(text string) string {
			before, rest, _ := strings.Cut(text, `"`+name+`": "`)
			_, after, _ := strings.Cut(rest, `"`)
			return before + `"` + name + `": "` + value + `"` + after
		}
	}
	tests := []struct {
		name   string
		change func(string) string
		mode   os.FileMode
	}{
		{"readable by others", func(s string) string { return s }, 0o644},
		{"readable by the group", func(s string) string { return s }, 0o640},
		{"no JSON", func(string) string { return "secret" }, 0o600},
		{"empty", func(string) string { return "" }, 0o600},
		{"no keys", func(s string) string {
			before, _, _ := strings.Cut(s, `"signing_keys"`)
			return before + `"signing_keys": []}`
		}, 0o600},
		{"a secret of zeros", field("secret", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), 0o600},
		{"a short secret", field("secret", "c2hvcnQ="), 0o600},
		{"a key of zeros", field("seed", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), 0o600},
		{"a short key", field("seed", "c2hvcnQ="), 0o600},
		{"a key under another's id", field("kid", "x"), 0o600},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			must(t, os.WriteFile(path, []byte(test.change(string(data))), test.mode))
			must(t, os.Chmod(path, test.mode))
			_, err := account.OpenKeyRing(account.KeyRingOptions{Path: path, AccessTTL: time.Minute})
			if err == nil {
				t.Fatal("it was taken")
			}
			if strings.Contains(err.Error(), "AAAA") {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}
