package guide

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var pack = flag.String("pack", "", "write site.tar.zst from the built site in this folder")

// builtFrom has the hash of the files that site.tar.zst was built from.
const builtFrom = "site.sources"

// sources returns a hash of the files that the site is built from.
func sources(t *testing.T) string {
	t.Helper()
	root := os.DirFS("../../..")
	sum := sha256.New()
	for _, dir := range []string{"docs", "scripts/docs-site"} {
		err := fs.WalkDir(root, dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || name == "docs/openapi.json" {
				return err
			}
			content, err := fs.ReadFile(root, name)
			fmt.Fprintf(sum, "%s %x\n", name, sha256.Sum256(content))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// write packs a built site; the same files make the same archive.
func write(t *testing.T, dir string) {
	t.Helper()
	var packed bytes.Buffer
	compressed, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	to := tar.NewWriter(compressed)
	built := os.DirFS(dir)
	err = fs.WalkDir(built, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == "hashmap.json" {
			return err
		}
		content, err := fs.ReadFile(built, name)
		if err != nil {
			return err
		}
		if err := to.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = to.Write(content)
		return err
	})
	if err := errors.Join(err, to.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile("site.tar.zst", packed.Bytes(), 0o644), os.WriteFile(builtFrom, []byte(sources(t)+"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Logf("site.tar.zst has %d bytes", packed.Len())
}

func TestTheSiteIsCurrent(t *testing.T) {
	if *pack != "" {
		write(t, *pack)
		return
	}
	if os.Getenv("TEST_DOCS_SITE") == "" {
		t.Skip("make docs-check runs it: not every change of a page has to rebuild the site")
	}
	built, err := os.ReadFile(builtFrom)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(built)) != sources(t) {
		t.Errorf("site.tar.zst was built from other pages; run make docs-site")
	}
}

// Bounds of the site in bytes: what it adds to the program, and what it needs in memory once a page was requested.
const maxPacked, maxSite = 512 << 10, 4 << 20

func TestTheSiteIsSmallAndAsksNoOtherHost(t *testing.T) {
	t.Parallel()
	site, err := files()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	loads := regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	tag := regexp.MustCompile(`<(?:script|link|img|iframe|source)\b[^>]*>`)
	styled := regexp.MustCompile(`<[^>]+\s(style|on[a-z]+)="`)
	for name, f := range site {
		total += len(f.content)
		switch path.Ext(name) {
		case ".html":
			for _, found := range tag.FindAllString(string(f.content), -1) {
				for _, at := range loads.FindAllStringSubmatch(found, -1) {
					if !strings.HasPrefix(at[1], base+"/") && !strings.HasPrefix(at[1], "data:") {
						t.Errorf("%s loads %s", name, at[1])
					}
				}
			}
			if found := styled.Find(f.content); found != nil {
				t.Errorf("%s has an attribute that the policy refuses: %s", name, found)
			}
		case ".css":
			if bytes.Contains(f.content, []byte("@import")) || bytes.Contains(f.content, []byte("url(http")) {
				t.Errorf("%s loads from another host", name)
			}
		}
	}
	if len(archive) > maxPacked || total > maxSite || len(site) < 20 {
		t.Errorf("the site has %d files of %d bytes, %d packed; at most %d and %d are allowed", len(site), total, len(archive), maxSite, maxPacked)
	}
}

func TestPagesAreServed(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	for path, handler := range Pages() {
		mux.Handle("GET "+path, handler)
	}
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/docs/guide"); w.Code != http.StatusFound || w.Header().Get("Location") != "/docs/guide/overview" {
		t.Errorf("the start: %d to %q", w.Code, w.Header().Get("Location"))
	}
	script := ""
	for _, path := range []string{"/docs/guide/overview", "/docs/guide/quickstart", "/docs/guide/quickstart.html", "/docs/guide/reference/redis"} {
		w := get(path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d, %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		policy := w.Header().Get("Content-Security-Policy")
		inline := len(inlineScript.FindAll(w.Body.Bytes(), -1))
		if strings.Contains(policy, "unsafe") || inline == 0 || strings.Count(policy, "'sha256-") != inline+1 {
			t.Errorf("%s: the policy of a page with %d inline scripts is %q", path, inline, policy)
		}
		_, rest, _ := strings.Cut(w.Body.String(), `<script type="module" src="`)
		script, _, _ = strings.Cut(rest, `"`)
	}
	w := get(script)
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/javascript") || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%q: %d, %v", script, w.Code, w.Header())
	}
	if w := get("/docs/guide/nothing/here"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "404") {
		t.Errorf("an unknown page: %d", w.Code)
	}
}
