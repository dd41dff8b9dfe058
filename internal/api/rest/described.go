package rest

import (
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// describedJSON reads a body as far as its schema describes it, and holds all of it against the bounds of CheckJSON, in one pass: what nothing
// describes costs no memory.
type describedJSON struct {
	*jsonCheck
	schemas huma.Registry
	text    []byte
	items   []any
	// unexpected are the members that no schema allows.
	unexpected []hearth.FieldError
}

// maxDescribedText bounds a string whose schema does not, in bytes of JSON; maxEscape is how many bytes of JSON a character may have.
const (
	maxDescribedText = 16 << 10
	maxEscape        = len(`\ud83d\ude00`)
)

// readDescribed returns the value that a decoder reads as encoding/json would, for the validation by its schema and for typed: integers are int64,
// and what the schema leaves open is a span or an openObject. Errors are CheckJSON's. A value that the schema leaves open has at most maxJSONText
// bytes.
func readDescribed(decoder *jsontext.Decoder, maxItems int, schemas huma.Registry, schema *huma.Schema) (any, error) {
	d := &describedJSON{jsonCheck: newJSONCheck(decoder, maxItems), schemas: schemas}
	value, err := d.value(schema)
	if err == nil {
		err = d.end()
	}
	return value, err
}

// value reads a value that a schema describes; nil describes none.
func (d *describedJSON) value(schema *huma.Schema) (any, error) {
	kind := d.decoder.PeekKind()
	schema = d.fitting(schema, kind)
	switch {
	case kind == '{' && schema != nil && (len(schema.Properties) > 0 || additional(schema) != nil):
		return d.object(schema)
	case kind == '[' && schema != nil && schema.Items != nil:
		return d.array(schema)
	case kind == 'n':
		return nil, d.pass(maxJSONText, open(schema))
	case schema != nil && isOpen(schema):
		of, err := d.span(schema)
		return of, err
	case kind == '{' && schema != nil && schema.AdditionalProperties == true:
		of, err := d.span(schema)
		return openObject{of: nil}, err
	case schema == nil || kind == '{' || kind == '[':
		return emptyOf(kind), d.pass(maxJSONText, open(schema))
	}
	text, err := d.next()
	switch {
	case err != nil:
		return nil, err
	case kind == '0':
		return number(text)
	}
	return d.string(schema, text)
}

// span passes over a value that its schema leaves open.
func (d *describedJSON) span(schema *huma.Schema) (of span, err error) {
	of.from = d.decoder.InputOffset() // with what is in front of the value
	err = d.pass(maxJSONText, open(schema))
	of.to = d.decoder.InputOffset()
	return of, err
}

// emptyOf returns a value of a kind, as encoding/json decodes it.
func emptyOf(kind jsontext.Kind) any {
	switch kind {
	case '{':
		return map[string]any{}
	case '[':
		return []any{}
	case '"':
		return ""
	case '0':
		return 0.0
	case 't', 'f':
		return kind == 't'
	}
	return nil
}

// string returns a string that its schema may allow, however it is escaped.
func (d *describedJSON) string(schema *huma.Schema, text jsontext.Value) (string, error) {
	var message string
	switch {
	case schema.MaxLength == nil && len(text) > maxDescribedText:
		message = "has more than " + strconv.Itoa(maxDescribedText) + " bytes"
	case schema.MaxLength != nil && len(text) > 2+maxEscape**schema.MaxLength:
		message = "expected length <= " + strconv.Itoa(*schema.MaxLength)
	default:
		return d.unquote(text)
	}
	return "", hearth.Invalid(hearth.FieldError{Location: jsonPlace(d.decoder), Message: message})
}

func (d *describedJSON) unquote(text jsontext.Value) (string, error) {
	var err error
	d.text, err = jsontext.AppendUnquote(d.text[:0], text)
	return string(d.text), err
}

// object reads the members that the schema names, and of the others the names: as many as a refusal lists.
func (d *describedJSON) object(schema *huma.Schema) (any, error) {
	members := map[string]any{}
	others := additional(schema)
	_, err := d.next()
	for unknown := 0; err == nil && d.decoder.PeekKind() != '}'; {
		var quoted jsontext.Value
		if quoted, err = d.next(); err != nil {
			break
		}
		var name string
		if name, err = d.unquote(quoted); err != nil {
			break
		}
		member := schema.Properties[name]
		if member == nil {
			member = others
		}
		if member != nil {
			members[name], err = d.value(member)
			continue
		}
		if unknown++; unknown <= MaxFields {
			members[name] = nil
		}
		if err = d.refuse(schema); err == nil {
			err = d.pass(maxJSONText, open(nil))
		}
	}
	if err == nil {
		_, err = d.next()
	}
	return members, err
}

// refuse notes the member that was read last, if its object's schema allows no others. It refuses the body once it has as many of them as a
// refusal lists: each costs more than what is allowed.
func (d *describedJSON) refuse(schema *huma.Schema) error {
	if others, ok := schema.AdditionalProperties.(bool); !ok || others {
		return nil
	}
	d.unexpected = append(d.unexpected, hearth.FieldError{Location: jsonPlace(d.decoder), Message: validation.MsgUnexpectedProperty})
	if len(d.unexpected) < MaxFields {
		return nil
	}
	return hearth.Invalid(d.unexpected...)
}

// array refuses more items than the schema allows.
func (d *describedJSON) array(schema *huma.Schema) (any, error) {
	first := len(d.items) // items of arrays that stand in one another are collected in one list
	_, err := d.next()
	for err == nil && d.decoder.PeekKind() != ']' {
		if schema.MaxItems != nil && len(d.items)-first == *schema.MaxItems {
			place := placeAt(d.decoder, d.decoder.StackDepth()-1)
			return nil, hearth.Invalid(hearth.FieldError{Location: place, Message: "expected array length <= " + strconv.Itoa(*schema.MaxItems)})
		}
		var item any
		item, err = d.value(schema.Items)
		d.items = append(d.items, item)
	}
	if err == nil {
		_, err = d.next()
	}
	items := append(make([]any, 0, len(d.items)-first), d.items[first:]...)
	d.items = d.items[:first]
	return items, err
}

// fitting returns the schema that describes values of a kind: of alternatives, the first that is of it; nil if none is.
func (d *describedJSON) fitting(schema *huma.Schema, kind jsontext.Kind) *huma.Schema {
	if schema == nil {
		return nil
	}
	for schema.Ref != "" {
		schema = d.schemas.SchemaFromRef(schema.Ref)
	}
	for _, alternatives := range [][]*huma.Schema{schema.OneOf, schema.AnyOf, schema.AllOf} {
		for _, one := range alternatives {
			if fits := d.fitting(one, kind); fits != nil {
				return fits
			}
		}
	}
	if describes(schema.Type, kind) || isOpen(schema) {
		return schema
	}
	return nil
}

// isOpen reports whether a schema describes every kind of value.
func isOpen(schema *huma.Schema) bool {
	return schema.Type == "" && len(schema.OneOf)+len(schema.AnyOf)+len(schema.AllOf) == 0
}

// open returns how long a value without its spaces may be that a schema leaves open: maxLength is of texts, and here of every value.
func open(schema *huma.Schema) int {
	if schema != nil && schema.MaxLength != nil {
		return *schema.MaxLength
	}
	return maxJSONText
}

// describes reports whether a type of a schema is of values that begin so.
func describes(name string, kind jsontext.Kind) bool {
	switch kind {
	case '{':
		return name == huma.TypeObject
	case '[':
		return name == huma.TypeArray
	case '"':
		return name == huma.TypeString
	case '0':
		return name == huma.TypeNumber || name == huma.TypeInteger
	}
	return false
}

// additional returns the schema of members that an object's schema does not name; nil if there is none.
func additional(schema *huma.Schema) *huma.Schema {
	others, _ := schema.AdditionalProperties.(*huma.Schema)
	return others
}
