package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const small = `{
  "paths": {
    "/things": {
      "get": {"operationId": "list-things", "summary": "List things", "security": [{"user": []}],
        "parameters": [{"$ref": "#/components/parameters/cursor"}, {"name": "from", "in": "query", "required": true, "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ListThing"}}}}}},
      "post": {"operationId": "create-thing", "summary": "Create a thing", "security": [{"user": []}],
        "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}}},
        "responses": {"201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}}}
    },
    "/things/{thing_id}": {
      "patch": {"operationId": "update-thing", "summary": "Change a thing", "security": [],
        "parameters": [{"name": "thing_id", "in": "path", "schema": {"type": "string"}}, {"name": "If-Match", "in": "header", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingChange"}}}},
        "responses": {"204": {"description": "No Content"}}},
      "get": {"operationId": "download-thing", "summary": "Download", "parameters": [{"name": "thing_id", "in": "path", "schema": {"type": "string"}}],
        "responses": {"200": {"content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "string"}}}}}}
    }
  },
  "components": {
    "parameters": {"cursor": {"name": "cursor", "in": "query", "schema": {"type": "string"}}},
    "schemas": {
      "Colour": {"type": "string", "enum": ["red", "dark-blue"]},
      "ListThing": {"type": "object", "required": ["items", "next_cursor"], "properties": {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}, "next_cursor": {"type": ["string", "null"]}}},
      "Thing": {"type": "object", "required": ["colour", "from"], "properties": {
        "colour": {"oneOf": [{"$ref": "#/components/schemas/Colour"}, {"type": "null"}]}, "from": {"type": "string", "format": "date-time"}, "extra": {}}},
      "NewThing": {"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string"}, "on": {"type": "boolean"}, "filter": {"type": "object", "properties": {"tag": {"type": "string"}}}}},
      "ThingChange": {"type": "object", "properties": {"name": {"type": ["string", "null"]}}}
    }
  }
}`

func TestTheTargetsSayWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		write func(*model) ([]byte, error)
		want  []string
	}{
		"Go": {writeGo, []string{
			`ColourDarkBlue Colour = "dark-blue"`, "Colour *Colour         `json:\"colour\"`", "Extra  json.RawMessage `json:\"extra,omitempty\"`",
			"On     *bool           `json:\"on,omitempty\"`", "Filter *NewThingFilter `json:\"filter,omitempty\"`", "Name Optional[string] `json:\"name,omitzero\"`",
			"func (c *Client) AllThings(ctx context.Context, params ListThingsParams, options ...CallOption) iter.Seq2[Thing, error]",
			`request{method: http.MethodPost, path: "/things", body: body, creates: true}`,
			`request{method: http.MethodPatch, path: "/things/" + url.PathEscape(thingID), body: body, public: true}`,
			"func (c *Client) DownloadThing(ctx context.Context, thingID string, options ...CallOption) (io.ReadCloser, error)",
		}},
		"Python": {writePython, []string{
			`Colour = Literal["red", "dark-blue"]`, `"from": "str"`, `"colour": "Optional[Colour]"`,
			"def list_things(self, *, from_: str, cursor: str = UNSET) -> ListThing:", "def all_things(self, *, from_: str, cursor: str = UNSET) -> Iterator[Thing]:",
			"def update_thing(self, thing_id: str, *, name: Optional[str] = UNSET, if_match: Optional[str] = None) -> None:",
			`self._call("PATCH", f'/things/{quote(thing_id, safe="")}', body=_given({"name": name}), public=True, if_match=if_match)`,
		}},
		"TypeScript": {writeTypeScript, []string{
			"export type Colour = 'red' | 'dark-blue'", "colour: Colour | null", "filter?: NewThingFilter",
			"listThings(query: ListThingsQuery, options: CallOptions = {}): Promise<ListThing>",
			"allThings(query: ListThingsQuery, options: CallOptions = {}): AsyncGenerator<Thing>",
			"method: 'PATCH', path: path`/things/${thingID}`, body, public: true", "Promise<Response>",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := read([]byte(small))
			if err != nil {
				t.Fatal(err)
			}
			text, err := test.write(m)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(text), want) {
					t.Errorf("%s is missing in\n%s", want, text)
				}
			}
		})
	}
}

// A client that lacks an operation of the document is stale: make clients.
func TestEveryOperationIsInEveryClient(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	for file, method := range map[string]*regexp.Regexp{
		"../../client/go/api.gen.go":         regexp.MustCompile(`func \(c \*Client\) (\w+)\(`),
		"../../client/ts/src/api.gen.ts":     regexp.MustCompile(`(?m)^  (\w+)\(`),
		"../../client/python/hearth/_api.py": regexp.MustCompile(`def (\w+)\(self`),
	} {
		client, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		methods := map[string]bool{}
		for _, found := range method.FindAllSubmatch(client, -1) {
			methods[strings.ReplaceAll(strings.ToLower(string(found[1])), "_", "")] = true
		}
		for path, operations := range d.Paths {
			for _, op := range operations {
				if slices.Contains(handMade, op.OperationID) {
					continue
				}
				if !methods[strings.ReplaceAll(op.OperationID, "-", "")] {
					t.Errorf("%s lacks %s of %s", file, op.OperationID, path)
				}
			}
		}
	}
}
