package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The documentation is one page without a script, rendered from the OpenAPI document when the program starts: it works
// with no internet, prints, and can be searched with the browser's own search.

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docsPolicy allows the page its one style sheet and nothing else.
var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

type docsPage struct {
	Title, Version, Description string
	Style                       template.CSS
	Chapters                    []docsChapter
}

type docsChapter struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description, Auth, Curl string
	Params                                             []docsField
	Body                                               []docsField
	BodyExample                                        string
	Answers                                            []docsAnswer
}

type docsField struct {
	Name, In, Type, About string
	Required              bool
}

type docsAnswer struct {
	Status, About, Example string
	Fields                 []docsField
}

// renderDocs makes the page of a document.
func renderDocs(doc *huma.OpenAPI) ([]byte, error) {
	page := docsPage{Title: doc.Info.Title, Version: doc.Info.Version, Description: doc.Info.Description, Style: template.CSS(docsStyle)} //nolint:gosec // our own style sheet
	chapters := map[string]int{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range operationsOf(doc.Paths[path]) {
			name := "Other"
			if len(op.Tags) > 0 {
				name = op.Tags[0]
			}
			at, known := chapters[name]
			if !known {
				at = len(page.Chapters)
				chapters[name] = at
				page.Chapters = append(page.Chapters, docsChapter{Name: name})
			}
			page.Chapters[at].Operations = append(page.Chapters[at].Operations, describe(doc, op))
		}
	}
	slices.SortFunc(page.Chapters, func(a, b docsChapter) int { return strings.Compare(a.Name, b.Name) })
	tmpl, err := template.New("docs").Funcs(template.FuncMap{"prose": prose}).Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, page); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// prose escapes a text and sets what stands between backticks as code.
func prose(text string) template.HTML {
	parts := strings.Split(text, "`")
	for i, part := range parts {
		parts[i] = template.HTMLEscapeString(part)
		if i%2 == 1 && i < len(parts)-1 {
			parts[i] = "<code>" + parts[i] + "</code>"
		}
	}
	return template.HTML(strings.Join(parts, "")) //nolint:gosec // every part was escaped
}

func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

func describe(doc *huma.OpenAPI, op *huma.Operation) docsOperation {
	out := docsOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description, Auth: authOf(op)}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, docsField{Name: p.Name, In: p.In, Type: typeName(p.Schema), About: about(p.Description, p.Schema), Required: p.Required})
	}
	if op.RequestBody != nil {
		schema := bodySchema(op.RequestBody.Content)
		out.Body = fieldsOf(doc, schema, "", 0)
		out.BodyExample = pretty(exampleOf(doc, schema, 0))
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		response := op.Responses[status]
		answer := docsAnswer{Status: status, About: response.Description}
		if code, err := strconv.Atoi(status); err == nil && code < 300 {
			schema := bodySchema(response.Content)
			answer.Fields = fieldsOf(doc, schema, "", 0)
			answer.Example = pretty(exampleOf(doc, schema, 0))
		}
		out.Answers = append(out.Answers, answer)
	}
	out.Curl = curlOf(op, out)
	return out
}

func authOf(op *huma.Operation) string {
	switch len(op.Security) {
	case 0:
		return "no token"
	case 1:
		return "access token"
	}
	return "access token or device token"
}

// bodySchema returns the schema of the JSON body, or of the only other kind.
func bodySchema(content map[string]*huma.MediaType) *huma.Schema {
	if media := content["application/json"]; media != nil {
		return media.Schema
	}
	for _, media := range content {
		return media.Schema
	}
	return nil
}

// maxDocsDepth bounds how deep nested objects are spelt out.
const maxDocsDepth = 4

func resolve(doc *huma.OpenAPI, s *huma.Schema) *huma.Schema {
	if s != nil && s.Ref != "" {
		return doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// fieldsOf lists the fields of an object, nested ones by their path.
func fieldsOf(doc *huma.OpenAPI, schema *huma.Schema, prefix string, depth int) []docsField {
	schema = resolve(doc, schema)
	if schema == nil || depth > maxDocsDepth {
		return nil
	}
	if schema.Type == huma.TypeArray {
		return fieldsOf(doc, schema.Items, prefix+"[].", depth+1)
	}
	var out []docsField
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := resolve(doc, schema.Properties[name])
		if property == nil {
			continue
		}
		out = append(out, docsField{
			Name: prefix + name, Type: typeName(property), Required: slices.Contains(schema.Required, name),
			About: about(schema.Properties[name].Description, property),
		})
		switch {
		case property.Type == huma.TypeObject:
			out = append(out, fieldsOf(doc, property, prefix+name+".", depth+1)...)
		case property.Type == huma.TypeArray && property.Items != nil:
			out = append(out, fieldsOf(doc, property.Items, prefix+name+"[].", depth+1)...)
		}
	}
	return out
}

func typeName(s *huma.Schema) string {
	if s == nil {
		return ""
	}
	name := s.Type
	switch {
	case s.Ref != "":
		name = s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray:
		name = "list of " + typeName(s.Items)
	case s.Format != "":
		name = s.Format
	}
	if s.Nullable {
		name += " or null"
	}
	return name
}

// about adds the bounds of a value to its description.
func about(description string, s *huma.Schema) string {
	if s == nil {
		return description
	}
	if description == "" {
		description = s.Description
	}
	var notes []string
	if len(s.Enum) > 0 {
		words := make([]string, len(s.Enum))
		for i, word := range s.Enum {
			words[i] = fmt.Sprint(word)
		}
		notes = append(notes, "one of "+strings.Join(words, ", "))
	}
	for _, bound := range []struct {
		word  string
		value *float64
	}{{"at least", s.Minimum}, {"at most", s.Maximum}} {
		if bound.value != nil {
			notes = append(notes, bound.word+" "+strconv.FormatFloat(*bound.value, 'f', -1, 64))
		}
	}
	for _, bound := range []struct {
		word, unit string
		value      *int
	}{{"at least", "characters", s.MinLength}, {"at most", "characters", s.MaxLength}, {"at most", "items", s.MaxItems}} {
		if bound.value != nil {
			notes = append(notes, fmt.Sprintf("%s %d %s", bound.word, *bound.value, bound.unit))
		}
	}
	if s.Default != nil {
		notes = append(notes, fmt.Sprintf("default %v", s.Default))
	}
	if len(notes) == 0 {
		return description
	}
	return strings.TrimSpace(description + " (" + strings.Join(notes, "; ") + ")")
}

// exampleOf makes a value that fits the schema, from the examples that stand in it.
func exampleOf(doc *huma.OpenAPI, schema *huma.Schema, depth int) any {
	if schema != nil && len(schema.Examples) > 0 {
		return schema.Examples[0]
	}
	schema = resolve(doc, schema)
	switch {
	case schema == nil || depth > maxDocsDepth:
		return nil
	case len(schema.Examples) > 0:
		return schema.Examples[0]
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case schema.Default != nil:
		return schema.Default
	}
	switch schema.Type {
	case huma.TypeObject:
		out := map[string]any{}
		for name, property := range schema.Properties {
			out[name] = exampleOf(doc, property, depth+1)
		}
		return out
	case huma.TypeArray:
		return []any{exampleOf(doc, schema.Items, depth+1)}
	case huma.TypeString:
		return "…"
	case huma.TypeInteger, huma.TypeNumber:
		return 0
	case huma.TypeBoolean:
		return false
	}
	return nil
}

func pretty(v any) string {
	if v == nil {
		return ""
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}

func curlOf(op *huma.Operation, described docsOperation) string {
	var b strings.Builder
	b.WriteString("curl")
	if op.Method != http.MethodGet {
		b.WriteString(" -X " + op.Method)
	}
	b.WriteString(` "$HEARTH` + op.Path + `"`)
	if len(op.Security) > 0 {
		b.WriteString(" \\\n  -H \"Authorization: Bearer $TOKEN\"")
	}
	if described.BodyExample != "" {
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(described.BodyExample)); err == nil {
			b.WriteString(" \\\n  -H 'Content-Type: application/json' \\\n  -d '" + strings.ReplaceAll(compact.String(), "'", `'\''`) + "'")
		}
	}
	return b.String()
}
