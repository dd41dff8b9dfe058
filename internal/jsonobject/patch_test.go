package jsonobject

import (
	"encoding/json"
	"strings"
	"testing"
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
		merged, problem := MergePatch(json.RawMessage(tt.object), json.RawMessage(tt.patch), 8)
		got, changed := merged.Object, merged.Changed
		if problem != "" || changed != (tt.want != "") || changed && string(got) != tt.want || !changed && string(got) != tt.object {
			t.Errorf("%s with %s is %s, %v, %q; want %s", tt.object, tt.patch, got, changed, problem, tt.want)
		}
		checkDifferences(t, json.RawMessage(tt.object), merged)
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
	} {
		if _, problem := MergePatch(nil, json.RawMessage(patch), 8); problem != want {
			t.Errorf("%.40s: %q, want %q", patch, problem, want)
		}
	}
}

// checkDifferences compares what a merge says that it changed with a comparison of the objects.
func checkDifferences(t *testing.T, object json.RawMessage, merged Merged) {
	t.Helper()
	before, after := merged.Differences()
	was, is := Decode(object), Decode(merged.Object)
	if want := Encode(delta(was, is)); string(before) != string(want) {
		t.Errorf("%s became %s: the members before are %s, want %s", object, merged.Object, before, want)
	}
	if want := Encode(delta(is, was)); string(after) != string(want) {
		t.Errorf("%s became %s: the members after are %s, want %s", object, merged.Object, after, want)
	}
	if merged.Changed != (string(before) != "{}" || string(after) != "{}") {
		t.Errorf("%s became %s: changed is %v", object, merged.Object, merged.Changed)
	}
}

// What a patch changes is what differs between the object before and after it.
func FuzzDifferences(f *testing.F) {
	for _, pair := range [][2]string{
		{`{"a":{"b":{"c":1,"d":[1]}},"e":1}`, `{"a":{"b":{"c":2,"d":null}},"e":{"f":null}}`}, {`{"a":{"b":1}}`, `{"a":{"b":null,"c":{}}}`},
		{`{"a":{}}`, `{"a":1}`}, {`{"a":1}`, `{"a":{}}`}, {`{"a":{"b":{}}}`, `{"a":{"b":{"c":null}}}`}, {`{"a":{"b":1,"c":2}}`, `{"a":{"b":1.0,"c":[]}}`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, first, patch []byte) {
		object, problem := MergePatch(nil, first, 8)
		if problem != "" {
			return
		}
		if merged, problem := MergePatch(object.Object, patch, 8); problem == "" {
			checkDifferences(t, object.Object, merged)
		}
	})
}
