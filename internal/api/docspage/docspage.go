// Package docspage renders an OpenAPI document as one page of HTML without a script, which works with no internet, prints, and can be
// searched with the browser's own search.
package docspage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.css
var style string

// Policy returns the Content-Security-Policy that allows the page its one style sheet and the server's icon, and nothing else.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

type chapter struct {
	name       string
	operations []operation
}

type operation struct {
	ID, Method, Path, Summary, Description, Auth, Curl string
	Params                                             []field
	Body                                               []field
	BodyExample                                        string
	Answers                                            []answer
}

type field struct {
	Name, In, Type, About string
	Required              bool
}

type answer struct {
	Status, About, Example string
	Fields                 []field
}

// Render returns the page of a document.
func Render(doc *huma.OpenAPI) []byte {
	var chapters []chapter
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range operationsOf(doc.Paths[path]) {
			name := "Other"
			if len(op.Tags) > 0 {
				name = op.Tags[0]
			}
			at := slices.IndexFunc(chapters, func(c chapter) bool { return c.name == name })
			if at < 0 {
				at = len(chapters)
				chapters = append(chapters, chapter{name: name})
			}
			chapters[at].operations = append(chapters[at].operations, describe(doc, op))
		}
	}
	slices.SortFunc(chapters, func(a, b chapter) int { return strings.Compare(a.name, b.name) })
	var page writer
	page.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n")
	page.putf("<title>%s API</title>\n<style>", doc.Info.Title)
	page.WriteString(style + "</style>\n")
	page.putf(`<nav aria-label="Operations"><h1>%s <small>%s</small></h1>`, doc.Info.Title, doc.Info.Version)
	page.putf(`<p><a href="/openapi.json">OpenAPI JSON</a> · <a href="/openapi.yaml">YAML</a></p>` + "\n")
	for _, chapter := range chapters {
		page.putf("<h2>%s</h2><ul>\n", chapter.name)
		for _, op := range chapter.operations {
			page.putf(`<li><a href="#%[1]s"><b class="%[2]s">%[2]s</b> %[3]s</a></li>`+"\n", op.ID, op.Method, op.Summary)
		}
		page.putf("</ul>\n")
	}
	page.putf("</nav>\n<main>\n<p class=\"lead\">%s</p>\n", prose(doc.Info.Description))
	for _, chapter := range chapters {
		page.putf("<section><h2>%s</h2>\n", chapter.name)
		for _, op := range chapter.operations {
			page.operation(op)
		}
		page.putf("</section>\n")
	}
	page.putf("</main>\n</html>\n")
	return page.Bytes()
}

// writer writes HTML.
type writer struct{ bytes.Buffer }

// prose is a text whose parts between backticks are set as code.
type prose string

// putf formats values into HTML, escaped. It is in place of html/template: a program that holds that keeps every exported
// method of every type.
func (w *writer) putf(format string, values ...any) {
	for i, value := range values {
		text := html.EscapeString(fmt.Sprint(value))
		if _, ok := value.(prose); ok {
			parts := strings.Split(text, "`")
			for i := 1; i < len(parts)-1; i += 2 {
				parts[i] = "<code>" + parts[i] + "</code>"
			}
			text = strings.Join(parts, "")
		}
		values[i] = text
	}
	fmt.Fprintf(w, format, values...)
}

func (w *writer) operation(op operation) {
	w.putf(`<article id="%[1]s"><h3><a href="#%[1]s">%[2]s</a></h3>`+"\n", op.ID, op.Summary)
	w.putf(`<p class="call"><b class="%[1]s">%[1]s</b> <code>%[2]s</code> <small>%[3]s</small></p>`+"\n", op.Method, op.Path, op.Auth)
	if op.Description != "" {
		w.putf("<p>%s</p>\n", prose(op.Description))
	}
	w.fields("<h4>Parameters</h4>", op.Params)
	w.fields("<h4>Body</h4>", op.Body)
	w.putf("<pre tabindex=\"0\"><code>%s</code></pre>\n<h4>Answers</h4>\n<dl>\n", op.Curl)
	for _, answer := range op.Answers {
		w.putf("<dt>%s</dt><dd>%s", answer.Status, prose(answer.About))
		if answer.Example != "" || len(answer.Fields) > 0 {
			w.putf("<details><summary>Content</summary>")
			if answer.Example != "" {
				w.putf(`<pre tabindex="0"><code>%s</code></pre>`, answer.Example)
			}
			w.fields("", answer.Fields)
			w.putf("</details>")
		}
		w.putf("</dd>\n")
	}
	w.putf("</dl></article>\n")
}

// fields writes a table under its heading, or nothing.
func (w *writer) fields(heading string, fields []field) {
	if len(fields) == 0 {
		return
	}
	w.WriteString(heading + "<table>")
	for _, f := range fields {
		w.putf("<tr><th><code>%s</code>", f.Name)
		if f.Required {
			w.putf(" <small>required</small>")
		}
		w.putf("</th><td>%s", f.Type)
		if f.In != "" {
			w.putf(" <small>%s</small>", f.In)
		}
		w.putf("</td><td>%s</td></tr>", prose(f.About))
	}
	w.putf("</table>\n")
}

func operationsOf(item *huma.PathItem) []*huma.Operation {
	all := []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete}
	return slices.DeleteFunc(all, func(op *huma.Operation) bool { return op == nil })
}

func describe(doc *huma.OpenAPI, op *huma.Operation) operation {
	out := operation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description, Auth: authOf(op)}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, field{Name: p.Name, In: p.In, Type: typeName(p.Schema), About: about(p.Description, p.Schema), Required: p.Required})
	}
	if op.RequestBody != nil {
		schema := bodySchema(op.RequestBody.Content)
		out.Body = fieldsOf(doc, schema, "", 0)
		out.BodyExample = pretty(exampleOf(doc, schema, 0))
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		response := op.Responses[status]
		if name, ok := strings.CutPrefix(response.Ref, "#/components/responses/"); ok {
			response = doc.Components.Responses[name]
		}
		answer := answer{Status: status, About: response.Description}
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
	var names []string
	for _, requirement := range op.Security {
		for scheme, scopes := range requirement {
			names = append(names, strings.TrimSpace(credentials[scheme]+" "+strings.Join(scopes, " ")))
		}
	}
	if len(names) == 0 {
		return "no token"
	}
	return strings.Join(names, " or ")
}

// credentials are the security schemes as readers know them.
var credentials = map[string]string{ // never written to
	"user": "access token", "device": "device token", "key": "API key with", "ticket": "ticket",
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

// maxDepth bounds how deep nested objects are spelt out.
const maxDepth = 4

func resolve(doc *huma.OpenAPI, s *huma.Schema) *huma.Schema {
	if s != nil && s.Ref != "" {
		return doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// fieldsOf lists the fields of an object, nested ones by their path.
func fieldsOf(doc *huma.OpenAPI, schema *huma.Schema, prefix string, depth int) []field {
	schema = resolve(doc, schema)
	if schema == nil || depth > maxDepth {
		return nil
	}
	if schema.Type == huma.TypeArray {
		return fieldsOf(doc, schema.Items, prefix+"[].", depth+1)
	}
	var out []field
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := resolve(doc, schema.Properties[name])
		if property == nil {
			continue
		}
		out = append(out, field{
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
	case schema == nil || depth > maxDepth:
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

func curlOf(op *huma.Operation, described operation) string {
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
