package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"hearth"
	"hearth/internal/observe"
)

// devicePrefix marks a device's token.
const devicePrefix = "hd_"

// maxToken bounds a bearer token, in bytes.
const maxToken = 4096

// Route puts an operation's handler behind authentication, limits and encodings.
func (rt *Router) Route(op Operation, handler func(http.ResponseWriter, *http.Request) error) {
	op.mustBeDeclared()
	pattern, params := op.Pattern(), op.params()
	limit := rt.options.BodyLimit
	if op.Batch {
		limit = rt.options.BatchBodyLimit
	}
	if rt.contract.Around != nil {
		handler = rt.contract.Around(op, handler)
	}
	switch {
	case op.ETag && op.Method == http.MethodGet:
		rt.tagged[pattern] = handler
	case op.isConditional() && !op.ChecksTag:
		handler = rt.conditional(op, handler)
	}
	limited := rt.options.Limiter != nil && op.Class != ""
	serve := func(w http.ResponseWriter, r *http.Request) error {
		RequestOf(r.Context()).header = w.Header()
		lowerIDs(params, r)
		refusal := rt.admit(op, r)
		// Counted first, so that guessing tokens is limited too.
		if limited && op.CountByBody == nil {
			if err := rt.limit(r.Context(), op); err != nil {
				return err
			}
		}
		if refusal != nil {
			return refusal
		}
		if err := checkQuery(r.URL.RawQuery); err != nil {
			return err
		}
		release, err := rt.admitBody(w, r, limit)
		if err != nil {
			return err
		}
		defer release()
		if err := bound(w, r, limit); err != nil {
			return err
		}
		if op.Creates {
			return rt.serveKeyed(op, handler, w, r)
		}
		return handler(w, r)
	}
	if limited && op.CountByBody != nil {
		serve = rt.limitUnread(op, serve)
	}
	switch {
	case op.Static:
		serve = rt.serveStatic(serve)
	case op.ETag:
		serve = rt.withETag(serve)
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := RequestOf(r.Context())
		info.Route, info.Stream = pattern, op.Stream
		joinTags(r.Header)
		if r.Method == http.MethodHead && (op.Stream || op.Claims) {
			refuseMethod(w, r, op.Method)
			return
		}
		if op.Secret {
			w.Header().Set("Cache-Control", "no-store")
		}
		if err := serve(w, r); err != nil {
			writeError(w, r, err)
		}
	})
	if !op.Stream && !op.Plain && !op.Static {
		h = compressed(h)
	}
	rt.mux.Handle(op.Method+" "+pattern, h)
	rt.operations.Handle(op.Method+" "+pattern, h)
	rt.methods[pattern] = append(rt.methods[pattern], op.Method)
}

// refuseShared answers 405 to methods that a path without an id would share with the path of an id: GET /devices/batch reads no device.
func (rt *Router) refuseShared() {
	for path, methods := range rt.methods {
		allow := slices.Clone(methods)
		if slices.Contains(allow, http.MethodGet) {
			allow = append(allow, http.MethodHead)
		}
		slices.Sort(allow)
		refuse := func(w http.ResponseWriter, r *http.Request) { refuseMethod(w, r, strings.Join(allow, ", ")) }
		for general, others := range rt.methods {
			if !covers(general, path) {
				continue
			}
			for _, method := range others {
				if !slices.Contains(methods, method) {
					rt.mux.HandleFunc(method+" "+path, refuse)
				}
			}
		}
	}
}

// covers reports whether a pattern with a parameter matches a path that is a pattern itself.
func covers(general, path string) bool {
	if general == path || strings.Count(general, "/") != strings.Count(path, "/") {
		return false
	}
	for general != "" {
		var part, have string
		part, general, _ = strings.Cut(general, "/")
		have, path, _ = strings.Cut(path, "/")
		if part != have && (!strings.HasPrefix(part, "{") || strings.HasPrefix(have, "{")) {
			return false
		}
	}
	return true
}

func refuseMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	writeError(w, r, hearth.Errorf(hearth.CodeMethodNotAllowed, "%s is not allowed here", r.Method))
}

// compressed compresses answers of over 1 KiB, as the client accepts it.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressed), gzhttp.EnableZstd(true), gzhttp.CompressionLevel(1))
	if err != nil {
		panic("rest: the compression options are constants: " + err.Error())
	}
	return wrap(h)
}

// admit authenticates the caller and checks that it may call the operation at all.
func (rt *Router) admit(op Operation, r *http.Request) error {
	info := RequestOf(r.Context())
	header := r.Header.Get("Authorization")
	if header == "" {
		if op.Access != ForAnyone {
			return hearth.Errorf(hearth.CodeUnauthenticated, "an access token is required")
		}
		return nil
	}
	caller, err := rt.authenticate(r, header)
	if err != nil {
		// A login must work for a client that sends an old token.
		if op.Access == ForAnyone {
			return nil
		}
		return err
	}
	caller.IP, caller.UserAgent, caller.RequestID = info.Caller.IP, info.Caller.UserAgent, info.ID
	info.Caller = caller
	if op.Access == ForUsers && !caller.IsUser() || op.Access == ForAdmins && !caller.IsAdmin() {
		return hearth.Errorf(hearth.CodeForbidden, "you may not do this")
	}
	if op.Key != "" && !caller.HasScope(op.Key) {
		return ErrScope(op.Key)
	}
	return nil
}

// ErrScope refuses an API key.
func ErrScope(scope hearth.KeyScope) error {
	if scope == ClosedToKeys {
		return hearth.Errorf(hearth.CodeForbidden, "API keys may not do this: sign in")
	}
	return hearth.Errorf(hearth.CodeForbidden, "the API key lacks the scope %s", scope)
}

func (rt *Router) authenticate(r *http.Request, header string) (hearth.Caller, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return hearth.Caller{}, hearth.Errorf(hearth.CodeUnauthenticated, "the Authorization header must be: Bearer TOKEN")
	}
	if strings.HasPrefix(token, devicePrefix) {
		return rt.options.Devices.Authenticate(r.Context(), token)
	}
	caller, err := rt.options.Users.Authenticate(r.Context(), token)
	if err != nil || rt.options.Roles == nil {
		return caller, err
	}
	orgs, err := rt.options.Roles(r.Context(), caller.UserID)
	return caller.WithOrgs(orgs), err
}

// The values of headers that every answer has: one slice each for all of them.
var ( // never written to
	noSniffing    = []string{"nosniff"}
	noFrames      = []string{"DENY"}
	noReferrer    = []string{"no-referrer"}
	nothingLoaded = []string{"default-src 'none'; frame-ancestors 'none'"}
	byOrigin      = []string{"Origin"}
)

// outer wraps every request, matched or not.
func (rt *Router) outer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		served := &requestContext{Context: r.Context(), id: [1]string{requestID(r)}}
		ctx, info := context.Context(served), &served.request
		info.ID, info.Method = served.id[0], r.Method
		info.Caller = hearth.Caller{IP: clientIP(r, rt.options.TrustedProxies), UserAgent: userAgent(r), RequestID: info.ID}
		if rt.options.Tracer != nil {
			ctx, info.traced = rt.options.Tracer.Request(ctx, info.ID, r.Header)
		}
		r = r.WithContext(ctx)
		if rt.options.Metrics != nil {
			rt.options.Metrics.Begin()
		}
		out := &served.answer
		out.ResponseWriter = w
		header := w.Header()
		header[requestIDHeader] = served.id[:]
		header["X-Content-Type-Options"] = noSniffing
		header["X-Frame-Options"] = noFrames
		header["Referrer-Policy"] = noReferrer
		header["Content-Security-Policy"] = nothingLoaded
		defer func() {
			p := recover()
			err, _ := p.(error)
			// A handler that cuts its connection off is counted and logged like any other.
			aborted := errors.Is(err, http.ErrAbortHandler)
			begun := out.status != 0
			if p != nil && !aborted {
				rt.recovered(out, r, p)
			}
			info.Status, info.Bytes, info.Duration = out.status, out.bytes, time.Since(start)-info.Waited
			if info.Gone || aborted && out.status == 0 {
				info.Status, info.Code = observe.StatusClientGone, ""
			}
			rt.finished(r, info)
			if aborted || p != nil && begun {
				panic(http.ErrAbortHandler)
			}
		}()
		leave, ok := rt.enter(out, r, info)
		if !ok {
			return
		}
		defer leave()
		if rt.cors(out, r) {
			return
		}
		rt.dispatch(out, r, next)
	})
}

// enter counts a request that came by a proxy among those of its client; connections of other clients are counted as they are accepted. It
// reports false where it has refused the request. A connection that is hijacked counts until it is closed.
func (rt *Router) enter(w *answerWriter, r *http.Request, info *Request) (leave func(), ok bool) {
	if rt.options.Peers == nil || !rt.FromProxy(r) {
		return func() {}, true
	}
	w.leave, ok = rt.options.Peers.Enter(info.Caller.IP)
	if !ok {
		writeError(w, r, &hearth.Error{
			Code: hearth.CodeRateLimited, Message: "too many requests of this address at once", RetryAfter: time.Second, Limit: "connections",
		})
		return nil, false
	}
	return func() {
		if w.status != http.StatusSwitchingProtocols {
			w.leave()
		}
	}, true
}

// Refused returns the whole answer, head and body, to what could not be read as a request of HTTP, with that status.
func (rt *Router) Refused(remote string, status int) []byte {
	r := &http.Request{RemoteAddr: remote, URL: &url.URL{Path: "/"}, Header: http.Header{}, Body: http.NoBody}
	w := &heldAnswer{header: http.Header{}, body: takeBuffer()}
	defer w.body.release()
	rt.outer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		detail := "the request is not valid HTTP"
		if status == http.StatusRequestHeaderFieldsTooLarge {
			detail = "the headers are too large"
		}
		writeError(w, r, &Problem{
			Type: "urn:hearth:error:" + string(hearth.CodeMalformedBody), Title: http.StatusText(status), Status: status, Detail: detail, Code: hearth.CodeMalformedBody,
		})
	})).ServeHTTP(w, r)
	answer := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: true,
		Body: io.NopCloser(&w.body.Buffer), ContentLength: int64(w.body.Len()),
	}
	var out bytes.Buffer
	_ = answer.Write(&out) // into memory
	return out.Bytes()
}

// dispatch refuses addresses of a form that no operation has, and passes the rest on.
func (rt *Router) dispatch(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if len(r.RequestURI) > maxURI {
		writeError(w, r, hearth.Errorf(hearth.CodeURITooLong, "an address has at most %d bytes", maxURI))
		return
	}
	// One meaning for a path, here and at a proxy: no dots, no doubled slashes, nothing that is not text.
	if clean := path.Clean(r.URL.Path); clean != r.URL.Path || !isText(r.URL.Path) || !strings.HasPrefix(clean, "/") {
		if clean+"/" == r.URL.Path && rt.isPage(r, clean) {
			http.Redirect(w, r, (&url.URL{Path: clean, RawQuery: r.URL.RawQuery}).String(), http.StatusFound)
			return
		}
		writeError(w, r, hearth.NotFound("page"))
		return
	}
	next.ServeHTTP(w, r)
}

// isPage reports whether a path is one of a page, which is found with a slash behind it too: users write addresses by hand.
func (rt *Router) isPage(r *http.Request, at string) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !isText(at) || strings.HasPrefix(at, BasePath) {
		return false
	}
	_, pattern := rt.operations.Handler(&http.Request{Method: http.MethodGet, Host: r.Host, URL: &url.URL{Path: at}})
	return pattern != ""
}

// unmatched answers what is no operation: 405 where the path has another method, else 404.
func (rt *Router) unmatched(w http.ResponseWriter, r *http.Request) {
	fallback, _ := rt.operations.Handler(r)
	probe := &headerProbe{header: http.Header{}}
	fallback.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		refuseMethod(w, r, probe.header.Get("Allow"))
		return
	}
	if rt.options.Missing != nil && r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, BasePath) && strings.Contains(r.Header.Get("Accept"), "text/html") {
		rt.options.Missing.ServeHTTP(w, r)
		return
	}
	writeError(w, r, hearth.NotFound("page"))
}

// recovered turns a panic into a 500, or cuts the connection if the answer has begun.
func (rt *Router) recovered(w *answerWriter, r *http.Request, p any) {
	err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	info := RequestOf(r.Context())
	if w.status == 0 {
		writeError(w, r, err)
	}
	info.Err, info.Gone = err, false // a fault, whether or not the client waited for the answer
}

// Headers that pages of other origins may read, and those that they may send.
const (
	exposedHeaders = "Accept-Ranges, Content-Disposition, Content-Range, ETag, Idempotency-Replayed, Last-Modified, Location, RateLimit-Limit, " +
		"RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-ID"
	allowedHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, Last-Event-ID, Range, X-Request-ID"
)

// cors allows the configured origins and answers their preflights; it reports whether the request is answered.
func (rt *Router) cors(w http.ResponseWriter, r *http.Request) bool {
	origin, header := r.Header.Get("Origin"), w.Header()
	header["Vary"] = byOrigin // of every answer: caches must not hand the one without an Origin to a page
	if origin == "" || !slices.Contains(rt.options.AllowedOrigins, origin) && !slices.Contains(rt.options.AllowedOrigins, "*") {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", exposedHeaders)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	header.Set("Access-Control-Allow-Headers", allowedHeaders)
	header.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// finished counts the request and logs it in one line.
func (rt *Router) finished(r *http.Request, info *Request) {
	exchange := observe.Exchange{
		Route: info.Route, Method: info.Method, Status: info.Status, Code: info.Code, Duration: info.Duration,
		RequestBytes: r.ContentLength, ResponseBytes: info.Bytes,
	}
	if info.traced != nil {
		defer info.traced(exchange)
	}
	if m := rt.options.Metrics; m != nil {
		if info.Stream {
			m.Leave()
		} else {
			m.End(exchange)
		}
	}
	logRequest(rt.options, r, info)
}

// headerProbe finds out what a handler of the mux would answer.
type headerProbe struct {
	header http.Header
	status int
}

func (p *headerProbe) Header() http.Header            { return p.header }
func (p *headerProbe) Write(data []byte) (int, error) { return len(data), nil }
func (p *headerProbe) WriteHeader(status int)         { p.status = status }
