// Package guide serves the documentation as a static site. "make docs-site" builds it from docs/ into site.tar.zst.
package guide

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

//go:embed site.tar.zst
var archive []byte

// base is where the site is served; its pages name their files by it.
const base = "/docs/guide"

// files returns the files of the site, unpacked when the first one is requested.
var files = sync.OnceValues(func() (map[string]file, error) { return unpack(archive) })

type file struct {
	content     []byte
	contentType string
	policy      string // of a page
	immutable   bool   // its name changes with its content
}

// Pages returns the handlers of the site by their path, in the syntax of http.ServeMux.
func Pages() map[string]http.Handler {
	return map[string]http.Handler{
		base:                http.RedirectHandler(base+"/overview", http.StatusFound),
		base + "/{path...}": http.HandlerFunc(serve),
	}
}

// serve answers with the file of the path; a page is found with and without its suffix. Unknown paths get the site's own 404 page.
func serve(w http.ResponseWriter, r *http.Request) {
	site, err := files()
	if err != nil {
		http.Error(w, "the documentation cannot be read", http.StatusInternalServerError)
		return
	}
	name := r.PathValue("path")
	status := http.StatusOK
	f, known := site[name]
	if !known {
		f, known = site[name+".html"]
	}
	if !known {
		f, status = site["404.html"], http.StatusNotFound
	}
	header := w.Header()
	header.Set("Content-Type", f.contentType)
	header.Set("Cache-Control", "no-cache")
	if f.immutable {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if f.policy != "" {
		header.Set("Content-Security-Policy", f.policy)
	}
	w.WriteHeader(status)
	_, _ = w.Write(f.content) // a client that has gone needs no answer
}

func unpack(packed []byte) (map[string]file, error) {
	unpacked, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer unpacked.Close()
	all := map[string]file{}
	for from := tar.NewReader(unpacked); ; {
		entry, err := from.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name, err)
		}
		f := file{content: content, contentType: mime.TypeByExtension(path.Ext(entry.Name)), immutable: strings.HasPrefix(entry.Name, "assets/")}
		if path.Ext(entry.Name) == ".html" {
			f.policy = policy(content)
		}
		all[entry.Name] = f
	}
}

// noTransition is the hash of a style sheet that the theme's script inserts while it changes between light and dark.
const noTransition = "'sha256-skqujXORqzxt1aE0NNXxujEanPTX6raoqSscTV/Ww/Y='"

var inlineScript = regexp.MustCompile(`(?s)<script(?: id="[a-z-]+")?>(.*?)</script>`)

// policy returns the Content-Security-Policy of a page: its own server's scripts, styles and images, and the inline scripts that stand in it,
// by their hashes.
func policy(page []byte) string {
	hashes := map[string]bool{}
	for _, script := range inlineScript.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(script[1])
		hashes[" 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'"] = true
	}
	return "default-src 'none'; script-src 'self'" + strings.Join(slices.Sorted(maps.Keys(hashes)), "") +
		"; style-src 'self' " + noTransition + "; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
