package twins

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/jsonobject"
)

func TestATwinCountsChangesOfEachSide(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_000_000)
	patch := func(twin hearth.Twin, side hearth.TwinSide, body string) hearth.Twin {
		t.Helper()
		after, _, problem := patched(twin, side, json.RawMessage(body), now)
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
	view := viewOf(twin)
	if view.DesiredVersion != 1 || view.ReportedVersion != 1 || !view.DesiredAt.Equal(now) || string(view.Delta) != `{"color":{"g":2},"list":[1,2]}` {
		t.Errorf("the view is %+v with the delta %s", view.Twin, view.Delta)
	}
	if view := viewOf(hearth.Twin{}); string(view.Delta) != `{}` {
		t.Errorf("an empty twin has the delta %s", view.Delta)
	}
	full := `{"a":"` + strings.Repeat("x", hearth.MaxTwinSide-8) + `"}`
	twin = patch(twin, hearth.TwinReported, `{"on":null,"color":null,"list":null,"extra":null}`)
	twin = patch(twin, hearth.TwinReported, full)
	if _, _, problem := patched(twin, hearth.TwinReported, json.RawMessage(`{"b":1}`), now); problem != "makes the reported state larger than 32 KiB" {
		t.Errorf("a state of more than 32 KiB: %q", problem)
	}
	patch(twin, hearth.TwinReported, `{"b":1,"a":null}`)
	tooLarge := `{"a":"` + strings.Repeat("x", hearth.MaxTwinPatch) + `"}`
	if _, _, problem := patched(hearth.Twin{}, hearth.TwinReported, json.RawMessage(tooLarge), now); problem != "is larger than 64 KiB" {
		t.Errorf("a patch of more than 64 KiB: %q", problem)
	}
}

func stateOf(t hearth.Twin, side hearth.TwinSide) json.RawMessage {
	if side == hearth.TwinDesired {
		return t.Desired
	}
	return t.Reported
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
			before := stateOf(twin, side)
			after, _, problem := patched(twin, side, json.RawMessage(patch), time.UnixMilli(1))
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
			if state := stateOf(after, side); state != nil {
				got = value(t, state)
				if len(state) > hearth.MaxTwinSide {
					t.Fatalf("a state of %d bytes", len(state))
				}
			}
			same := reflect.DeepEqual(old, got)
			if want := modelMerge(old, value(t, []byte(patch))); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s with %s is %s, want %v", before, patch, stateOf(after, side), want)
			}
			if counted := after.Version(side) - twin.Version(side); same != (counted == 0) || counted > 1 {
				t.Fatalf("%s with %s counts %d, and is the same: %v", before, patch, counted, same)
			}
			twin = after
			view := viewOf(twin)
			if settled, problem := jsonobject.MergePatch(twin.Reported, view.Delta, hearth.MaxTwinDepth); problem != "" {
				t.Fatalf("the delta %s is no patch: %s", view.Delta, problem)
			} else if left := jsonobject.Delta(twin.Desired, settled.Object); string(left) != "{}" {
				t.Fatalf("after the delta %s, %s is left", view.Delta, left)
			}
		}
	})
}
