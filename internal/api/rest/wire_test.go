package rest

import (
	"encoding/json"
	"strings"
	"testing"

	"hearth"
)

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
