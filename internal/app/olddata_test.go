package app_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
)

// oldData is the folder of a data directory that an older program wrote, and of its answers.
const oldData = "../store/sqlite/testdata/old"

// oldAnswers are what the older program answered.
type oldAnswers struct {
	At      time.Time           `json:"at"`
	Logins  map[string][]string `json:"logins"`
	Answers []struct {
		As     string `json:"as"`
		Get    string `json:"get"`
		Answer any    `json:"answer"`
	} `json:"answers"`
	Replay struct {
		As     string `json:"as"`
		Key    string `json:"key"`
		Post   string `json:"post"`
		Body   string `json:"body"`
		Answer any    `json:"answer"`
	} `json:"replay"`
	File struct {
		As     string `json:"as"`
		Get    string `json:"get"`
		SHA256 string `json:"sha256"`
	} `json:"file"`
}

func unzip(t *testing.T, name string) io.Reader {
	t.Helper()
	file, err := os.Open(filepath.Join(oldData, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return unzipped
}

// untarOldData puts a copy of the old data directory into dir.
func untarOldData(t *testing.T, dir string) {
	t.Helper()
	files := tar.NewReader(unzip(t, "data.tar.gz"))
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, strings.TrimPrefix(header.Name, "data"))
		if header.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheDataOfAnOldProgramGivesItsAnswers(t *testing.T) {
	t.Parallel()
	var want oldAnswers
	if err := json.NewDecoder(unzip(t, "answers.json.gz")).Decode(&want); err != nil {
		t.Fatal(err)
	}
	cfg := apitest.Unlimited(t)
	untarOldData(t, cfg.DataDir)
	for range 2 { // what the first one migrated, the second one finds
		began := time.Now()
		s := app.Settings{Config: cfg, Version: "test", Clock: func() time.Time { return want.At.Add(time.Since(began)) }}
		var url string
		stop := apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error {
			return app.Run(ctx, s, func(serving app.Serving) { url = serving.URL; ready() })
		})
		want.compare(t, url)
		stop()
	}
}

// compare asks the program at url what the old one was asked.
func (want *oldAnswers) compare(t *testing.T, url string) {
	t.Helper()
	tokens := map[string]string{}
	call := func(as, method, path string, header http.Header, body []byte) []byte {
		request, err := http.NewRequestWithContext(t.Context(), method, url+"/api/v1"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("User-Agent", "Python-urllib/3.11") // as the old answers were asked for: another is a new device
		if as != "" {
			request.Header.Set("Authorization", "Bearer "+tokens[as])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode >= 300 && method == "POST" {
			t.Fatalf("%s %s: %s %s %v", method, path, response.Status, answer, err)
		}
		return answer
	}
	for name, login := range want.Logins {
		var pair struct {
			Token string `json:"access_token"`
		}
		answer := call("", "POST", "/auth/login", http.Header{}, fmt.Appendf(nil, `{"email":%q,"password":%q}`, login[0], login[1]))
		if err := json.Unmarshal(answer, &pair); err != nil {
			t.Fatal(err)
		}
		tokens[name] = pair.Token
	}
	for _, one := range want.Answers {
		if one.Get == "/users?sort=name" {
			continue // a parameter that there is none of was passed over
		}
		var got any
		if err := json.Unmarshal(call(one.As, "GET", one.Get, http.Header{}, nil), &got); err != nil {
			t.Fatal(err)
		}
		if difference := differ(one.Answer, got); difference != "" {
			t.Errorf("%s, %s: %s", one.As, one.Get, difference)
		}
	}
	var replayed any
	answer := call(want.Replay.As, "POST", want.Replay.Post, http.Header{"Idempotency-Key": {want.Replay.Key}}, []byte(want.Replay.Body))
	if err := json.Unmarshal(answer, &replayed); err != nil || !reflect.DeepEqual(replayed, want.Replay.Answer) {
		t.Errorf("the replay is answered with %v, %v; want %v", replayed, err, want.Replay.Answer)
	}
	sum := sha256.Sum256(call(want.File.As, "GET", want.File.Get, http.Header{}, nil))
	if hex.EncodeToString(sum[:]) != want.File.SHA256 {
		t.Error("the file of the export is another one")
	}
}

// differ says where two JSON values differ. Numbers may differ by their rounding; what a login and a download change, and what
// only newer programs tell, is passed over.
func differ(want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		other, _ := got.(map[string]any)
		for key, value := range want {
			switch key {
			case "last_login_at", "updated_at", "download_count", "last_used_at", "next_cursor", "request_id":
				continue
			}
			if d := differ(value, other[key]); d != "" {
				return key + "/" + d
			}
		}
	case []any:
		other, _ := got.([]any)
		if len(other) != len(want) {
			return fmt.Sprintf("%v, want %v", other, want)
		}
		for i := range want {
			if d := differ(want[i], other[i]); d != "" {
				return fmt.Sprint(i) + "/" + d
			}
		}
	case float64:
		if other, ok := got.(float64); !ok || max(want, other)-min(want, other) > 1e-9*max(want, -want, 1) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
	default:
		if want != got {
			return fmt.Sprintf("%v, want %v", got, want)
		}
	}
	return ""
}
