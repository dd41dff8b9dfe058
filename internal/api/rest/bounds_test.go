package rest

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
	"hearth/internal/api/resttest"
)

// hostileBodies are small on the wire and made to cost much.
func hostileBodies() map[string]string {
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26), byte('a' + i/17576)}) + `":1`)
		}
		return "{" + b.String() + "}"
	}
	list := func(item string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	return map[string]string{
		"empty items":      `{"items":` + list("{}", 349_000) + `}`,
		"items of no type": `{"items":` + list("1", 500_000) + `}`,
		"unknown members":  members(90_000),
		"nested lists":     `{"items":` + list(list("[]", 900), 350) + `}`,
		"a long text":      `{"items":"` + strings.Repeat("x", 1_000_000) + `"}`,
		"a long number":    `{"items":` + strings.Repeat("9", 1_000_000) + `}`,
		"members of items": `{"items":` + list(members(900), 100) + `}`,
	}
}

func newBoundedAPI(tb testing.TB) *Router {
	tb.Helper()
	a := newRouter(tb, Options{Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}}, Devices: resttest.Tokens{}})
	Register(a, Operation{ID: "bounded", Method: "POST", Path: "/bounded", Tag: "Things", Access: ForUsers, Key: ClosedToKeys},
		func(context.Context, *struct {
			Body struct {
				Items []thing `json:"items" maxItems:"1000"`
			}
		}) (*struct{}, error) {
			return nil, nil
		})
	return a
}

func TestHostileBodiesCostNoMoreThanTheirSize(t *testing.T) { // alone: it counts the allocations of the process
	a := newBoundedAPI(t)
	for name, body := range hostileBodies() {
		send := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "/api/v1/bounded", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer ann")
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			return w
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := send()
		runtime.ReadMemStats(&after)
		if w.Code != 422 || w.Body.Len() > 8<<10 {
			t.Errorf("%s: %d with %d bytes: %.200s", name, w.Code, w.Body.Len(), w.Body)
		}
		if cost := after.TotalAlloc - before.TotalAlloc; cost > uint64(mostOfBody*len(body)) {
			t.Errorf("%s: a body of %d bytes costs %d", name, len(body), cost)
		}
	}
}

// What breaks a bound is refused once it is there, whatever follows: hardly more is read.
func TestABodyIsReadNoFurtherThanItsFirstFault(t *testing.T) {
	t.Parallel()
	const length, most = 2 << 20, maxUnread + readAhead + freeBody
	many := func(text string) string { return strings.Repeat(text, length/len(text)) }
	texts := strings.Repeat("x", 100_000)
	for name, test := range map[string]struct {
		start, rest, place, message string
		most                        int64
	}{
		"a text":             {`{"items":"`, many("x"), "body.items", "has more than 131072 bytes", most},
		"a text of items":    {`{"items":["a","`, many("é"), "body.items[1]", "has more than 131072 bytes", most},
		"a first text":       {`["`, many("x"), "body[0]", "has more than 131072 bytes", most},
		"escapes":            {`{"items":"`, many(`\u0041`), "body.items", "has more than 131072 bytes", most},
		"a name":             {`{"a":1,"`, many("x"), "body", "has a name of more than 131072 bytes", most},
		"a name of a member": {`{"items":{"`, many("x"), "body.items", "has a name of more than 131072 bytes", most},
		"digits":             {`{"items":`, many("1"), "body.items", "has more than 131072 bytes", most},
		"digits alone":       {``, many("1"), "body", "has more than 131072 bytes", most},
		"space":              {``, many(" "), "body", "has more than 131072 bytes of space", most},
		"space in an object": {`{"items":1,`, many(" "), "body", "has more than 131072 bytes of space", most},
		"space in a list":    {`{"items":[1`, many("\n"), "body.items", "has more than 131072 bytes of space", most},
		"space at the end":   {`{"items":[]}`, many(" "), "body", "has more than 131072 bytes of space", most},
		"depth":              {``, many("["), "", "the body is nested deeper than 64", most},
		"empty items":        {`{"items":[`, many("{},"), "body.items", "must have at most 1000 items", most},
		"values":             {`{"items":[`, many(`[` + strings.Repeat("0,", 998) + `0],`), "body.items[99]", "holds too many values", 200_000 + most},
		"not JSON":           {`{"items":`, many("!"), "", "the body is not valid at byte 9: it is not JSON in UTF-8", most},
		"not UTF-8":          {`{"items":["` + texts + `","` + "\xff", many("x"), "", "the body is not valid at byte 100014: it is not JSON in UTF-8", most},
		"something behind":   {`{"items":["` + texts + `"]}`, many("[1]"), "", "the body is not valid at byte 100014: something follows the value", most},
	} {
		body := strings.NewReader(test.start + test.rest)
		size := body.Size()
		r := httptest.NewRequest("POST", "/", io.NopCloser(body))
		r.ContentLength = size
		_, _, err := ReadBody(r, maxJSONItems)
		refusal, ok := errors.AsType[*hearth.Error](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		place, message := "", refusal.Message
		if len(refusal.Fields) > 0 {
			place, message = refusal.Fields[0].Location, refusal.Fields[0].Message
		}
		if place != test.place || message != test.message {
			t.Errorf("%s: %s %s, want %s %s", name, place, message, test.place, test.message)
		}
		if read := size - int64(body.Len()); read > test.most {
			t.Errorf("%s: %d bytes are read of %d", name, read, size)
		}
	}
}

// What a schema describes is as long as it allows, and what it leaves open as long as a text may be.
func TestBodiesAreReadAsFarAsTheyAreDescribed(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	shape := a.openAPI.Paths["/api/v1/shapes"].Post.RequestBody.Content["application/json"].Schema
	texts := ShortTexts{}.Schema(nil)
	two := 2
	pairs := func(n int) string { return `"` + strings.Repeat(`\ud83d\ude00`, n) + `"` }
	open := strings.TrimSuffix(strings.Repeat("["+strings.Repeat("1,", 900)+"1],", 80), ",")
	for name, test := range map[string]struct {
		schema               *huma.Schema
		body, place, message string
	}{
		"64 characters in escapes":  {texts, "[" + pairs(64) + "]", "", ""},
		"65 characters in escapes":  {texts, "[" + pairs(1) + "," + pairs(65) + "]", "body[1]", "expected length <= 64"},
		"a name of 16 KiB":          {shape, `{"name":"` + strings.Repeat("x", 16<<10-2) + `"}`, "", ""},
		"a longer name":             {shape, `{"name":"` + strings.Repeat("x", 16<<10-1) + `"}`, "body.name", "has more than 16384 bytes"},
		"a long list for a name":    {shape, `{"name":[` + open + `]}`, "body.name", "has more than 131072 bytes"},
		"a long list for an item":   {shape, `{"items":[1,[` + open + `]]}`, "body.items[1]", "has more than 131072 bytes"},
		"what may be anything":      {shape, `{"name":"x","any":[[` + open + `]]}`, "body.any", "has more than 131072 bytes"},
		"what may not be there":     {shape, `{"name":"x","other":[` + open + `]}`, "body.other", "has more than 131072 bytes"},
		"a list of too many":        {shape, `{"name":"x","items":[` + strings.Repeat("1,", 1000) + `1]}`, "body.items", "must have at most 1000 items"},
		"too many of few":           {&huma.Schema{Type: "array", MaxItems: &two, Items: texts}, `[["x"],[],[]]`, "body", "expected array length <= 2"},
		"too many in one of them":   {&huma.Schema{Type: "array", Items: &huma.Schema{Type: "array", MaxItems: &two, Items: texts}}, `[[],[[],[],[]]]`, "body[1]", "expected array length <= 2"},
		"a value of its length":     {&huma.Schema{MaxLength: &two}, ` [ ] `, "", ""},
		"a longer value":            {&huma.Schema{MaxLength: &two}, `[1]`, "body", "has more than 2 bytes"},
		"a long number":             {shape, `{"name":"x","any":[0.` + strings.Repeat("9", 1023) + `]}`, "body.any[0]", "has more than 1024 bytes"},
		"as much in several places": {shape, `{"name":"x","a":[` + open[:90_000] + `1]],"any":[` + open[:90_000] + `1]]}`, "", ""},
	} {
		decoder := jsontext.NewDecoder(strings.NewReader(test.body), jsontext.AllowDuplicateNames(true))
		_, err := readDescribed(decoder, maxJSONItems, a.openAPI.Components.Schemas, test.schema)
		place, message := "", ""
		if refusal, ok := errors.AsType[*hearth.Error](err); ok && len(refusal.Fields) > 0 {
			place, message = refusal.Fields[0].Location, refusal.Fields[0].Message
		}
		if (err == nil) != (test.message == "") || place != test.place || message != test.message {
			t.Errorf("%s: %v, want %s %s", name, err, test.place, test.message)
		}
	}
}

// BenchmarkHostileBodies shows what a body costs that is refused, and how long it takes.
func BenchmarkHostileBodies(b *testing.B) {
	a := newBoundedAPI(b)
	for name, body := range hostileBodies() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r := httptest.NewRequest("POST", "/api/v1/bounded", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer ann")
				a.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

func TestPagesOfOtherOriginsReadAndSendWhatTheyNeed(t *testing.T) {
	t.Parallel()
	a := newTestAPI(t)
	ask := func(method, origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/api/v1/things/1", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "GET")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if got := w.Header().Values("Vary"); len(got) == 0 || got[0] != "Origin" {
			t.Errorf("%s from %q varies by %q", method, origin, got)
		}
		return w
	}
	header := ask("OPTIONS", "https://app.example").Header()
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match", "Authorization", "Idempotency-Key"} {
		if !strings.Contains(header.Get("Access-Control-Allow-Headers")+",", name+",") {
			t.Errorf("%s may not be sent", name)
		}
	}
	for _, name := range []string{
		"Content-Disposition", "Content-Range", "Accept-Ranges", "ETag", "Location", "X-Request-ID", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
	} {
		if !strings.Contains(header.Get("Access-Control-Expose-Headers")+",", name+",") {
			t.Errorf("%s may not be read", name)
		}
	}
	ask("GET", "https://other.example")
	ask("GET", "")
}

// An answer names so many wrong parts at most, and repeats no long name of the client's.
func TestRefusalsAreShort(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t)
	Register(a, Operation{ID: "refusing", Method: "POST", Path: "/refusing", Tag: "Things", Access: ForUsers, Key: ClosedToKeys},
		func(context.Context, *struct{ Body thing }) (*struct{}, error) {
			return nil, hearth.Invalid(make([]hearth.FieldError, 1000)...)
		})
	for name, call := range map[string]resttest.Call{
		"many faults": {Method: "POST", Path: "/api/v1/refusing", Token: "ann", Body: `{"name":"x"}`},
		"a long name": {Method: "POST", Path: "/api/v1/bounded", Token: "ann", Body: `{"` + strings.Repeat("é", 60_000) + `":1}`},
	} {
		w := call.Do(t, a)
		if problem := resttest.ProblemIn(t, w); w.Code != 422 || len(problem.Errors) == 0 || len(problem.Errors) > mostFields || w.Body.Len() > 8<<10 {
			t.Errorf("%s: %d with %d parts in %d bytes", name, w.Code, len(problem.Errors), w.Body.Len())
		}
	}
}
