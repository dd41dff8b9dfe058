package rest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// binding reads the input of an operation into a struct and writes its output from one. Of the input, fields with the tag path, query
// or header are parameters, the field Body is the body; of the output, Body is the answer, Status its status, and other fields are headers.
type binding struct {
	schemas huma.Registry
	input   reflect.Type
	params  []param
	// body is the index of the input's Body; nil is none.
	body         []int
	bodySchema   *huma.Schema
	bodyRequired bool
	bodyTypes    bodyTypes
	maxItems     int // of an array of the body
	headers      []outputHeader
	// outputBody and outputStatus are indexes; nil is none.
	outputBody, outputStatus []int
	status                   int
}

type param struct {
	index            []int
	in, name, preset string
	required         bool
	schema           *huma.Schema
}

type outputHeader struct {
	index []int
	name  string
}

// bind makes the binding of an operation's types, and documents them in doc.
func bind(schemas huma.Registry, doc *huma.Operation, input, output reflect.Type) *binding {
	b := &binding{schemas: schemas, input: input}
	eachField(input, func(f reflect.StructField) {
		if f.Name == "Body" {
			b.bindBody(doc, f)
		} else {
			b.bindParam(doc, f)
		}
	})
	if b.body != nil {
		schema := doc.RequestBody.Content["application/json"].Schema
		schema.PrecomputeMessages()
		b.bodySchema, b.bodyRequired = schema, doc.RequestBody.Required
	}
	b.bindOutput(doc, output)
	return b
}

// eachField calls fn with the exported fields of a struct and of those that it embeds; their Index is from the struct.
func eachField(t reflect.Type, fn func(reflect.StructField)) {
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous {
			fn(f)
		}
	}
}

func (b *binding) bindParam(doc *huma.Operation, f reflect.StructField) {
	p := param{index: f.Index, preset: f.Tag.Get("default"), required: f.Tag.Get("required") == "true"}
	for _, p.in = range []string{"path", "query", "header"} {
		if p.name = f.Tag.Get(p.in); p.name != "" {
			break
		}
	}
	switch kind := f.Type.Kind(); {
	case p.name == "":
		return
	case kind == reflect.Slice && f.Type.Elem().Kind() == reflect.String, kind == reflect.String, kind == reflect.Bool, kind == reflect.Int:
	default:
		panic(fmt.Sprintf("rest: parameter %s cannot be a %v", p.name, f.Type))
	}
	p.required = p.required || p.in == "path"
	p.schema = huma.SchemaFromField(b.schemas, f, "")
	b.params = append(b.params, p)
	documented := &huma.Param{Name: p.name, In: p.in, Description: p.schema.Description, Required: p.required, Schema: p.schema}
	if p.in == "query" {
		documented.Explode = new(bool) // lists are separated by commas
	}
	doc.Parameters = append(doc.Parameters, documented)
}

func (b *binding) bindBody(doc *huma.Operation, f reflect.StructField) {
	b.body, b.bodyTypes = f.Index, bodyTypes{}
	b.bodyTypes.add(f.Type)
	hint := doc.OperationID + "Request"
	if b.input.Name() != "" {
		hint = b.input.Name() + f.Name
	}
	kind := f.Type.Kind()
	doc.RequestBody = &huma.RequestBody{
		Required: f.Tag.Get("required") == "true" || kind != reflect.Pointer && kind != reflect.Interface,
		Content:  map[string]*huma.MediaType{"application/json": {Schema: huma.SchemaFromField(b.schemas, f, hint)}},
	}
}

func (b *binding) bindOutput(doc *huma.Operation, output reflect.Type) {
	success := &huma.Response{Headers: map[string]*huma.Param{}}
	eachField(output, func(f reflect.StructField) {
		hint := func(other string) string {
			if output.Name() != "" {
				return output.Name() + f.Name
			}
			return other
		}
		switch f.Name {
		case "Status":
			b.outputStatus = f.Index
		case "Body":
			b.outputBody = f.Index
			schema := huma.SchemaFromField(b.schemas, f, hint(doc.OperationID+"Response"))
			success.Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
		default:
			name := f.Tag.Get("header")
			if name == "" || f.Type.Kind() != reflect.String {
				panic(fmt.Sprintf("rest: %v.%s is neither Body, Status nor a text with the tag header", output, f.Name))
			}
			b.headers = append(b.headers, outputHeader{f.Index, name})
			success.Headers[name] = &huma.Param{Schema: huma.SchemaFromField(b.schemas, f, hint(doc.OperationID+name))}
		}
	})
	switch {
	case doc.DefaultStatus != 0:
	case b.outputBody != nil:
		doc.DefaultStatus = http.StatusOK
	default:
		doc.DefaultStatus = http.StatusNoContent
	}
	b.status = doc.DefaultStatus
	success.Description = http.StatusText(b.status)
	doc.Responses[strconv.Itoa(b.status)] = success
}

// read returns a pointer to the input of a request, whose body was read already. CodeValidationFailed names each parameter
// and member that is wrong, up to a bound; CodeMalformedBody where the body is missing.
func (b *binding) read(w http.ResponseWriter, r *http.Request, body bodyOf) (any, error) {
	input := reflect.New(b.input)
	path, result := huma.NewPathBuffer(make([]byte, 0, 128), 0), &huma.ValidateResult{}
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	for i := range b.params {
		p := &b.params[i]
		path.Reset()
		path.Push(p.in)
		path.Push(p.name)
		p.read(r, query, input.Elem().FieldByIndex(p.index), path, b.schemas, result)
	}
	if b.body != nil {
		// The server's deadline is for reading requests: what waits for its answer may take longer.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		if len(body.whole) > 0 {
			b.setBody(body, input.Elem().FieldByIndex(b.body), path, result)
		} else if b.bodyRequired {
			return nil, hearth.Errorf(hearth.CodeMalformedBody, "a body is required")
		}
	}
	if len(result.Errors) > 0 {
		return nil, invalid(result.Errors)
	}
	return input.Interface(), nil
}

// read sets the field to the parameter's value.
func (p *param) read(r *http.Request, query url.Values, field reflect.Value, path *huma.PathBuffer, schemas huma.Registry, result *huma.ValidateResult) {
	var text string
	switch p.in {
	case "path":
		text = r.PathValue(p.name)
	case "query":
		text = query.Get(p.name)
	case "header":
		text = r.Header.Get(p.name)
	}
	if text == "" {
		text = p.preset
	}
	if text == "" {
		switch {
		case p.required:
			result.Add(path, "", "required "+p.in+" parameter is missing")
		case p.schema.MinLength != nil && query.Has(p.name): // a filter that is empty by mistake must not pick everything
			result.Add(path, "", "must not be empty")
		}
		return
	}
	var value any = text
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, strconv.IntSize)
		if err != nil {
			result.Add(path, text, "invalid integer")
			return
		}
		field.SetInt(n)
		value = n
	case reflect.Bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			result.Add(path, text, "invalid boolean")
			return
		}
		field.SetBool(on)
		value = on
	default:
		if p.in == "query" && len(query[p.name]) > 1 {
			text = strings.Join(query[p.name], ",")
		}
		list := strings.Split(text, ",")
		field.Set(reflect.ValueOf(list))
		value = list
	}
	huma.Validate(schemas, p.schema, path, huma.ModeWriteToServer, value, result)
}

// bodyOf is a body that was read: the whole, and what its schema describes of it.
type bodyOf struct {
	whole     []byte
	described any
}

// text returns a member of the body that is a string, "" without one.
func (b bodyOf) text(name string) string {
	members, _ := b.described.(map[string]any)
	text, _ := members[name].(string)
	return text
}

// readBody reads the body of a request, as strictly as every body is: see CheckJSON.
func (b *binding) readBody(r *http.Request) (body bodyOf, err error) {
	check := func(decoder *jsontext.Decoder) (err error) {
		body.described, err = readDescribed(decoder, b.maxItems, b.schemas, b.bodySchema)
		return err
	}
	var checked bool
	if body.whole, checked, err = readBody(r, check); err == nil && len(body.whole) > 0 && !checked {
		err = check(jsontext.NewDecoder(bytes.NewBuffer(body.whole), jsontext.AllowDuplicateNames(true)))
	}
	return body, err
}

// setBody sets the field to the body's value, once the body keeps to its schema.
func (b *binding) setBody(body bodyOf, field reflect.Value, path *huma.PathBuffer, result *huma.ValidateResult) {
	path.Reset()
	path.Push("body")
	before := len(result.Errors)
	huma.Validate(b.schemas, b.bodySchema, path, huma.ModeWriteToServer, body.described, result)
	if len(result.Errors) > before {
		return
	}
	values := typed{types: b.bodyTypes, body: body.whole, path: path}
	if values.set(field, body.described); values.fault != nil {
		result.Errors = append(result.Errors, values.fault)
	}
	if hasUpperID(body.whole) {
		lowerBodyIDs(field, false)
	}
}

// write answers with an output, a pointer to its struct; nil has but a status. A client that has gone needs no answer.
func (b *binding) write(w http.ResponseWriter, output any) error {
	value := reflect.ValueOf(output)
	if value.IsNil() {
		w.WriteHeader(b.status)
		return nil
	}
	value = value.Elem()
	for _, h := range b.headers {
		if text := value.FieldByIndex(h.index).String(); text != "" {
			w.Header().Set(h.name, text)
		}
	}
	status := b.status
	if b.outputStatus != nil {
		status = int(value.FieldByIndex(b.outputStatus).Int())
	}
	if b.outputBody == nil {
		w.WriteHeader(status)
		return nil
	}
	buffer := takeBuffer()
	defer buffer.release()
	if err := writeJSON(buffer, value.FieldByIndex(b.outputBody).Interface()); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(buffer.Bytes())
	return nil
}

// MaxFields bounds the wrong parts of a body that one answer names. mostFields bounds those that a capability names: it has a bound of its own.
const (
	MaxFields  = 50
	mostFields = 8 * hearth.MaxWrongLogs
)

// invalid returns the refusal that names what is wrong.
func invalid(errs []error) error {
	fields := make([]hearth.FieldError, 0, min(len(errs), MaxFields))
	for _, err := range errs[:min(len(errs), MaxFields)] {
		if detail, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			fields = append(fields, fieldError(detail))
		}
	}
	return hearth.Invalid(fields...)
}

// fieldError names the missing field itself, not the object that lacks it.
func fieldError(d *huma.ErrorDetail) hearth.FieldError {
	if rest, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		if name, ok := strings.CutSuffix(rest, " to be present"); ok {
			return hearth.FieldError{Location: d.Location + "." + name, Message: "is required"}
		}
	}
	return hearth.FieldError{Location: d.Location, Message: d.Message}
}
