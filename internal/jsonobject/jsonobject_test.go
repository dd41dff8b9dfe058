package jsonobject

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Objects are read and written as package json does.
func FuzzObjects(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { "a" : [ 1 , -0.50e+7 , 1E9 , { } , [ ] ] , "b" : { "" : null , "c" : true , "d" : false } } `, `{"a":1,"a":{"b":2},"a":3}`,
		`{"z":1,"é":2,"\u00e9":3,"\ud800":"\ud83d\ude00","\\\"/\b\f\n\r\t":"<\u2028>\u007f"}`, "{\"\xff\":\"\xc3\"}", "{\"a\":\"\x01\"}", `{"a":"\x"}`,
		`{"a":"`, `{"a":"\`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":[,]}`, `{"a":1}}`, `{"a":1}{}`, `{"a":1]`, `{a:1}`, `[]`, `null`, `1`, ``, `{`,
		`{"a":01}`, `{"a":1.}`, `{"a":.1}`, `{"a":-}`, `{"a":1e}`, `{"a":1e+}`, `{"a":+1}`, `{"a":0x1}`, `{"a":1_0}`, `{"a":nul}`, `{"a":truex}`, `{"a":NaN}`, "{\"a\":1\v}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := Decode(text)
		var want map[string]any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if decoder.Decode(&want) != nil || len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
			want = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%.200q is not read as package json reads it: %v, %v", text, got != nil, want != nil)
		}
		if want == nil {
			return
		}
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(want); err != nil {
			t.Fatal(err)
		}
		if written := string(Encode(got)) + "\n"; written != out.String() {
			t.Fatalf("%.200q is written as %.200s, want %.200s", text, written, out.String())
		}
	})
}

func TestObjectsNestAsDeepAsPackageJSONReads(t *testing.T) {
	t.Parallel()
	for _, levels := range []int{maxLevels, maxLevels + 1} {
		text := strings.Repeat(`{"a":`, levels-1) + `[]` + strings.Repeat(`}`, levels-1)
		if got, want := Decode([]byte(text)) != nil, json.Valid([]byte(text)); got != want || want != (levels == maxLevels) {
			t.Errorf("%d levels are read: %v, want %v", levels, got, want)
		}
	}
}

func BenchmarkMergePatch(b *testing.B) {
	object, patch := json.RawMessage(`{"by":3,"level":17}`), json.RawMessage(`{"level":18,"by":4}`)
	b.ReportAllocs()
	for b.Loop() {
		if merged, problem := MergePatch(object, patch, 8); !merged.Changed || problem != "" {
			b.Fatal(problem)
		}
	}
}
