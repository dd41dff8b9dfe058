package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// minUses is from how many uses on a parameter stands once, in the components.
const minUses = 2

// What the headers are documented with that many answers have.
const (
	locationText = "The path of what was created."
	versionText  = "Begins with the version."
)

// object is a part of the document.
type object = map[string]any

// OpenAPI returns the OpenAPI 3.1 document as indented JSON, the same for the same program.
func (rt *Router) OpenAPI() ([]byte, error) {
	doc, err := rt.document()
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return append(data, '\n'), nil
}

// CompactOpenAPI returns the document without spaces.
func (rt *Router) CompactOpenAPI() ([]byte, error) {
	doc, err := rt.document()
	if err != nil {
		return nil, err
	}
	return json.Marshal(doc)
}

// document returns the document that huma has, with what it repeats moved to the components and what it leaves out added.
func (rt *Router) document() (object, error) {
	full := rt.openAPI
	data, err := json.Marshal(full)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	d := &documentWriter{doc: object{}, enumerations: rt.contract.Enumerations}
	if err := decoder.Decode(&d.doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	d.components = child(d.doc, "components")
	d.schemas = child(d.components, "schemas")
	for name, schema := range d.schemas {
		if t := full.Components.Schemas.TypeFromRef(schemaRef(name)); t != nil && t.Kind() == reflect.Struct {
			markNullable(child(schema, "properties"), t)
		}
	}
	d.nameSchemas()
	listNull(d.schemas)
	d.openAnswers()
	for _, op := range d.operations() {
		if op["description"] == nil {
			op["description"] = op["summary"]
		}
		extendScopes(op)
		parameters, _ := op["parameters"].([]any)
		for _, parameter := range parameters {
			members, _ := parameter.(object)
			withoutExamples(parameter, members["in"] == "path") // of those, all are ids
		}
		d.shareResponses(op)
	}
	d.nameResponses()
	d.shareParameters()
	return d.doc, nil
}

type documentWriter struct {
	doc, components, schemas object
	enumerations             map[string]string
}

// child returns the object that is under a key, nil if there is none.
func child(parent any, key string) object {
	members, _ := parent.(object)
	member, _ := members[key].(object)
	return member
}

func schemaRef(name string) string { return "#/components/schemas/" + name }

func responseRef(name string) string { return "#/components/responses/" + name }

// keep adds a component and returns the reference to it.
func (d *documentWriter) keep(kind, name string, value any) object {
	if d.components[kind] == nil {
		d.components[kind] = object{}
	}
	child(d.components, kind)[name] = value
	return object{"$ref": "#/components/" + kind + "/" + name}
}

// operations returns the operations, by path and method.
func (d *documentWriter) operations() []object {
	var all []object
	paths := child(d.doc, "paths")
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		methods := child(paths, path)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			all = append(all, child(methods, method))
		}
	}
	return all
}

// markNullable allows null for the pointers of a struct that are always written, which huma does for plain types only, and not for
// its slices, for which huma always does.
func markNullable(properties object, t reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch property := child(properties, name); {
		case field.Anonymous && field.Type.Kind() == reflect.Struct:
			markNullable(properties, field.Type)
		case property != nil && field.Type.Kind() == reflect.Pointer && options == "":
			properties[name] = nullable(property)
		case property["items"] != nil && field.Type.Kind() == reflect.Slice:
			property["type"] = huma.TypeArray
		}
	}
}

// nullable returns the schema, or null.
func nullable(schema object) object {
	switch kind := schema["type"].(type) {
	case string:
		schema["type"] = []any{kind, "null"}
	case nil:
		if ref, ok := schema["$ref"]; ok {
			delete(schema, "$ref")
			schema["oneOf"] = []any{object{"$ref": ref}, object{"type": "null"}}
		}
	}
	return schema
}

// listNull adds null to the values of what may be null.
func listNull(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			listNull(item)
		}
	case object:
		values, _ := value["enum"].([]any)
		kinds, _ := value["type"].([]any)
		if values != nil && slices.Contains(kinds, any("null")) && !slices.Contains(values, nil) {
			value["enum"] = append(slices.Clone(values), nil)
		}
		for _, member := range value {
			listNull(member)
		}
	}
}

// withoutExamples leaves out the examples of times, ids and enumerations, whose schema says how they look, or all; and the format of
// numbers, of which there is one.
func withoutExamples(value any, all bool) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			withoutExamples(item, all)
		}
	case object:
		_, isList := value["examples"].([]any)
		if isList && (all || value["format"] == "date-time" || value["format"] == "uuid" || value["enum"] != nil || value["$ref"] != nil) {
			delete(value, "examples")
		}
		if value["format"] == "double" {
			delete(value, "format")
		}
		for _, member := range value {
			withoutExamples(member, all)
		}
	}
}

// extendScopes moves the scope of an API key into a member of its own: linters know scopes of OAuth only.
func extendScopes(op object) {
	security, _ := op["security"].([]any)
	for _, requirement := range security {
		members, _ := requirement.(object)
		if scopes, _ := members["key"].([]any); len(scopes) > 0 {
			op["x-key-scope"] = scopes[0]
			members["key"] = []any{}
		}
	}
}

// nameSchemas refers to named enumerations and objects where their schemas are repeated.
func (d *documentWriter) nameSchemas() {
	codes := []any{}
	for _, code := range slices.Sorted(maps.Keys(statuses)) {
		codes = append(codes, string(code))
	}
	if code := child(child(d.schemas["Problem"], "properties"), "code"); code != nil {
		code["enum"] = codes
	}
	names := map[string]string{}
	for name, schema := range d.schemas {
		if _, ok := child(schema, "properties")["$schema"]; !ok && child(schema, "properties") != nil {
			names[fingerprint(schema)] = name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.enumerations)) {
		schema, member, _ := strings.Cut(d.enumerations[name], ".")
		property := child(child(d.schemas[schema], "properties"), member)
		if items := child(property, "items"); items != nil {
			property = items
		}
		if property["enum"] != nil {
			values := object{"type": "string", "enum": property["enum"]}
			names[fingerprint(values)] = name
			d.schemas[name] = values
		}
	}
	for _, schema := range d.schemas {
		members, _ := schema.(object)
		for _, member := range members {
			refer(member, names)
		}
	}
	for _, op := range d.operations() {
		refer(op["parameters"], names)
		refer(op["requestBody"], names)
		refer(op["responses"], names)
	}
}

// fingerprint is the same for schemas that allow the same values, but for null.
func fingerprint(schema any) string {
	members, _ := schema.(object)
	var relevant object
	switch {
	case members["enum"] != nil:
		values, _ := members["enum"].([]any)
		relevant = object{"enum": slices.DeleteFunc(slices.Clone(values), func(v any) bool { return v == nil })}
	case members["properties"] != nil:
		relevant = object{"properties": members["properties"], "required": members["required"]}
	default:
		return ""
	}
	text, err := json.Marshal(relevant)
	if err != nil {
		panic("rest: a part of the document always encodes: " + err.Error())
	}
	return string(text)
}

// refer replaces every schema below a value that has a name.
func refer(value any, names map[string]string) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			refer(item, names)
		}
	case object:
		name, ok := names[fingerprint(value)]
		if !ok {
			small(value)
			for _, member := range value {
				refer(member, names)
			}
			return
		}
		kinds, _ := value["type"].([]any)
		for _, key := range []string{"type", "enum", "properties", "required", "additionalProperties", "maxLength"} {
			delete(value, key)
		}
		value["$ref"] = schemaRef(name)
		if slices.Contains(kinds, any("null")) {
			nullable(value)
		}
	}
}

// small says int32 of numbers that are bounded to it.
func small(schema object) {
	most, ok := schema["maximum"].(json.Number)
	if !ok || schema["format"] != "int64" {
		return
	}
	if value, err := most.Int64(); err == nil && value <= math.MaxInt32 {
		schema["format"] = "int32"
	}
}

// openAnswers lets answers gain members, as only what clients send is refused for unknown ones, and leaves out examples of answers. A schema
// that is sent and answered is open; where it is sent, unknown members are refused by the place that refers to it.
func (d *documentWriter) openAnswers() {
	sent, answered := map[string]bool{}, map[string]bool{}
	for _, op := range d.operations() {
		d.reach(op["requestBody"], sent)
		d.reach(op["responses"], answered)
	}
	opened := map[string]bool{}
	for name, schema := range d.schemas {
		if members, _ := schema.(object); (answered[name] || !sent[name]) && members["additionalProperties"] == false {
			delete(members, "additionalProperties")
			opened[name] = true
		}
		withoutExamples(schema, !sent[name])
	}
	for _, op := range d.operations() {
		closeReferences(op["requestBody"], opened)
	}
	for name, schema := range d.schemas {
		if sent[name] && !answered[name] {
			closeReferences(schema, opened)
		}
	}
}

// closeReferences refuses unknown members where a part refers to an open schema.
func closeReferences(part any, opened map[string]bool) {
	switch part := part.(type) {
	case []any:
		for _, item := range part {
			closeReferences(item, opened)
		}
	case object:
		ref, _ := part["$ref"].(string)
		if name, ok := strings.CutPrefix(ref, schemaRef("")); ok && opened[name] {
			part["unevaluatedProperties"] = false
		}
		for _, member := range part {
			closeReferences(member, opened)
		}
	}
}

// reach notes the schemas that a part refers to.
func (d *documentWriter) reach(part any, seen map[string]bool) {
	switch part := part.(type) {
	case []any:
		for _, item := range part {
			d.reach(item, seen)
		}
	case object:
		ref, _ := part["$ref"].(string)
		if name, ok := strings.CutPrefix(ref, schemaRef("")); ok && !seen[name] {
			seen[name] = true
			d.reach(d.schemas[name], seen)
		}
		for _, member := range part {
			d.reach(member, seen)
		}
	}
}

// shareResponses moves the failures, the examples of their codes and the headers of all answers to the components.
func (d *documentWriter) shareResponses(op object) {
	responses := child(op, "responses")
	for status, value := range responses {
		response, _ := value.(object)
		headers := child(response, "headers")
		for name, header := range headers {
			if status != strconv.Itoa(http.StatusTooManyRequests) && strings.HasPrefix(name, "RateLimit-") {
				delete(headers, name) // the description of the document says it of all answers
				continue
			}
			switch text := child(header, "schema")["description"]; {
			case strings.HasPrefix(name, "RateLimit-"), name == "Retry-After", name == "Idempotency-Replayed", text == locationText:
				headers[name] = d.keep("headers", name, header)
			case text == versionText:
				headers[name] = d.keep("headers", "VersionETag", header)
			}
		}
		if headers != nil && len(headers) == 0 {
			delete(response, "headers")
		}
		if status == strconv.Itoa(http.StatusNoContent) && response["headers"] == nil && response["description"] == http.StatusText(http.StatusNoContent) {
			responses[status] = d.keep("responses", "done", response)
			continue
		}
		problem := child(child(response, "content"), "application/problem+json")
		if problem == nil {
			continue
		}
		examples := child(problem, "examples")
		for code, example := range examples {
			examples[code] = d.keep("examples", code, example)
		}
		name := strings.Join(slices.Sorted(maps.Keys(examples)), "-")
		name = strings.Replace(name, "token_expired-token_revoked-unauthenticated", "bad_token", 1)
		responses[status] = d.keep("responses", name, response)
	}
}

// nameResponses names the failures that most operations answer with a status after the status: there are a thousand references to them.
func (d *documentWriter) nameResponses() {
	uses := map[string]map[string][]object{} // by status and name
	for _, op := range d.operations() {
		for status, value := range child(op, "responses") {
			response, _ := value.(object)
			ref, _ := response["$ref"].(string)
			if name, ok := strings.CutPrefix(ref, responseRef("")); ok {
				if uses[status] == nil {
					uses[status] = map[string][]object{}
				}
				uses[status][name] = append(uses[status][name], response)
			}
		}
	}
	shared := child(d.components, "responses")
	for status, names := range uses {
		most := slices.MaxFunc(slices.Sorted(maps.Keys(names)), func(a, b string) int { return len(names[a]) - len(names[b]) })
		shared[status] = shared[most]
		delete(shared, most)
		for _, response := range names[most] {
			response["$ref"] = responseRef(status)
		}
	}
}

// shareParameters moves the parameters of several operations to the components.
func (d *documentWriter) shareParameters() {
	uses := map[string][]object{}
	for _, op := range d.operations() {
		parameters, _ := op["parameters"].([]any)
		for _, value := range parameters {
			parameter, _ := value.(object)
			schema := child(parameter, "schema")
			if schema["description"] == parameter["description"] {
				delete(schema, "description")
			}
			if kinds, ok := schema["type"].([]any); ok && parameter["in"] == "query" {
				schema["type"] = kinds[0] // a query has no null
			}
			if schema["type"] != huma.TypeArray {
				delete(parameter, "explode") // it is about arrays
			}
			nameSorts(parameter)
			text, err := json.Marshal(parameter)
			if err != nil {
				panic("rest: a part of the document always encodes: " + err.Error())
			}
			uses[string(text)] = append(uses[string(text)], parameter)
		}
	}
	often := slices.SortedFunc(maps.Keys(uses), func(a, b string) int {
		return len(uses[b])*2 + strings.Compare(a, b) - len(uses[a])*2
	})
	numbers := map[string]int{}
	for _, text := range often {
		if len(uses[text]) < minUses {
			break
		}
		name, _ := uses[text][0]["name"].(string)
		key := name
		if d.schemas[typeName(name)] != nil {
			key += "-query" // generators of code name types by components, of whatever kind
		}
		if numbers[name]++; numbers[name] > 1 {
			key += "-" + strconv.Itoa(numbers[name])
		}
		shared := maps.Clone(uses[text][0])
		for _, parameter := range uses[text] {
			clear(parameter)
			maps.Copy(parameter, d.keep("parameters", key, shared))
		}
	}
}

// problemExample returns the example of a failure with a code.
func problemExample(code hearth.Code) *huma.Example {
	status := statuses[code]
	return &huma.Example{Value: Problem{
		Type: "urn:hearth:error:" + string(code), Title: http.StatusText(status), Status: status, Detail: "what went wrong, for display",
		Code: code, RequestID: "0192c3a4-7e1b-7c44-9f6e-1a2b3c4d5e6f",
	}}
}

// nameSorts names the values of sort for generators of code, which would name the constant of "severity" as the type Severity.
func nameSorts(parameter object) {
	values, _ := child(parameter, "schema")["enum"].([]any)
	if parameter["name"] != "sort" || len(values) == 0 {
		return
	}
	names := make([]string, len(values))
	for i, value := range values {
		field, descending := strings.CutPrefix(fmt.Sprint(value), "-")
		names[i] = "By" + typeName(field)
		if descending {
			names[i] += "Descending"
		}
	}
	child(parameter, "schema")["x-enum-varnames"] = names
}

// typeName returns a name in the form of types: last_active_at is LastActiveAt.
func typeName(name string) string {
	var out strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '_' || r == '-' }) {
		out.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return out.String()
}
