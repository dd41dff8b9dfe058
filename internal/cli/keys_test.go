package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // reads what is stored

	"hearth/internal/cli"
	"hearth/internal/sealer"
)

// serving runs a server over dir until stop is called or the test ends.
func serving(t *testing.T, dir string, args ...string) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	logs, writer := io.Pipe()
	done := make(chan int, 1)
	args = append([]string{
		"serve", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--data-dir", dir, "--bcrypt-cost", "4", "--rate-limits", "off",
	}, args...)
	go func() {
		done <- cli.Run(ctx, &cli.Process{Args: args, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: writer})
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(logs)
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("serve ended with %d", code)
		}
	})
	t.Cleanup(stop)
	for lines.Scan() {
		var line struct{ Msg, URL string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			go func() { _, _ = io.Copy(io.Discard, logs) }()
			return line.URL, stop
		}
	}
	t.Fatal("the log names no URL")
	return "", stop
}

// ask makes a call and returns its answer; want is the status.
func ask(t *testing.T, request *http.Request, want int) map[string]any {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	body := map[string]any{}
	err = json.NewDecoder(response.Body).Decode(&body)
	if response.StatusCode != want || err != nil && err != io.EOF { //nolint:errorlint // a Decoder returns it bare
		t.Errorf("%s %s: %d %v %v", request.Method, request.URL.Path, response.StatusCode, body, err)
	}
	return body
}

func request(t *testing.T, method, url, token, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "a telling browser")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// origins reads what the sessions store of where they came from, plainly.
func origins(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "hearth.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), `SELECT origin FROM sessions`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var origin []byte
		if err := rows.Scan(&origin); err != nil {
			t.Fatal(err)
		}
		all = append(all, origin)
	}
	if err := rows.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d sessions, %v", len(all), err)
	}
	return all
}

func TestKeysRotateBesideARunningServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	key := []byte("\x9f\x01\x7a\xe3\x44\x5c\x12\xb8\x91\xd0\x6e\x2f\xfa\x03\x88\x57\xc1\x36\xa9\x4d\xe0\x72\x1b\x65\xdd\x0c\xf7\x29\x83\x5e\xb4\x48")
	keyFlag := "--encryption-key=" + base64.StdEncoding.EncodeToString(key)

	signIn := `{"email":"ann@example.com","password":"a long enough secret"}`
	// A session of before there was a key.
	url, stop := serving(t, dir)
	ask(t, request(t, "POST", url+"/api/v1/auth/signup", "", `{"name":"Ann",`+signIn[1:]), 201)
	ask(t, request(t, "POST", url+"/api/v1/auth/login", "", signIn), 200)
	stop()
	if stored := origins(t, dir); !bytes.Contains(stored[0], []byte("a telling browser")) {
		t.Fatalf("stored without a key: %q", stored)
	}

	url, _ = serving(t, dir, keyFlag)
	token, _ := ask(t, request(t, "POST", url+"/api/v1/auth/login", "", signIn), 200)["access_token"].(string)
	// Another person signs in all the while: beyond hearth.MaxSessions a login ends the person's oldest session, and how
	// many logins fit beside a rotation is the machine's to say.
	busy := strings.Replace(signIn, "ann@", "bob@", 1)
	ask(t, request(t, "POST", url+"/api/v1/auth/signup", "", `{"name":"Bob",`+busy[1:]), 201)

	// Nothing of it may fail.
	enough := make(chan struct{})
	var people sync.WaitGroup
	for range 2 {
		people.Go(func() {
			for {
				select {
				case <-enough:
					return
				default:
				}
				ask(t, request(t, "POST", url+"/api/v1/auth/login", "", busy), 200)
				ask(t, request(t, "GET", url+"/api/v1/users/me", token, ""), 200)
			}
		})
	}
	code, stdout, stderr := run(t, "keys", "rotate", "--data-dir", dir, keyFlag)
	close(enough)
	people.Wait()
	if code != 0 || !strings.Contains(stdout, "encrypted anew") || strings.Contains(stdout, " 0 stored") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}

	ring, err := sealer.Open(sealer.Options{Path: filepath.Join(dir, "field-keys.json"), Keys: [][]byte{key}})
	if err != nil {
		t.Fatal(err)
	}
	field := ring.Field("session.origin")
	for _, origin := range origins(t, dir) {
		if bytes.Contains(origin, []byte("browser")) || !field.Current(origin) {
			t.Errorf("stored after the rotation: %q", origin)
		}
		if plain, err := field.Open(origin); err != nil || !strings.Contains(string(plain), "a telling browser") {
			t.Errorf("opened %q, %v", plain, err)
		}
	}
	sessions, _ := ask(t, request(t, "GET", url+"/api/v1/auth/sessions", token, ""), 200)["items"].([]any)
	for _, item := range sessions {
		if session, _ := item.(map[string]any); session["user_agent"] != "a telling browser" || session["ip"] != "127.0.0.1" {
			t.Errorf("a session reads %v", session)
		}
	}
	// The server publishes the new signing key too, without a restart.
	for deadline := time.Now().Add(20 * time.Second); ; {
		keys, _ := ask(t, request(t, "GET", url+"/.well-known/jwks.json", "", ""), 200)["keys"].([]any)
		if len(keys) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server publishes %d keys", len(keys))
		}
		time.Sleep(100 * time.Millisecond)
	}

	if code, stdout, _ := run(t, "keys", "rotate", "--data-dir", dir, keyFlag); code != 0 || !strings.Contains(stdout, fmt.Sprint(len(origins(t, dir)), " stored")) {
		t.Errorf("a second rotation: exit %d, %q", code, stdout)
	}
}

func TestAnEncryptionKeyThatIsMissingOrWrongStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := func(first byte) string {
		raw := []byte("\x9f\x01\x7a\xe3\x44\x5c\x12\xb8\x91\xd0\x6e\x2f\xfa\x03\x88\x57\xc1\x36\xa9\x4d\xe0\x72\x1b\x65\xdd\x0c\xf7\x29\x83\x5e\xb4\x48")
		raw[0] = first
		return base64.StdEncoding.EncodeToString(raw)
	}
	if code, stdout, stderr := run(t, "keys", "rotate", "--data-dir", dir, "--encryption-key", key(1)); code != 0 || !strings.Contains(stdout, "0 stored") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	for name, args := range map[string][]string{"none": {}, "another": {"--encryption-key", key(2)}} {
		code, _, stderr := run(t, append([]string{"keys", "rotate", "--data-dir", dir}, args...)...)
		if code != 1 || !strings.Contains(stderr, "field-keys.json") || strings.Contains(stderr, key(2)) {
			t.Errorf("%s: exit %d, %q", name, code, stderr)
		}
	}
	if code, _, stderr := run(t, "keys", "rotate", "--data-dir", dir, "--encryption-key", key(2)+","+key(1)); code != 0 {
		t.Errorf("both: exit %d, %q", code, stderr)
	}
	if code, _, stderr := run(t, "keys", "rotate", "--data-dir", dir, "--encryption-key", key(2)); code != 0 {
		t.Errorf("the new one alone: exit %d, %q", code, stderr)
	}
	if stat, err := os.Stat(filepath.Join(dir, "field-keys.json")); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", stat, err)
	}
}
