package rest

import (
	"encoding/json"
	"os"
	"testing"
)

// The document of the whole program, as it is committed.
func committedDocument(t *testing.T) object {
	t.Helper()
	data, err := os.ReadFile("../../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentNamesAllCodes(t *testing.T) {
	t.Parallel()
	schemas := child(child(committedDocument(t), "components"), "schemas")
	codes, _ := child(schemas, "ErrorCode")["enum"].([]any)
	if len(codes) != len(statuses) {
		t.Errorf("%d codes, want %d", len(codes), len(statuses))
	}
}

func TestTheDocumentSaysWhatMayBeNull(t *testing.T) {
	t.Parallel()
	schemas := child(child(committedDocument(t), "components"), "schemas")
	for _, want := range []struct{ schema, property, json string }{
		{"Device", "last_active_at", `["string","null"]`},
		{"Device", "created_at", `"string"`},
		{"Export", "result", `[{"$ref":"#/components/schemas/ExportResult"},{"type":"null"}]`},
		{"Summary", "first", `[{"$ref":"#/components/schemas/Value"},{"type":"null"}]`},
		{"ExportSchedule", "weekday", `[{"$ref":"#/components/schemas/Weekday"},{"type":"null"}]`},
		{"Problem", "errors", `"array"`},
		{"NotificationChannel", "min_severity", `[{"$ref":"#/components/schemas/Severity"},{"type":"null"}]`},
	} {
		property := child(child(schemas[want.schema], "properties"), want.property)
		kind := property["type"]
		if kind == nil {
			kind = property["oneOf"]
		}
		if got, err := json.Marshal(kind); err != nil || string(got) != want.json {
			t.Errorf("%s.%s is %s, want %s", want.schema, want.property, got, want.json)
		}
	}
}

// Answers may gain members; what is sent with an unknown one is refused, also where it has the schema of an answer.
func TestAnswersMayGainMembers(t *testing.T) {
	t.Parallel()
	doc := committedDocument(t)
	d := &documentWriter{doc: doc, schemas: child(child(doc, "components"), "schemas")}
	sent, answered := map[string]bool{}, map[string]bool{}
	for _, op := range d.operations() {
		d.reach(op["requestBody"], sent)
		d.reach(op["responses"], answered)
	}
	both := 0
	for name, schema := range d.schemas {
		closed := child(d.schemas, name)["additionalProperties"] == false
		switch {
		case closed && answered[name]:
			t.Errorf("%s is answered, and may gain no members", name)
		case sent[name] && answered[name] && child(schema, "properties") != nil:
			both++
		case sent[name] && !closed && child(schema, "properties") != nil:
			t.Errorf("%s is sent, and may have unknown members", name)
		}
	}
	schedule := child(child(d.schemas["NewRule"], "properties"), "schedule")
	if either, _ := schedule["oneOf"].([]any); both == 0 || len(either) == 0 || either[0].(object)["unevaluatedProperties"] != false {
		t.Errorf("%d schemas are sent and answered; the schedule of a new rule is %v", both, schedule)
	}
}

func TestTheDocumentRepeatsNothing(t *testing.T) {
	t.Parallel()
	doc := committedDocument(t)
	compact, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	operations := (&documentWriter{doc: doc}).operations()
	if size := len(compact) / len(operations); size > 2100 {
		t.Errorf("%d bytes an operation: is something repeated?", size)
	}
	for _, op := range operations {
		for status, response := range child(op, "responses") {
			if status >= "400" && child(op["responses"], status)["$ref"] == nil {
				t.Errorf("%v has its own answer %s: %v", op["operationId"], status, response)
			}
		}
	}
}

// Generators of Go name types by components, and constants by values: none of these names is there twice.
func TestGeneratorsFindNoNameTwice(t *testing.T) {
	t.Parallel()
	doc := committedDocument(t)
	schemas := map[string]bool{}
	components := child(doc, "components")
	for name := range child(components, "schemas") {
		schemas[typeName(name)] = true
	}
	for name := range child(components, "parameters") {
		if schemas[typeName(name)] {
			t.Errorf("the parameter %s is called as a schema is", name)
		}
	}
	sorts := 0
	for _, op := range (&documentWriter{doc: doc}).operations() {
		parameters, _ := op["parameters"].([]any)
		for _, parameter := range parameters {
			schema := child(parameter, "schema")
			values, _ := schema["enum"].([]any)
			if names, ok := schema["x-enum-varnames"].([]any); ok {
				sorts++
				values = names
			}
			for _, value := range values {
				if name, _ := value.(string); schemas[typeName(name)] {
					t.Errorf("%v has the value %s, which is called as a schema is", op["operationId"], name)
				}
			}
		}
	}
	if sorts == 0 {
		t.Error("no value has a name: the test lost its targets")
	}
}
