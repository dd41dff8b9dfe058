// Package console serves the pages that links of e-mails open: choosing a new password, accepting an invitation, ending sessions,
// seeing a device, fetching an export. They are one page and one script that call the API of the same address; what the
// address says chooses what is shown.
//
// A user's tokens live only in the memory of the page: no cookie, no storage. What a link carries stands behind
// its #, so that no server and no proxy ever sees it.
package console

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"maps"
	"net/http"

	"hearth/internal/console/guide"
)

var (
	//go:embed page.html
	page []byte
	//go:embed console.js
	script []byte
	//go:embed console.css
	style []byte
)

// policy lets the page run its own script and style sheet and call its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// paths are the addresses that e-mails link to, below public_url.
var paths = []string{
	"/reset-password", "/forgot-password", "/invitation", "/account", "/account/sessions", "/devices/{id}", "/exports/{id}",
}

// Pages returns the handlers of the pages and of the documentation, by their path in the syntax of http.ServeMux.
func Pages() map[string]http.Handler {
	scriptPath, stylePath := asset(script, ".js"), asset(style, ".css")
	html := bytes.ReplaceAll(page, []byte("console.js"), []byte(scriptPath))
	html = bytes.ReplaceAll(html, []byte("console.css"), []byte(stylePath))
	pages := map[string]http.Handler{
		scriptPath: kept(script, "text/javascript; charset=utf-8"),
		stylePath:  kept(style, "text/css; charset=utf-8"),
	}
	maps.Copy(pages, guide.Pages())
	for _, path := range paths {
		pages[path] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("Cache-Control", "no-cache") // asked for again each time, and answered with 304
			send(w, html, "text/html; charset=utf-8")
		})
	}
	return pages
}

// asset returns the path of a file that is another one when its content is.
func asset(content []byte, suffix string) string {
	sum := sha256.Sum256(content)
	return "/console/" + hex.EncodeToString(sum[:8]) + suffix
}

// kept serves what caches may keep for a year: its path is of its content.
func kept(content []byte, contentType string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		send(w, content, contentType)
	})
}

func send(w http.ResponseWriter, content []byte, contentType string) {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(content) // the client may have gone
}
