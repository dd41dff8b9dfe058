package rest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"hearth"
)

// FuzzShortTexts wants a list to be read as encoding/json reads it; what is null in it was refused before.
func FuzzShortTexts(f *testing.F) {
	for _, seed := range []string{`["a","\ud83d\ude00\n"," "]`, ` [ ] `, `null`, `["a",1]`, `[["a"]]`, `{}`, `"a"`, `["a"`, `["a",]`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want []string
		if CheckJSON([]byte(text), maxJSONItems) != nil || strings.Contains(text, "null") && strings.TrimSpace(text) != "null" {
			return
		}
		wrong := json.Unmarshal([]byte(text), &want)
		var got ShortTexts
		if err := json.Unmarshal([]byte(text), &got); (err != nil) != (wrong != nil) || err == nil && !reflect.DeepEqual([]string(got), want) {
			t.Errorf("%q is read as %q, %v, want %q, %v", text, got, err, want, wrong)
		}
	})
}

// Whatever is asked for, the filter of fields returns known fields or a refusal, and what it picks is JSON.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"", "name", "name,note", "note,,name", "items", "name,name", `"`, "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		fields, err := parseFields(query, typeOf[thing]())
		if err != nil {
			if hearth.ErrorCode(err) != hearth.CodeValidationFailed {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if query != "" && len(fields) == 0 {
			t.Errorf("%q picks nothing", query)
		}
		object, err := json.Marshal(thing{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		picked, err := appendFields(nil, object, fields)
		if err != nil || !json.Valid(picked) {
			t.Errorf("%q: %s, %v", query, picked, err)
		}
		for _, field := range fields {
			if !strings.Contains(","+query+",", ","+field+",") {
				t.Errorf("%q gives %s", query, field)
			}
		}
	})
}
