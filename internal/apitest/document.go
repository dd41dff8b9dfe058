package apitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"hearth/internal/testserver"
)

// openAPI is the contract that every answer is checked against, read at the first answer.
var openAPI = sync.OnceValues(readDocument)

// document is docs/openapi.json. Schemas are compiled when the first answer needs them.
type document struct {
	mu         sync.Mutex // guards compiler and schemas
	compiler   *jsonschema.Compiler
	schemas    map[string]*jsonschema.Schema
	root       Object
	operations []documented
}

type documented struct {
	method   string
	segments []string
	answers  Object
	// at is the JSON pointer of answers.
	at string
}

func readDocument() (*document, error) {
	root, err := testserver.ModuleRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "docs", "openapi.json"))
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("docs/openapi.json: %w", err)
	}
	d := &document{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}, root: object(value)}
	d.compiler.AssertFormat()
	for path, methods := range object(d.root["paths"]) {
		for method, operation := range object(methods) {
			d.operations = append(d.operations, documented{
				method: strings.ToUpper(method), segments: strings.Split(path, "/"), answers: object(object(operation)["responses"]),
				at: "/paths/" + pointer(path) + "/" + method + "/responses",
			})
		}
	}
	return d, d.compiler.AddResource("openapi.json", value)
}

// object returns a value that is an object; nil if it is none.
func object(value any) Object {
	members, _ := value.(Object)
	return members
}

// pointer escapes a name as a part of a JSON pointer in a URL.
func pointer(name string) string {
	return url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

// CheckAnswer returns how an answer differs from docs/openapi.json: by its status, the code of its problem, its content type or its
// body. A request that is none of the documented operations may be answered in any way.
func CheckAnswer(method string, target *url.URL, a Answer) error {
	d, err := openAPI()
	if err != nil {
		return err
	}
	operation, found := d.operation(method, target.EscapedPath())
	if !found || a.Status == http.StatusRequestURITooLong || a.Status == http.StatusRequestHeaderFieldsTooLarge {
		return nil
	}
	if err := d.check(operation, target.Query().Has("fields"), a); err != nil {
		return fmt.Errorf("%s %s differs from docs/openapi.json: %d %.300s: %w", method, target.Path, a.Status, a.Body, err)
	}
	return nil
}

// operation returns the operation of a request: of those that match, the one with the fewest parameters in its path.
func (d *document) operation(method, path string) (best documented, found bool) {
	segments, most := strings.Split(path, "/"), -1
	for _, operation := range d.operations {
		if operation.method != method || len(operation.segments) != len(segments) {
			continue
		}
		same := 0
		for i, segment := range operation.segments {
			if segment == segments[i] {
				same++
			} else if !strings.HasPrefix(segment, "{") || segments[i] == "" {
				same = -len(segments)
			}
		}
		if same > most {
			best, most, found = operation, same, true
		}
	}
	return best, found
}

func (d *document) check(operation documented, partial bool, a Answer) error {
	status := strconv.Itoa(a.Status)
	answer, at := object(operation.answers[status]), operation.at+"/"+status
	if ref := Text(answer, "$ref"); ref != "" {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		answer, at = object(object(object(d.root["components"])["responses"])[name]), "/components/responses/"+pointer(name)
	}
	if answer == nil {
		return errors.New("the status is not documented")
	}
	contents := object(answer["content"])
	if len(a.Body) == 0 {
		if len(contents) > 0 && operation.method != http.MethodHead {
			return errors.New("the body is empty")
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	content, isJSON := object(contents[mediaType]), mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
	switch {
	case err != nil || content == nil:
		return fmt.Errorf("the content type is %q, not one of %q", a.Header.Get("Content-Type"), slices.Sorted(maps.Keys(contents)))
	case !isJSON || content["schema"] == nil || a.Header.Get("Content-Encoding") != "":
		return nil
	}
	schema, err := d.schema("openapi.json#" + at + "/content/" + pointer(mediaType) + "/schema")
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body))
	if err != nil {
		return err
	}
	if examples := object(content["examples"]); examples != nil && examples[Text(object(value), "code")] == nil {
		return fmt.Errorf("the code is not one of %q", slices.Sorted(maps.Keys(examples)))
	}
	if err := schema.Validate(value); err != nil && (!partial || !onlyLacks(err)) {
		return err
	}
	return nil
}

// schema returns the compiled schema at a location.
func (d *document) schema(location string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.schemas[location] == nil {
		schema, err := d.compiler.Compile(location)
		if err != nil {
			return nil, err
		}
		d.schemas[location] = schema
	}
	return d.schemas[location], nil
}

// onlyLacks reports whether all that a schema refuses is that fields are missing, as they are where a request names its fields.
func onlyLacks(err error) bool {
	refused, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return false
	}
	if len(refused.Causes) == 0 {
		_, lacks := refused.ErrorKind.(*kind.Required)
		return lacks
	}
	return !slices.ContainsFunc(refused.Causes, func(cause *jsonschema.ValidationError) bool { return !onlyLacks(cause) })
}
