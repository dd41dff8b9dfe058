package api

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

// Validators in Python and others know no \p: a pattern with it makes them fail on every answer.
func TestPatternsAreReadByEveryValidator(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	patterns := regexp.MustCompile(`"pattern": ("(?:[^"\\]|\\.)*")`).FindAllSubmatch(data, -1)
	if len(patterns) == 0 {
		t.Fatal("the document has no pattern")
	}
	for _, found := range patterns {
		var pattern string
		if err := json.Unmarshal(found[1], &pattern); err != nil {
			t.Fatal(err)
		}
		if _, err := regexp.Compile(pattern); err != nil || regexp.MustCompile(`(?i)\\p`).MatchString(pattern) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

func TestEveryEnumerationIsNamed(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(`"license"`)) {
		t.Error("the document names a licence, which the program does not have")
	}
	for name, property := range enumerations {
		if len(doc.Components.Schemas[name].Enum) < 2 {
			t.Errorf("%s has no values: is there still a %s?", name, property)
		}
	}
}
