package devices

import (
	"encoding/json"
	"strings"
	"testing"

	"hearth"
)

func TestMetadataIsKeptInOneForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want, problem string }{
		"nothing":               {in: "", want: ""},
		"null":                  {in: " null ", want: ""},
		"sorted and compact":    {in: ` { "b" : 1.50, "a" : ["<&>", null] } `, want: `{"a":["<&>",null],"b":1.50}`},
		"a list":                {in: `[1]`, problem: "must be an object"},
		"broken":                {in: `{"a":`, problem: "must be an object"},
		"more than one object":  {in: `{} {}`, problem: "must be an object"},
		"too large a number":    {in: `{"a":[1e400]}`, problem: "has a number that is too large"},
		"as deep as it may be":  {in: nested(15), want: nested(15)},
		"deeper than it may be": {in: nested(16), problem: "is nested more than 16 deep"},
		"as long as it may be":  {in: long(hearth.MaxMetadata), want: long(hearth.MaxMetadata)},
		"longer than it may be": {in: long(hearth.MaxMetadata + 1), problem: "is larger than 8 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problem := canonicalMetadata(json.RawMessage(c.in))
			if string(got) != c.want || problem != c.problem {
				t.Errorf("got %s %q, want %s %q", got, problem, c.want, c.problem)
			}
		})
	}
}

// nested returns an object whose innermost value, a 1, has depth containers around it.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

// long returns an object of size bytes.
func long(size int) string { return `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}` }
