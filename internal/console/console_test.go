package console

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestThePageLoadsWhatIsServed(t *testing.T) {
	t.Parallel()
	pages := Pages()
	for _, path := range paths {
		w := httptest.NewRecorder()
		pages[path].ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s has the policy %q", path, got)
		}
		loads := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
		if len(loads) != 2 {
			t.Fatalf("%s loads %v", path, loads)
		}
		for _, load := range loads {
			w := httptest.NewRecorder()
			pages[load[1]].ServeHTTP(w, httptest.NewRequest("GET", load[1], nil))
			if w.Body.Len() == 0 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
				t.Errorf("%s is %d bytes, with %v", load[1], w.Body.Len(), w.Header())
			}
		}
	}
}

// What would need another policy, or would read a server's text as HTML.
func TestThePageIsPlain(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"page": string(page), "script": string(script)} {
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "sessionStorage", "document.cookie", "style=", "onclick="} {
			if strings.Contains(text, never) {
				t.Errorf("the %s has %s", name, never)
			}
		}
	}
}
