package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
	"hearth/internal/api/resttest"
)

// shape is a body with a field of each kind.
type shape struct {
	Name   string            `json:"name"`
	Count  int               `json:"count,omitempty"`
	Small  int8              `json:"small,omitempty"`
	Ratio  float64           `json:"ratio,omitempty"`
	On     bool              `json:"on,omitempty"`
	At     *Time             `json:"at,omitempty"`
	Items  []shapeItem       `json:"items,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Any    json.RawMessage   `json:"any,omitempty"`
}

type shapeItem struct {
	Name string `json:"name"`
}

func newShapeAPI(t testing.TB) *Router {
	t.Helper()
	a := newRouter(t, Options{BodyLimit: 64 << 10})
	Register(a, Operation{ID: "test-shape", Method: "POST", Path: "/shapes", Access: ForAnyone, Tag: "Test"},
		func(_ context.Context, in *struct {
			Q    string `query:"q"`
			Body shape
		}) (*struct{ Body shape }, error) {
			return &struct{ Body shape }{in.Body}, nil
		})
	RegisterRaw(a, Operation{ID: "test-raw-read", Method: "POST", Path: "/raw", Access: ForAnyone, Tag: "Test"}, func(*huma.Operation) {},
		func(w http.ResponseWriter, r *http.Request) error {
			n, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(w, n)
			return err
		})
	return a
}

func TestBodiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct {
		name, body string
		status     int
		place      string // the place that a 422 names
	}{
		{"a plain body", `{"name":"x","count":3,"ratio":1e3,"on":true,"items":[{"name":"y"}],"labels":{"a":"b"},"any":[1,{"a":null}]}`, 200, ""},
		{"space around it", " \t\r\n{\"name\" : \"x\"} \n", 200, ""},
		{"escapes", `{"name":"\u00e9\ud83d\ude00\n\t\"\\\/"}`, 200, ""},
		{"an escaped backslash before u0000", `{"name":"\\u0000"}`, 200, ""},
		{"a whole number with a point", `{"name":"x","count":1.0}`, 422, "body.count"},
		{"64 deep", `{"name":"x","any":` + nested(63) + `}`, 200, ""},
		{"65 deep", `{"name":"x","any":` + nested(64) + `}`, 400, ""},
		{"10,000 deep", nested(10_000), 400, ""},
		{"10,000 deep and open", strings.Repeat(`{"a":`, 10_000), 400, ""},

		{"a key twice", `{"name":"x","name":"y"}`, 400, ""},
		{"a key twice, escaped", `{"name":"x","n\u0061me":"y"}`, 400, ""},
		{"a key twice, deep", `{"name":"x","any":{"a":[{"b":1,"b":1}]}}`, 400, ""},
		{"the same key in two objects", `{"name":"x","items":[{"name":"y"},{"name":"y"}]}`, 200, ""},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", 400, ""},
		{"an overlong UTF-8 form", "{\"name\":\"\xc0\x80\"}", 400, ""},
		{"a surrogate in UTF-8", "{\"name\":\"\xed\xa0\x80\"}", 400, ""},
		{"cut UTF-8", "{\"name\":\"\xe2\x82\"}", 400, ""},
		{"half a surrogate pair", `{"name":"\ud800"}`, 400, ""},
		{"a pair the wrong way round", `{"name":"\udc00\ud800"}`, 400, ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", 400, ""},
		{"a byte order mark", "\xef\xbb\xbf{\"name\":\"x\"}", 400, ""},
		{"a raw NUL", "{\"name\":\"\x00\"}", 400, ""},
		{"a raw line break", "{\"name\":\"a\nb\"}", 400, ""},
		{"something behind it", `{"name":"x"}{}`, 400, ""},
		{"a comma behind it", `{"name":"x"},`, 400, ""},
		{"a comma too many", `{"name":"x",}`, 400, ""},
		{"a comment", `{"name":"x"/**/}`, 400, ""},
		{"single quotes", `{'name':'x'}`, 400, ""},
		{"no quotes", `{name:"x"}`, 400, ""},
		{"a cut body", `{"name":"x"`, 400, ""},
		{"space alone", "  \n", 400, ""},
		{"NaN", `{"name":"x","ratio":NaN}`, 400, ""},
		{"Infinity", `{"name":"x","ratio":-Infinity}`, 400, ""},
		{"hexadecimal", `{"name":"x","count":0x10}`, 400, ""},
		{"a leading zero", `{"name":"x","count":01}`, 400, ""},
		{"a leading plus", `{"name":"x","count":+1}`, 400, ""},
		{"a bare point", `{"name":"x","ratio":1.}`, 400, ""},
		{"True", `{"name":"x","on":True}`, 400, ""},

		{"an escaped NUL", `{"name":"a\u0000b"}`, 422, "body.name"},
		{"an escaped NUL deep down", `{"name":"x","items":[{"name":"y"},{"name":"\u0000"}]}`, 422, "body.items[1].name"},
		{"an escaped NUL in a key", `{"name":"x","labels":{"a\u0000":"b"}}`, 422, "body.labels.a?"},
		{"1e400", `{"name":"x","ratio":1e400}`, 422, "body.ratio"},
		{"-1e400 where anything may stand", `{"name":"x","any":[0,-1e400]}`, 422, "body.any[1]"},
		{"400 digits", `{"name":"x","ratio":` + strings.Repeat("9", 400) + `}`, 422, "body.ratio"},
		{"a tiny number", `{"name":"x","ratio":1e-400}`, 200, ""},
		{"beyond an int", `{"name":"x","count":99999999999999999999}`, 422, "body"},
		{"beyond an int8", `{"name":"x","small":300}`, 422, "body"},
		{"a fraction for an int", `{"name":"x","count":1.5}`, 422, "body.count"},
		{"an unknown field", `{"name":"x","role":"admin"}`, 422, "body.role"},
		{"another case", `{"Name":"x"}`, 422, "body.Name"},
		{"an unknown field deep down", `{"name":"x","items":[{"name":"y","id":1}]}`, 422, "body.items[0].id"},
		{"a missing field", `{}`, 422, "body.name"},
		{"an operator for a string", `{"name":{"$ne":null}}`, 422, "body.name"},
		{"an array for a string", `{"name":["x"]}`, 422, "body.name"},
		{"a number for a string", `{"name":424242}`, 422, "body.name"},
		{"null for a string", `{"name":null}`, 422, "body.name"},
		{"a string for a number", `{"name":"x","count":"3"}`, 422, "body.count"},
		{"a string for a bool", `{"name":"x","on":"true"}`, 422, "body.on"},
		{"an array for the object", `[]`, 422, "body"},
		{"a string for the object", `"x"`, 422, "body"},
		{"null for the object", `null`, 422, "body"},
		{"a wrong time", `{"name":"x","at":"424242 o'clock"}`, 422, "body.at"},
		{"a time that cannot be", `{"name":"x","at":"2026-02-30T25:00:00Z"}`, 422, "body"},
		{"prototype games", `{"name":"x","__proto__":{"role":"admin"}}`, 422, "body.__proto__"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := resttest.Call{Method: "POST", Path: "/api/v1/shapes", Body: tt.body}.Do(t, a)
			if w.Code != tt.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
			if w.Code == 200 {
				return
			}
			p := resttest.ProblemIn(t, w)
			if w.Code == 400 && p.Code != hearth.CodeMalformedBody {
				t.Errorf("%+v, want malformed_body", p)
			}
			if w.Code == 422 {
				found := false
				for _, field := range p.Errors {
					found = found || strings.HasPrefix(field.Location, tt.place)
				}
				if p.Code != hearth.CodeValidationFailed || !found {
					t.Errorf("%+v, want validation_failed at %s", p, tt.place)
				}
			}
			if strings.Contains(w.Body.String(), "424242") {
				t.Errorf("the value is repeated: %s", w.Body)
			}
		})
	}
}

func TestOnlyJSONIsTaken(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	for contentType, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=\"UTF-8\"": 200, "": 200,
		"application/json; charset=latin1": 415, "application/json; charset=utf-16": 415, "text/json": 415, "text/plain": 415,
		"application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "application/xml": 415,
		"application/merge-patch+json": 415, "application/vnd.x+json": 415, "*/*": 415, "application/json, text/plain": 415,
		"application/json;": 200, ";": 415, "application/cbor": 415,
	} {
		c := resttest.Call{Method: "POST", Path: "/api/v1/shapes", Body: `{"name":"x"}`, Header: map[string]string{"Content-Type": contentType}}
		if w := c.Do(t, a); w.Code != status {
			t.Errorf("%q: %d %s, want %d", contentType, w.Code, w.Body, status)
		}
	}
}

func zipped(t testing.TB, data []byte) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCompressedBodiesAreBounded(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	body := []byte(`{"name":"x"}`)
	bomb := zipped(t, bytes.Repeat([]byte(" "), 50<<20))
	random := make([]byte, 80<<10)
	for i, x := 0, uint32(1); i < len(random); i++ {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	for _, tt := range []struct {
		name, encoding, body string
		typed, raw           int
		code                 hearth.Code
	}{
		{"gzip", "gzip", zipped(t, body), 200, 200, ""},
		{"GZIP", " GZIP ", zipped(t, body), 200, 200, ""},
		{"identity", "identity", string(body), 200, 200, ""},
		{"a bomb of 50 MiB", "gzip", bomb, 413, 413, hearth.CodePayloadTooLarge},
		{"a bomb in a bomb", "gzip", zipped(t, []byte(bomb)), 400, 200, hearth.CodeMalformedBody},
		{"too large as it is", "gzip", string(random), 413, 413, hearth.CodePayloadTooLarge},
		{"too large on the wire", "gzip", zipped(t, random), 413, 413, hearth.CodePayloadTooLarge},
		{"no gzip", "gzip", string(body), 400, 400, hearth.CodeMalformedBody},
		{"cut", "gzip", zipped(t, body)[:20], 400, 400, hearth.CodeMalformedBody},
		{"a wrong checksum", "gzip", zipped(t, body)[:24] + "\x00\x00\x00\x00\x00\x00\x00\x00", 400, 400, hearth.CodeMalformedBody},
		{"something behind it", "gzip", zipped(t, body) + "xxxxxxxxxx", 400, 400, hearth.CodeMalformedBody},
		{"two members", "gzip", zipped(t, body[:5]) + zipped(t, body[5:]), 200, 200, ""},
		{"empty members around it", "gzip", zipped(t, nil) + zipped(t, body) + zipped(t, nil), 200, 200, ""},
		{"1,000 members", "gzip", strings.Repeat(zipped(t, nil), 999) + zipped(t, body), 200, 200, ""},
		{"1,001 members", "gzip", strings.Repeat(zipped(t, nil), 1000) + zipped(t, body), 400, 400, hearth.CodeMalformedBody},
		{"bombs behind one another", "gzip", strings.Repeat(zipped(t, bytes.Repeat([]byte(" "), 20<<10)), 4), 413, 413, hearth.CodePayloadTooLarge},
		{"a cut member behind it", "gzip", zipped(t, body) + zipped(t, body)[:12], 400, 400, hearth.CodeMalformedBody},
		{"zeros behind it", "gzip", zipped(t, body) + "\x00\x00\x00", 400, 400, hearth.CodeMalformedBody},
		{"cut in its head", "gzip", zipped(t, body)[:5], 400, 400, hearth.CodeMalformedBody},
		{"nothing", "gzip", "", 400, 400, hearth.CodeMalformedBody},
		{"Zstandard", "zstd", string(body), 415, 415, hearth.CodeUnsupportedMediaType},
		{"gzip and then Brotli", "gzip, br", zipped(t, body), 415, 415, hearth.CodeUnsupportedMediaType},
		{"identity and then gzip", "identity, gzip", zipped(t, body), 415, 415, hearth.CodeUnsupportedMediaType},
		{"compressed twice", "gzip, gzip", zipped(t, []byte(zipped(t, body))), 415, 415, hearth.CodeUnsupportedMediaType},
		{"deflate", "deflate", string(body), 415, 415, hearth.CodeUnsupportedMediaType},
		{"brotli", "br", string(body), 415, 415, hearth.CodeUnsupportedMediaType},
		{"nonsense", "\"", string(body), 415, 415, hearth.CodeUnsupportedMediaType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for path, status := range map[string]int{"/api/v1/shapes": tt.typed, "/api/v1/raw": tt.raw} {
				c := resttest.Call{Method: "POST", Path: path, Body: tt.body, Header: map[string]string{"Content-Encoding": tt.encoding}}
				w := c.Do(t, a)
				if w.Code != status {
					t.Fatalf("%s: %d %s, want %d", path, w.Code, w.Body, status)
				}
				if status != 200 && resttest.ProblemIn(t, w).Code != tt.code {
					t.Errorf("%s: %s, want %s", path, w.Body, tt.code)
				}
				if status == 415 && w.Header().Get("Accept-Encoding") != "gzip" {
					t.Error("the answer does not say what is accepted")
				}
			}
		})
	}
}

// badReader fails as a connection does.
type badReader struct{ err error }

func (r badReader) Read([]byte) (int, error) { return 0, r.err }

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestABodyThatDoesNotArriveIsTheClientsFault(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	for name, err := range map[string]error{
		"cut": io.ErrUnexpectedEOF, "reset": fmt.Errorf("connection reset"), "slow": timeout{fmt.Errorf("i/o timeout")},
	} {
		for _, path := range []string{"/api/v1/shapes", "/api/v1/raw"} {
			r := httptest.NewRequest("POST", path, io.MultiReader(strings.NewReader(`{"name":`), badReader{err}))
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != 400 || resttest.ProblemIn(t, w).Code != hearth.CodeMalformedBody {
				t.Errorf("%s, %s: %d %s", name, path, w.Code, w.Body)
			}
		}
	}
}

func TestAddressesAndMethodsAreReadStrictly(t *testing.T) {
	t.Parallel()
	a := newShapeAPI(t)
	for _, tt := range []struct {
		method, path string
		status       int
		code         hearth.Code
	}{
		{"POST", "/api/v1/shapes?q=plain", 200, ""},
		{"POST", "/api/v1/shapes?q=%C3%A9%20%26", 200, ""},
		{"POST", "/api/v1/shapes?q=%00", 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?q=%ff", 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?%ff=1", 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?q=%zz", 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?q=plain" + strings.Repeat("&", 199), 200, ""},
		{"POST", "/api/v1/shapes?q=plain" + strings.Repeat("&", 200), 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?q=1;q=2", 422, hearth.CodeValidationFailed},
		{"POST", "/api/v1/shapes?q=" + strings.Repeat("x", 8<<10), 414, hearth.CodeURITooLong},
		{"GET", "/" + strings.Repeat("x", 8<<10), 414, hearth.CodeURITooLong},
		{"POST", "/api/v1/shapes%00", 404, hearth.CodeNotFound},
		{"POST", "/api/v1/shapes%ff", 404, hearth.CodeNotFound},
		{"POST", "/api/v1//shapes", 404, hearth.CodeNotFound},
		{"POST", "/api/v1/./shapes", 404, hearth.CodeNotFound},
		{"POST", "/api/v1/shapes/", 404, hearth.CodeNotFound},
		{"POST", "/api/v1/x/..%2fshapes", 404, hearth.CodeNotFound},
		{"POST", "/API/V1/SHAPES", 404, hearth.CodeNotFound},
		{"POST", "/api/v2/shapes", 404, hearth.CodeNotFound},
		{"GET", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"HEAD", "/api/v1/shapes", 405, ""},
		{"TRACE", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"DELETE", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"post", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"BREW", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"OPTIONS", "/api/v1/shapes", 405, hearth.CodeMethodNotAllowed},
		{"OPTIONS", "*", 404, hearth.CodeNotFound},
		{"GET", "*", 404, hearth.CodeNotFound},
	} {
		w := resttest.Call{Method: tt.method, Path: tt.path, Body: `{"name":"x"}`}.Do(t, a)
		if w.Code != tt.status {
			t.Errorf("%s %.40s: %d %s, want %d", tt.method, tt.path, w.Code, w.Body, tt.status)
			continue
		}
		if tt.code != "" && (resttest.ProblemIn(t, w).Code != tt.code || w.Header().Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s %.40s: %s %s, want %s", tt.method, tt.path, w.Header().Get("Content-Type"), w.Body, tt.code)
		}
		if tt.status == 405 && w.Header().Get("Allow") != "POST" {
			t.Errorf("%s %.40s: Allow is %q", tt.method, tt.path, w.Header().Get("Allow"))
		}
	}
}

func TestAUserAgentIsKeptAsTextAndCut(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"curl/8": "curl/8", "": "", "bad\xff": "bad?", "line\nbreak\xff": "line?break?",
		strings.Repeat("x", 1000): strings.Repeat("x", 512),
	} {
		got := userAgent(&http.Request{Header: http.Header{"User-Agent": {given}}})
		if got != want {
			t.Errorf("%q gives %q, want %q", given, got, want)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,"x\u0000",null,true]}`, `{"a":1,"a":2}`, `1e400`, `"\ud800"`, "\xff", `[[[[]]]]`, `{"":{"":{}}} x`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := CheckJSON(body, maxJSONItems)
		in := arriving{from: iotest.OneByteReader(bytes.NewReader(body))}
		if came := in.check(func(d *jsontext.Decoder) error { return checkJSON(d, maxJSONItems) }); hearth.ErrorCode(came) != hearth.ErrorCode(err) || err == nil && !bytes.Equal(in.read, body) {
			t.Errorf("%q: while it is read: %v, as a whole: %v", body, came, err)
		}
		if err == nil {
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Errorf("%q was passed, and does not decode: %v", body, err)
			}
			if !utf8.Valid(body) {
				t.Errorf("%q was passed, and is not UTF-8", body)
			}
			if out, err := json.Marshal(v); err != nil || bytes.Contains(out, []byte(`\u0000`)) && !bytes.Contains(out, []byte(`\\u0000`)) {
				t.Errorf("%q was passed, and holds a NUL: %s, %v", body, out, err)
			}
			return
		}
		if code := hearth.ErrorCode(err); code != hearth.CodeMalformedBody && code != hearth.CodeValidationFailed {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// What the schema leaves out of a body changes nothing of whether the body keeps to it.
func FuzzDescribedBodies(f *testing.F) {
	a := newShapeAPI(f)
	schema := a.openAPI.Paths["/api/v1/shapes"].Post.RequestBody.Content["application/json"].Schema
	for _, seed := range []string{
		`{"name":"x","count":3,"ratio":1e3,"on":true,"items":[{"name":"y"}],"labels":{"a":"b"},"any":[1,{"a":null}]}`, `{"name":["x"],"items":{}}`,
		`{"items":[{"name":1,"more":[]}],"labels":{"a":1},"at":"x"}`, `[{"name":"x"}]`, `{"name":null,"any":null,"other":{"a":[]}}`, `"x"`, `null`,
	} {
		f.Add([]byte(seed))
	}
	valid := func(value any) bool {
		result := &huma.ValidateResult{}
		huma.Validate(a.openAPI.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, value, result)
		return len(result.Errors) == 0
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		decoder := jsontext.NewDecoder(bytes.NewBuffer(bytes.Clone(body)), jsontext.AllowDuplicateNames(true))
		described, err := readDescribed(decoder, maxJSONItems, a.openAPI.Components.Schemas, schema)
		var whole any
		if err != nil || json.Unmarshal(body, &whole) != nil {
			malformed := hearth.ErrorCode(CheckJSON(body, maxJSONItems)) == hearth.CodeMalformedBody // it may be refused before it is read to there
			if malformed && err == nil || !malformed && hearth.ErrorCode(err) == hearth.CodeMalformedBody {
				t.Errorf("%q: %v, malformed as JSON: %t", body, err, malformed)
			}
			return
		}
		if got, want := valid(described), valid(whole); got != want {
			t.Errorf("%q keeps to its schema: %t as it is described, %t as a whole", body, got, want)
		}
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	for name, body := range map[string]string{
		"heartbeat": `{"status":"active"}`,
		"device":    `{"name":"Kitchen lamp","type":"lamp","tags":["kitchen","light"],"metadata":{"room":"kitchen","floor":1,"watts":9.5}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := CheckJSON([]byte(body), maxJSONItems); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
