package console

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

func serve(t *testing.T, s Settings) http.Handler {
	t.Helper()
	if s.SetupToken == nil {
		s.SetupToken = func(context.Context) (string, error) { return "", nil }
	}
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, page := range c.Pages() {
		mux.Handle("GET "+path, page)
	}
	return mux
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

// route finds the addresses of the views in the console's source.
var route = regexp.MustCompile(`route\('([^']+)'`)

func TestEveryViewIsServed(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../console/src/app.tsx")
	if err != nil {
		t.Fatal(err)
	}
	console := serve(t, Settings{Signup: "invite"})
	found := route.FindAllSubmatch(source, -1)
	if len(found) < len(views) {
		t.Fatalf("%d addresses in the source, %d are served", len(found), len(views))
	}
	for _, match := range found {
		w := get(console, string(match[1]))
		if w.Code != 200 || w.Header().Get("Content-Security-Policy") != policy || !strings.Contains(w.Body.String(), `content="invite"`) {
			t.Errorf("%s is answered with %d, %v: %s", match[1], w.Code, w.Header(), w.Body)
		}
	}
}

func TestThePageLoadsWhatIsServed(t *testing.T) {
	t.Parallel()
	console := serve(t, Settings{Signup: "open"})
	page := get(console, "/").Body.String()
	loads := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(loads) < 4 {
		t.Fatalf("the page loads %v", loads)
	}
	for _, load := range loads {
		w := get(console, load[1])
		immutable := strings.Contains(w.Header().Get("Cache-Control"), "immutable")
		if w.Code != 200 || w.Body.Len() == 0 || w.Header().Get("Content-Type") == "" || immutable != strings.HasPrefix(load[1], "/assets/") {
			t.Errorf("%s: %d, %v", load[1], w.Code, w.Header())
		}
	}
	for _, never := range []string{"<script>", "style=", "onclick=", "http:", "https:"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s", never)
		}
	}
}

func TestThePageSaysWhatTheServerIs(t *testing.T) {
	t.Parallel()
	var asked int
	console := serve(t, Settings{Signup: "closed", MQTT: "127.0.0.1:1884", MQTTS: ":8884", SetupToken: func(context.Context) (string, error) {
		asked++
		switch asked {
		case 1:
			return "secret", nil
		case 2:
			return "", errors.New("the store does not answer")
		}
		return "", nil
	}})
	for i, setup := range []string{"pending", "done", "done", "done"} {
		page := get(console, "/").Body.String()
		for name, value := range map[string]string{"signup": "closed", "setup": setup, "mqtt": "1884", "mqtts": "8884"} {
			if meta := `<meta name="hearth-` + name + `" content="` + value + `">`; !strings.Contains(page, meta) {
				t.Errorf("page %d has no %s: %s", i, meta, page)
			}
		}
		if strings.Contains(page, "secret") {
			t.Errorf("page %d has the token: %s", i, page)
		}
	}
	if asked != 3 {
		t.Errorf("the console asked %d times whether there is an administrator", asked)
	}
}

// What would read a server's text as HTML, or call another host.
func TestTheConsoleIsPlain(t *testing.T) {
	t.Parallel()
	err := fs.WalkDir(os.DirFS("../../console/src"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		source, err := os.ReadFile(path.Join("../../console/src", name))
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "document.cookie", "sessionStorage"} {
			if bytes.Contains(source, []byte(never)) {
				t.Errorf("%s has %s", name, never)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Bounds in bytes, compressed: the first load, and what a view adds to it.
const maxFirst, maxView = 120_000, 40_000

func TestTheConsoleIsSmall(t *testing.T) {
	t.Parallel()
	c, err := New(Settings{Signup: "open"})
	if err != nil {
		t.Fatal(err)
	}
	first := packed(t, c.page)
	for name, content := range c.files {
		size := packed(t, content)
		if bytes.Contains(c.page, []byte(name)) {
			first += size
		} else if size > maxView {
			t.Errorf("%s has %d bytes, at most %d are allowed", name, size, maxView)
		}
	}
	if first > maxFirst {
		t.Errorf("the first load has %d bytes, at most %d are allowed", first, maxFirst)
	}
	t.Logf("the first load has %d bytes", first)
}

func packed(t *testing.T, content []byte) int {
	t.Helper()
	var to bytes.Buffer
	w := gzip.NewWriter(&to)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Len()
}
