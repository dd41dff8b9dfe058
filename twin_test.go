package hearth_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth"
)

// The examples of RFC 7396, appendix A, whose documents are objects and do not hold null, and what the RFC leaves open.
func TestMergePatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ object, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"a":"foo"}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{``, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{}`, `{"a":[null,{"b":null}]}`, `{"a":[null,{"b":null}]}`},
		{``, `{ "b" : 1.50 , "a" : 1e2, "c": 123456789012345678901234567890 }`, `{"a":1e2,"b":1.50,"c":123456789012345678901234567890}`},
		{``, `{"<\u0041>":"\ud834\udd1e&"}`, `{"<A>":"𝄞&"}`},
		// What changes nothing, by value, leaves the text alone.
		{`{"a":1.0}`, `{"a":1}`, ""},
		{`{"a":[1,{"b":-0}]}`, `{"a":[1.0,{"b":0e5}]}`, ""},
		{`{"a":100}`, `{"a":1e2}`, ""},
		{`{"a":1}`, `{}`, ""},
		{``, `{"a":null}`, ""},
		{`{"a":{"b":1}}`, `{"a":{"b":1}}`, ""},
		{`{"a":{"b":1}}`, `{"a":{"c":null}}`, ""},
		// What differs only where a float64 would not show it does change.
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, `{"a":9007199254740992}`},
		{`{"a":0.1}`, `{"a":0.10000000000000000001}`, `{"a":0.10000000000000000001}`},
		{`{"a":1}`, `{"a":"1"}`, `{"a":"1"}`},
		{`{"a":1}`, `{"a":-1}`, `{"a":-1}`},
		{`{"a":false}`, `{"a":0}`, `{"a":0}`},
		{`{"a":[]}`, `{"a":{}}`, `{"a":{}}`},
		{`{"a":[1]}`, `{"a":[1,2]}`, `{"a":[1,2]}`},
	} {
		got, changed, problem := hearth.MergePatch(json.RawMessage(tt.object), json.RawMessage(tt.patch))
		if problem != "" || changed != (tt.want != "") || changed && string(got) != tt.want || !changed && string(got) != tt.object {
			t.Errorf("%s with %s is %s, %v, %q; want %s", tt.object, tt.patch, got, changed, problem, tt.want)
		}
	}
}

func TestBadPatchesAreRefused(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) }
	for patch, want := range map[string]string{
		``: "must be an object", `null`: "must be an object", `[]`: "must be an object", `1`: "must be an object", `{`: "must be an object",
		`{"a":1} x`: "must be an object", `{"a":1}{}`: "must be an object", "{\"\xff\":1}": "must be UTF-8",
		nested(8): "", nested(9): "is nested more than 8 deep", `{"a":[[[[[[[]]]]]]]}`: "", `{"a":[[[[[[[[]]]]]]]]}`: "is nested more than 8 deep",
		`{"a":[1e400]}`: "has a number that is too large", `{"a":1e-400}`: "has a number that is too close to zero",
		`{"a":0e-99999999999999999999}`: "", `{"a":1e308}`: "", `{"a":5e-324}`: "",
		`{"a":"` + strings.Repeat("x", hearth.MaxTwinPatch) + `"}`: "is larger than 64 KiB",
	} {
		if _, _, problem := hearth.MergePatch(nil, json.RawMessage(patch)); problem != want {
			t.Errorf("%.40s: %q, want %q", patch, problem, want)
		}
	}
}

func TestATwinCountsChangesOfEachSide(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_000_000)
	patch := func(twin hearth.Twin, side hearth.TwinSide, body string) hearth.Twin {
		t.Helper()
		after, problem := twin.Patch(side, json.RawMessage(body), now)
		if problem != "" {
			t.Errorf("%.40s: %s", body, problem)
		}
		return after
	}
	twin := patch(hearth.Twin{DeviceID: "d"}, hearth.TwinDesired, `{"on":true,"color":{"r":1,"g":2},"list":[1,2]}`)
	twin = patch(twin, hearth.TwinReported, `{"on":true,"color":{"r":1.0,"b":3},"list":[1],"extra":1}`)
	if unchanged := patch(twin, hearth.TwinReported, `{"on":true}`); !reflect.DeepEqual(unchanged, twin) {
		t.Errorf("a patch of nothing made %+v of %+v", unchanged, twin)
	}
	view := twin.View()
	if view.DesiredVersion != 1 || view.ReportedVersion != 1 || !view.DesiredAt.Equal(now) || string(view.Delta) != `{"color":{"g":2},"list":[1,2]}` {
		t.Errorf("the view is %+v with the delta %s", view.Twin, view.Delta)
	}
	if view := (hearth.Twin{}).View(); string(view.Delta) != `{}` {
		t.Errorf("an empty twin has the delta %s", view.Delta)
	}
	full := `{"a":"` + strings.Repeat("x", hearth.MaxTwinSide-8) + `"}`
	twin = patch(twin, hearth.TwinReported, `{"on":null,"color":null,"list":null,"extra":null}`)
	twin = patch(twin, hearth.TwinReported, full)
	if _, problem := twin.Patch(hearth.TwinReported, json.RawMessage(`{"b":1}`), now); problem != "makes the reported state larger than 32 KiB" {
		t.Errorf("a state of more than 32 KiB: %q", problem)
	}
	patch(twin, hearth.TwinReported, `{"b":1,"a":null}`)
}

// value is JSON as the naive model reads it: numbers as fractions.
func value(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return exact(t, v)
}

func exact(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = exact(t, v[name])
		}
	case []any:
		for i := range v {
			v[i] = exact(t, v[i])
		}
	case json.Number:
		r, ok := new(big.Rat).SetString(string(v))
		if !ok {
			t.Fatalf("%q is no number", v)
		}
		return r.RatString()
	}
	return v
}

// modelMerge is the algorithm of RFC 7396, section 2.
func modelMerge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, v := range changes {
		if v == nil {
			delete(object, name)
		} else {
			object[name] = modelMerge(object[name], v)
		}
	}
	return object
}

func FuzzTwin(f *testing.F) {
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":1.0,"c":[null]}}`, `{"a":null,"":{}}`)
	f.Add(`{"a":[1,{"b":null}]}`, `{"a":5}`, `{"a":{}}`)
	f.Add(`{"a.b":1e2,"$x":"\u0000"}`, `{"a.b":100}`, `{"a":{"b":{"c":null}}}`)
	f.Add(`{"a":1e999999999}`, `{"a":0e999999999999}`, `{"a":-0.0}`)
	f.Add("{\"\\ud800\":1}", `{"a":12345678901234567890.10}`, `{"a":"<\u2028>"}`)
	f.Fuzz(func(t *testing.T, first, second, third string) {
		var twin hearth.Twin
		for i, patch := range []string{first, second, third, second, first} {
			side := []hearth.TwinSide{hearth.TwinDesired, hearth.TwinReported}[i%2]
			before := twin.State(side)
			after, problem := twin.Patch(side, json.RawMessage(patch), time.UnixMilli(1))
			if problem != "" {
				if !reflect.DeepEqual(after, twin) {
					t.Fatalf("a refused patch (%s) made %+v", problem, after)
				}
				continue
			}
			var old any
			if before != nil {
				old = value(t, before)
			} else {
				old = map[string]any{}
			}
			got := any(map[string]any{})
			if state := after.State(side); state != nil {
				got = value(t, state)
				if len(state) > hearth.MaxTwinSide {
					t.Fatalf("a state of %d bytes", len(state))
				}
			}
			same := reflect.DeepEqual(old, got)
			if want := modelMerge(old, value(t, []byte(patch))); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s with %s is %s, want %v", before, patch, after.State(side), want)
			}
			if counted := after.Version(side) - twin.Version(side); same != (counted == 0) || counted > 1 {
				t.Fatalf("%s with %s counts %d, and is the same: %v", before, patch, counted, same)
			}
			twin = after
			view := twin.View()
			if settled, _, problem := hearth.MergePatch(twin.Reported, view.Delta); problem != "" {
				t.Fatalf("the delta %s is no patch: %s", view.Delta, problem)
			} else if left := hearth.Delta(twin.Desired, settled); string(left) != "{}" {
				t.Fatalf("after the delta %s, %s is left", view.Delta, left)
			}
		}
	})
}
