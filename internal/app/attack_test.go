package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/config"
)

// injections are texts that have broken programs before.
var injections = []string{ // never written to
	"", " ", "'", `"`, `' OR '1'='1' --`, `'; DROP TABLE users; --`, `{"$ne":null}`, `$where`, `../../../../etc/passwd`,
	"%00", "\x00", "a\r\nSet-Cookie: x=1", "\u2028data: x\n\nid: 1", "\u202egnp.exe", "=cmd|' /C calc'!A0", "<script>alert(1)</script>",
	"${jndi:ldap://x/y}", "{{7*7}}", "%s%n%p", "\xff\xfe", "NaN", "1e400", "-1", "9223372036854775808", "null", "ＡＢＣ", "e\u0301",
	strings.Repeat("A", 5000), strings.Repeat("🙂", 70),
}

// document is what the test reads of the OpenAPI document.
type document struct {
	Paths      map[string]map[string]documented `json:"paths"`
	Components struct {
		Schemas    map[string]schema    `json:"schemas"`
		Parameters map[string]parameter `json:"parameters"`
	} `json:"components"`
}

type parameter struct {
	Ref      string `json:"$ref"`
	Name     string `json:"name"`
	In       string `json:"in"`
	Required bool   `json:"required"`
	Schema   schema `json:"schema"`
	Example  any    `json:"example"`
}

type documented struct {
	OperationID string      `json:"operationId"`
	Parameters  []parameter `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]any `json:"responses"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	OneOf      []schema          `json:"oneOf"`
	Enum       []any             `json:"enum"`
	Examples   []any             `json:"examples"`
}

func (s schema) is(kind string) bool {
	if list, ok := s.Type.([]any); ok {
		return slices.Contains(list, any(kind))
	}
	return s.Type == kind
}

func (d *document) resolve(s schema) schema {
	if len(s.OneOf) > 0 && s.OneOf[0].Ref != "" { // something, or null
		s = s.OneOf[0]
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return d.Components.Schemas[name]
	}
	return s
}

// sample makes a value that fits s, as far as the document tells.
func (d *document) sample(s schema) any {
	s = d.resolve(s)
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.is("object"):
		object := map[string]any{}
		for _, name := range s.Required {
			object[name] = d.sample(s.Properties[name])
		}
		return object
	case s.is("array"):
		return []any{d.sample(*s.Items)}
	case s.is("integer"), s.is("number"):
		return 1
	case s.is("boolean"):
		return true
	}
	return "x"
}

// everyPlace calls found with each place of a schema, its schema, and what makes a value of the whole schema with another value there.
func (d *document) everyPlace(s schema, place string, whole any, build func(any) any, found func(place string, s schema, build func(any) any)) {
	s = d.resolve(s)
	found(place, s, build)
	switch {
	case s.is("array"):
		d.everyPlace(*s.Items, place+"[0]", d.sample(*s.Items), func(item any) any { return build([]any{item}) }, found)
	case s.is("object"):
		object, _ := whole.(map[string]any)
		for name, property := range s.Properties {
			d.everyPlace(property, place+"."+name, d.sample(property), func(value any) any {
				changed := map[string]any{name: value}
				for other, is := range object {
					if other != name {
						changed[other] = is
					}
				}
				return build(changed)
			}, found)
		}
	}
}

// variants returns, for each string in s, a function from a text to a sample with that text in its place.
func (d *document) variants(s schema, place string, all map[string]func(string) any) {
	d.everyPlace(s, place, d.sample(s), func(value any) any { return value }, func(place string, s schema, build func(any) any) {
		switch {
		case s.is("string"):
			all[place] = func(text string) any { return build(text) }
		case s.is("object"):
			all[place+".{key}"] = func(text string) any {
				object, _ := d.sample(s).(map[string]any)
				object = maps.Clone(object)
				object[text] = text
				return build(object)
			}
		}
	})
}

// target is a running program and an admin's tokens.
type target struct {
	url   string
	dir   string // of the data
	token string
	doc   *document
}

// serveTarget starts a program with an admin, without limits but those that are given.
func serveTarget(t *testing.T, m apitest.Mode, limits string) *target {
	t.Helper()
	cfg := m.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits(limits); err != nil {
		t.Fatal(err)
	}
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	cfg.QueueConcurrency["export"] = 0 // exports wait, so that every request finds them alike
	s := &target{url: startWithAdmin(t, cfg), dir: cfg.DataDir, doc: &document{}}
	s.get(t, "/openapi.json", s.doc)
	for _, methods := range s.doc.Paths {
		for _, op := range methods {
			for i, p := range op.Parameters {
				if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
					op.Parameters[i] = s.doc.Components.Parameters[name]
				}
			}
		}
	}
	var grant struct {
		Token string `json:"access_token"`
	}
	status, body := s.send(t, "POST", "/api/v1/auth/login", `{"email":"root@example.com","password":"a long enough secret"}`)
	if err := json.Unmarshal([]byte(body), &grant); err != nil || status != 200 {
		t.Fatalf("sign in: %d %s %v", status, body, err)
	}
	s.token = grant.Token
	return s
}

func (s *target) get(t *testing.T, path string, into any) {
	t.Helper()
	(&apitest.Client{URL: s.url, Token: s.token}).Ask(t, "GET", path, nil).Into(t, into)
}

func (s *target) send(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	return (&apitest.Client{URL: s.url, Token: s.token}).Ask(t, method, path, body).Text()
}

// do makes a request with just those headers.
func (s *target) do(t *testing.T, method, path string, header http.Header, body string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// An operation that ends the session of the test is not attacked with it: it takes no text.
var endsSession = []string{"log-out", "log-out-all"} // never written to

func TestNoTextInAnyParameterBreaksAnOperation(t *testing.T) {
	t.Parallel()
	s := serveTarget(t, apitest.Embedded, "off")
	var requests atomic.Int64
	t.Run("operations", func(t *testing.T) {
		for path, methods := range s.doc.Paths {
			for method, op := range methods {
				if slices.Contains(endsSession, op.OperationID) {
					continue
				}
				t.Run(op.OperationID, func(t *testing.T) {
					t.Parallel()
					for place, request := range s.attacks(op, path) {
						for _, text := range injections {
							target, header, body, ok := request(text)
							if !ok {
								continue
							}
							requests.Add(1)
							s.check(t, op, attempt{place, text, strings.ToUpper(method), target, header, body})
						}
					}
				})
			}
		}
	})
	t.Logf("%d requests", requests.Load())
	if requests.Load() < 2000 {
		t.Error("the document has hardly any parameter: the test lost its targets")
	}
	if status, body := s.send(t, "GET", "/api/v1/users/me", ""); status != 200 || !strings.Contains(body, `"admin"`) {
		t.Errorf("after the attack: %d %s", status, body)
	}
	if status, body := s.send(t, "GET", "/health/ready", ""); status != 200 {
		t.Errorf("after the attack: %d %s", status, body)
	}
}

// attacks returns, for each place for a text, what makes a request of one: path with query, header, body. ok is false for
// a text that cannot travel there.
func (s *target) attacks(op documented, path string) map[string]func(text string) (string, http.Header, string, bool) {
	all := map[string]func(string) (string, http.Header, string, bool){}
	body := ""
	contentType := "application/json"
	places := map[string]func(string) any{}
	if op.RequestBody != nil {
		s.doc.variants(op.RequestBody.Content[contentType].Schema, "body", places)
		data, err := json.Marshal(s.doc.sample(op.RequestBody.Content[contentType].Schema))
		if err != nil {
			panic(err)
		}
		body = string(data)
	}
	build := func(query url.Values, in map[string]string, header http.Header, body string) (string, http.Header, string, bool) {
		filled := path
		for _, p := range op.Parameters {
			if p.In == "path" {
				value, ok := in[p.Name]
				if !ok {
					value = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
				}
				filled = strings.ReplaceAll(filled, "{"+p.Name+"}", url.PathEscape(value))
			}
		}
		if len(query) > 0 {
			filled += "?" + query.Encode()
		}
		if header == nil {
			header = http.Header{}
		}
		if body != "" {
			header.Set("Content-Type", contentType)
		}
		return filled, header, body, true
	}
	for _, p := range op.Parameters {
		all[p.In+"."+p.Name] = func(text string) (string, http.Header, string, bool) {
			switch p.In {
			case "path":
				return build(nil, map[string]string{p.Name: text}, nil, body)
			case "query":
				return build(url.Values{p.Name: {text}}, nil, nil, body)
			}
			// Others cannot stand in a header: the client's library refuses them.
			sendable := !strings.ContainsAny(text, "\x00\r\n")
			target, header, body, _ := build(nil, nil, http.Header{http.CanonicalHeaderKey(p.Name): {text}}, body)
			return target, header, body, sendable
		}
	}
	for place, value := range places {
		all[place] = func(text string) (string, http.Header, string, bool) {
			data, err := json.Marshal(value(text))
			if err != nil {
				panic(err)
			}
			if text == "\xff\xfe" { // json.Marshal would mend it
				data = bytes.ReplaceAll(data, []byte(`\ufffd\ufffd`), []byte(text))
			}
			return build(nil, nil, nil, string(data))
		}
	}
	return all
}

type attempt struct {
	place, text, method, target string
	header                      http.Header
	body                        string
}

func (s *target) check(t *testing.T, op documented, a attempt) {
	t.Helper()
	resp := s.do(t, a.method, a.target, a.header, a.body)
	defer resp.Body.Close()
	name := fmt.Sprintf("%s %s with %.40q at %s", a.method, op.OperationID, a.text, a.place)
	if resp.StatusCode >= 500 {
		data, _ := io.ReadAll(resp.Body)
		t.Errorf("%s: %d %s", name, resp.StatusCode, data)
		return
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return // it stays open; that it opened is the answer
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	// A path that the text turned into another one, and an address over the limit, are nobody's operation.
	elsewhere := a.place[:4] == "path" && (resp.StatusCode == 404 || resp.StatusCode == 405) || resp.StatusCode == 414
	if op.Responses[strconv.Itoa(resp.StatusCode)] == nil && !elsewhere {
		t.Errorf("%s: %d is not documented: %s", name, resp.StatusCode, data)
	}
	for _, secret := range []string{"goroutine ", ".go:", "SQL", "sqlite", "panic"} {
		if resp.StatusCode >= 400 && strings.Contains(string(data), secret) {
			t.Errorf("%s: the answer tells of the inside: %s", name, data)
		}
	}
	for header, want := range map[string]string{
		"Set-Cookie": "", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
	} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s: %s is %q, want %q", name, header, got, want)
		}
	}
	if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s: headers %v", name, resp.Header)
	}
	if resp.StatusCode < 400 {
		return
	}
	var problem struct {
		Code      string `json:"code"`
		Status    int    `json:"status"`
		RequestID string `json:"request_id"`
	}
	err = json.Unmarshal(data, &problem)
	if err != nil || problem.Code == "" || problem.Status != resp.StatusCode || problem.RequestID != resp.Header.Get("X-Request-ID") ||
		resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: no problem: %d %s", name, resp.StatusCode, data)
	}
}

// Every operation below the base path answers with the headers of its limit, also when it refuses.
func TestEveryOperationIsLimited(t *testing.T) {
	t.Parallel()
	s := serveTarget(t, apitest.Embedded, "auth=1000/1m,devices=1000/1m,analytics=1000/1m,exports=1000/1m,general=1000/1m,streams=1000/1m,refresh=1000/1m,provision=1000/1m")
	for path, methods := range s.doc.Paths {
		for method, op := range methods {
			if !strings.HasPrefix(path, "/api/") {
				continue
			}
			anonymous := &target{url: s.url}
			resp := anonymous.do(t, strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), http.Header{}, "")
			_ = resp.Body.Close()
			remaining, err := strconv.Atoi(resp.Header.Get("RateLimit-Remaining"))
			if resp.Header.Get("RateLimit-Limit") != "1000" || err != nil || remaining > 999 || resp.Header.Get("RateLimit-Reset") == "" {
				t.Errorf("%s %s (%d) shows no limit: %v", method, op.OperationID, resp.StatusCode, resp.Header)
			}
		}
	}
}
