package api

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

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
