package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jsonSchema is what is read of a schema of the document.
type jsonSchema struct {
	Ref         string                 `json:"$ref"`
	Type        any                    `json:"type"`
	Format      string                 `json:"format"`
	Description string                 `json:"description"`
	Enum        []any                  `json:"enum"`
	Properties  map[string]*jsonSchema `json:"properties"`
	Required    []string               `json:"required"`
	Items       *jsonSchema            `json:"items"`
	OneOf       []*jsonSchema          `json:"oneOf"`
	Additional  json.RawMessage        `json:"additionalProperties"`
}

type jsonParameter struct {
	Ref         string      `json:"$ref"`
	Name        string      `json:"name"`
	In          string      `json:"in"`
	Description string      `json:"description"`
	Required    bool        `json:"required"`
	Schema      *jsonSchema `json:"schema"`
}

type jsonContent map[string]struct {
	Schema *jsonSchema `json:"schema"`
}

type jsonOperation struct {
	ID          string          `json:"operationId"`
	Summary     string          `json:"summary"`
	Description string          `json:"description"`
	Parameters  []jsonParameter `json:"parameters"`
	Body        *struct {
		Content jsonContent `json:"content"`
	} `json:"requestBody"`
	Security  []map[string][]string `json:"security"`
	Responses map[string]struct {
		Ref     string      `json:"$ref"`
		Content jsonContent `json:"content"`
	} `json:"responses"`
}

type jsonDocument struct {
	Paths      map[string]map[string]jsonOperation `json:"paths"`
	Components struct {
		Schemas    map[string]*jsonSchema   `json:"schemas"`
		Parameters map[string]jsonParameter `json:"parameters"`
	} `json:"components"`
}

// kind is what a type is at its top.
type kind int

const (
	anyKind kind = iota
	stringKind
	timeKind
	intKind
	longKind
	floatKind
	boolKind
	listKind
	mapKind
	namedKind
)

// typ is a type of a field, a parameter, a body or an answer.
type typ struct {
	kind     kind
	elem     *typ
	named    *schema
	values   []string // those of a string that has no name
	nullable bool
}

type field struct {
	name, doc string
	typ       typ
	required  bool
}

// schema is a type with a name: an object with fields, a list of values, or another name for a type.
type schema struct {
	name, doc string
	fields    []field
	values    []string
	alias     *typ
	// sent and answered say in which direction it travels; patch, that what is left out stays as it is and null clears.
	sent, answered, patch bool
}

// page returns what the items of a page of a list are; nil where the schema is none.
func (s *schema) page() *typ {
	if len(s.fields) < 2 || s.fields[0].name != "items" || s.fields[0].typ.kind != listKind || s.fields[1].name != "next_cursor" {
		return nil
	}
	return s.fields[0].typ.elem
}

func (s *schema) isObject() bool { return s.values == nil && s.alias == nil }

type operation struct {
	id, method, path, summary, doc string
	pathParams, query              []field
	body                           *typ
	answer                         *typ
	// raw answers are files, and come as bytes. creates: an Idempotency-Key makes it safe to repeat. ifMatch: it honours If-Match.
	// public operations need no token.
	raw, creates, ifMatch, public bool
	// item is what a list has, page by page.
	item *typ
}

type model struct {
	schemas    []*schema
	operations []operation
}

// handMade are the operations that clients have by hand: streams.
var handMade = []string{"stream-events", "connect-websocket"}

type reader struct {
	doc    jsonDocument
	named  map[string]*schema
	inline map[string]*schema
}

// read makes the model of a document.
func read(data []byte) (*model, error) {
	r := &reader{named: map[string]*schema{}, inline: map[string]*schema{}}
	if err := json.Unmarshal(data, &r.doc); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	names := slices.Sorted(maps.Keys(r.doc.Components.Schemas))
	for _, name := range names {
		r.named[name] = &schema{name: name}
	}
	for _, name := range names {
		r.fill(r.named[name], r.doc.Components.Schemas[name])
	}
	m := &model{}
	for _, path := range slices.Sorted(maps.Keys(r.doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(r.doc.Paths[path])) {
			op := r.doc.Paths[path][method]
			if op.ID != "" && !slices.Contains(handMade, op.ID) {
				m.operations = append(m.operations, r.operation(op, strings.ToUpper(method), path))
			}
		}
	}
	if problem := r.named["Problem"]; problem != nil {
		mark(&typ{named: problem}, func(s *schema) *bool { return &s.answered })
	}
	for _, s := range r.named {
		if s.sent || s.answered {
			m.schemas = append(m.schemas, s)
		}
	}
	slices.SortFunc(m.schemas, func(a, b *schema) int { return strings.Compare(a.name, b.name) })
	return m, nil
}

// fill reads the parts of a schema that has a name.
func (r *reader) fill(s *schema, from *jsonSchema) {
	s.doc = from.Description
	switch {
	case from.Enum != nil:
		s.values = values(from.Enum)
	case from.Properties != nil:
		for _, name := range slices.Sorted(maps.Keys(from.Properties)) {
			property := from.Properties[name]
			s.fields = append(s.fields, field{
				name: name, doc: property.Description, typ: r.typeOf(property, s.name+camel(name)), required: slices.Contains(from.Required, name),
			})
		}
	default:
		alias := r.typeOf(from, s.name)
		s.alias = &alias
	}
}

func values(enum []any) []string {
	list := []string{}
	for _, value := range enum {
		if text, ok := value.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// typeOf reads a type. An object without a name gets the one that is given, or shares that of its like.
func (r *reader) typeOf(from *jsonSchema, name string) typ {
	if from == nil {
		return typ{}
	}
	if ref, ok := strings.CutPrefix(from.Ref, "#/components/schemas/"); ok {
		return typ{kind: namedKind, named: r.named[ref]}
	}
	if len(from.OneOf) == 2 && from.OneOf[1].Type == "null" {
		t := r.typeOf(from.OneOf[0], name)
		t.nullable = true
		return t
	}
	base, nullable := from.Type, false
	if list, ok := base.([]any); ok {
		base, nullable = list[0], slices.Contains(list, any("null"))
	}
	t := typ{nullable: nullable}
	switch base {
	case "string":
		t.kind, t.values = stringKind, values(from.Enum)
		if from.Format == "date-time" {
			t.kind = timeKind
		}
	case "integer":
		t.kind = longKind
		if from.Format == "int32" {
			t.kind = intKind
		}
	case "number":
		t.kind = floatKind
	case "boolean":
		t.kind = boolKind
	case "array":
		elem := r.typeOf(from.Items, name+"Item")
		t.kind, t.elem = listKind, &elem
	case "object":
		r.objectType(&t, from, name)
	}
	return t
}

func (r *reader) objectType(t *typ, from *jsonSchema, name string) {
	if from.Properties == nil {
		elem := typ{}
		var values jsonSchema
		if err := json.Unmarshal(from.Additional, &values); err == nil {
			elem = r.typeOf(&values, name+"Value")
		}
		t.kind, t.elem = mapKind, &elem
		return
	}
	key, err := json.Marshal(from.Properties)
	if err != nil {
		panic("clientgen: a part of the document always encodes: " + err.Error())
	}
	s := r.inline[string(key)]
	if s == nil {
		s = &schema{name: name}
		r.inline[string(key)], r.named[name] = s, s
		r.fill(s, from)
		s.doc = ""
	}
	t.kind, t.named = namedKind, s
}

func (r *reader) operation(from jsonOperation, method, path string) operation {
	op := operation{id: from.ID, method: method, path: path, summary: from.Summary, doc: from.Description, public: len(from.Security) == 0}
	for _, p := range from.Parameters {
		if name, ok := strings.CutPrefix(p.Ref, "#/components/parameters/"); ok {
			p = r.doc.Components.Parameters[name]
		}
		f := field{name: p.Name, doc: p.Description, typ: r.typeOf(p.Schema, camel(from.ID)+camel(p.Name)), required: p.Required}
		switch {
		case p.In == "path":
			op.pathParams = append(op.pathParams, f)
		case p.In == "query":
			op.query = append(op.query, f)
		case p.Name == "Idempotency-Key":
			op.creates = true
		case p.Name == "If-Match":
			op.ifMatch = true
		}
	}
	slices.SortStableFunc(op.pathParams, func(a, b field) int {
		return cmp.Compare(strings.Index(path, "{"+a.name+"}"), strings.Index(path, "{"+b.name+"}"))
	})
	slices.SortStableFunc(op.query, func(a, b field) int { return strings.Compare(a.name, b.name) })
	if from.Body != nil {
		body := r.typeOf(from.Body.Content["application/json"].Schema, camel(from.ID)+"Body")
		mark(&body, func(s *schema) *bool { return &s.sent })
		if body.named != nil && method == "PATCH" {
			body.named.patch = true
		}
		op.body = &body
	}
	r.answer(&op, from)
	return op
}

// answer reads what the operation answers where it succeeds.
func (r *reader) answer(op *operation, from jsonOperation) {
	empty := false
	for _, status := range slices.Sorted(maps.Keys(from.Responses)) {
		response := from.Responses[status]
		if status[0] != '2' {
			continue
		}
		content, isJSON := response.Content["application/json"]
		switch {
		case len(response.Content) == 0:
			empty = true
		case !isJSON || len(response.Content) > 1:
			op.raw = true
		default:
			answer := r.typeOf(content.Schema, camel(op.id)+"Answer")
			mark(&answer, func(s *schema) *bool { return &s.answered })
			op.answer = &answer
		}
	}
	if op.answer == nil {
		return
	}
	op.answer.nullable = op.answer.nullable || empty
	if op.method != "GET" || op.answer.named == nil || !slices.ContainsFunc(op.query, func(f field) bool { return f.name == "cursor" }) {
		return
	}
	for _, f := range op.answer.named.fields {
		if f.name == "items" {
			op.item = f.typ.elem
		}
	}
}

// mark sets a flag of every schema that a type reaches.
func mark(t *typ, flag func(*schema) *bool) {
	if t.elem != nil {
		mark(t.elem, flag)
	}
	if t.named == nil || *flag(t.named) {
		return
	}
	*flag(t.named) = true
	if t.named.alias != nil {
		mark(t.named.alias, flag)
	}
	for i := range t.named.fields {
		mark(&t.named.fields[i].typ, flag)
	}
}

// initialisms are written in capitals.
var initialisms = []string{"id", "ids", "api", "url", "ip", "uri", "sse", "csv", "sha256", "mqtt", "wal", "http", "cpu", "jwks", "ms", "qr", "tz"}

// words splits a name of the document.
func words(name string) []string {
	return strings.FieldsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

// camel returns a name as Go and TypeScript write those of types.
func camel(name string) string {
	var out strings.Builder
	for _, word := range words(name) {
		switch {
		case word == "ids":
			out.WriteString("IDs")
		case slices.Contains(initialisms, word):
			out.WriteString(strings.ToUpper(word))
		default:
			out.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return out.String()
}

// snake returns a name as Python writes those of functions.
func snake(name string) string { return strings.Join(words(name), "_") }

// queryIsOption reports whether all of the query may be left out and few calls have one, so that an operation that gains its first
// parameter keeps its form.
func (op operation) queryIsOption() bool {
	return op.method != "GET" && len(op.query) > 0 && !slices.ContainsFunc(op.query, func(f field) bool { return f.required })
}

// listed returns the name of an operation that lists, without the verb: "list-devices" is "devices".
func (op operation) listed() string { return strings.TrimPrefix(op.id, "list-") }

// text returns what the operation does, in one paragraph, wrapped into lines of at most width.
func (op operation) text(width int) []string {
	text := strings.TrimSuffix(op.summary, ".") + "."
	if op.doc != "" && op.doc != op.summary {
		text += " " + op.doc
	}
	return wrap(text, width)
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
