// Package console serves the web console: one page whose script shows a view for each address and calls the API of the same server, and the
// documentation. The sources are in console/; "make console" builds them into dist.
package console

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html"
	"io/fs"
	"maps"
	"mime"
	"net"
	"net/http"
	"path"
	"strings"
	"sync/atomic"

	"hearth/internal/console/guide"
)

//go:embed all:dist
var built embed.FS

// policy lets the page run its own scripts and style sheets and call its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// views are the addresses of the console's views, as console/src/app.tsx has them.
var views = []string{
	"/{$}", "/devices", "/devices/{id}", "/devices/{id}/{tab}", "/import", "/alarms", "/alarms/{id}", "/rules", "/rules/{id}", "/compare", "/exports", "/exports/{id}", "/notifications",
	"/organizations", "/organizations/{id}", "/provisioning", "/claim", "/webhooks", "/webhooks/{id}", "/account", "/account/{tab}", "/admin/integrations", "/admin/integrations/{id}", "/admin/users", "/admin/jobs", "/admin/audit", "/admin/backups", "/admin/server",
	"/sign-in", "/sign-up", "/set-up", "/forgot-password", "/reset-password", "/confirm-email", "/invitation",
}

// Settings are what the page says of the server.
type Settings struct {
	Signup      string // open, invite or closed
	MQTT, MQTTS string // where devices connect, as host:port; "" for nowhere
	// SetupToken returns what the first administrator is made with; "" once there is one.
	SetupToken func(context.Context) (string, error)
}

// Console answers for the console's addresses.
type Console struct {
	page       []byte
	files      map[string][]byte
	setupToken func(context.Context) (string, error)
	ready      atomic.Bool // there is an administrator, and so from now on
}

// New returns the console.
func New(s Settings) (*Console, error) {
	c := &Console{files: map[string][]byte{}, setupToken: s.SetupToken}
	err := fs.WalkDir(built, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := built.ReadFile(name)
		c.files[strings.TrimPrefix(name, "dist")] = content
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the console's files: %w", err)
	}
	c.page = setMeta(c.files["/index.html"], "signup", "open", s.Signup)
	c.page = setMeta(c.page, "mqtt", "", port(s.MQTT))
	c.page = setMeta(c.page, "mqtts", "", port(s.MQTTS))
	delete(c.files, "/index.html")
	return c, nil
}

// setMeta changes the content of a meta element of the page.
func setMeta(page []byte, name, before, after string) []byte {
	const as = `<meta name="hearth-%s" content="%s">`
	return bytes.Replace(page, fmt.Appendf(nil, as, name, before), fmt.Appendf(nil, as, name, html.EscapeString(after)), 1)
}

// port returns the port of an address; "" for none.
func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // the configuration was checked
	return port
}

// Pages returns the handlers of the views, their files and the documentation, by their path in the syntax of http.ServeMux.
func (c *Console) Pages() map[string]http.Handler {
	pages := maps.Clone(guide.Pages())
	for _, view := range views {
		pages[view] = c
	}
	for name, content := range c.files {
		pages[name] = file(name, content)
	}
	return pages
}

// Missing returns the handler of addresses that are no view: the page says so.
func (c *Console) Missing() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.send(w, r, http.StatusNotFound) })
}

// ServeHTTP sends the page. It is asked for again each time, and answered with 304 while it is the same.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.send(w, r, http.StatusOK) }

func (c *Console) send(w http.ResponseWriter, r *http.Request, status int) {
	page := c.page
	if !c.ready.Load() {
		token, err := c.setupToken(r.Context())
		if token != "" {
			page = setMeta(page, "setup", "done", "pending")
		}
		c.ready.Store(token == "" && err == nil)
	}
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page) // the client may have gone
}

// file serves a built file. Those below /assets change their names with their content.
func file(name string, content []byte) http.Handler {
	cache, contentType := "no-cache", mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".webmanifest" { // which Go does not know by itself
		contentType = "application/manifest+json"
	}
	if strings.HasPrefix(name, "/assets/") {
		cache = "public, max-age=31536000, immutable"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy) // the service worker's own
		w.Header().Set("Cache-Control", cache)
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content)
	})
}
