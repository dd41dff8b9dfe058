package rest

import (
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// describedJSON reads a body as far as its schema describes it, and holds all of it against the bounds of CheckJSON, in one pass: what nothing
// describes costs no memory.
type describedJSON struct {
	*jsonCheck
	schemas huma.Registry
	text    []byte
}

// maxDescribedText bounds a string whose schema does not, in bytes of JSON; maxEscape is how many bytes of JSON a character may have.
const (
	maxDescribedText = 16 << 10
	maxEscape        = len(`\ud83d\ude00`)
)

// readDescribed returns the value that a decoder reads as encoding/json would, for the validation by its schema: what the schema leaves open is
// empty. Errors are CheckJSON's. A value that the schema leaves open has at most maxJSONText bytes.
func readDescribed(decoder *jsontext.Decoder, maxItems int, schemas huma.Registry, schema *huma.Schema) (any, error) {
	d := &describedJSON{jsonCheck: newJSONCheck(decoder, maxItems), schemas: schemas}
	value, err := d.value(schema)
	if err == nil {
		err = d.end()
	}
	return value, err
}

func (d *describedJSON) value(schema *huma.Schema) (any, error) {
	kind := d.decoder.PeekKind()
	schema = d.fitting(schema, kind)
	switch {
	case kind == '{' && schema != nil && (len(schema.Properties) > 0 || additional(schema) != nil):
		return d.object(schema)
	case kind == '[' && schema != nil && schema.Items != nil:
		return d.array(schema)
	case kind == '{':
		return map[string]any{}, d.pass(maxJSONText)
	case kind == '[':
		return []any{}, d.pass(maxJSONText)
	}
	kind, text, err := d.next()
	switch {
	case err != nil:
		return nil, err
	case kind == 't', kind == 'f':
		return kind == 't', nil
	case schema == nil && kind == '0':
		return 0.0, nil
	case schema == nil && kind == '"':
		return "", nil
	case kind == '0':
		return strconv.ParseFloat(string(text), 64)
	case kind == '"':
		return d.string(schema, text)
	}
	return nil, nil //nolint:nilnil // null is a value
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
	_, _, err := d.next()
	for unknown := 0; err == nil && d.decoder.PeekKind() != '}'; {
		var quoted jsontext.Value
		if _, quoted, err = d.next(); err != nil {
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
		err = d.pass(maxJSONText)
	}
	if err == nil {
		_, _, err = d.next()
	}
	return members, err
}

// array reads one item more than the schema allows, so that it is refused, and passes over those that follow.
func (d *describedJSON) array(schema *huma.Schema) (any, error) {
	most := d.maxItems
	if schema.MaxItems != nil {
		most = *schema.MaxItems
	}
	items := []any{}
	_, _, err := d.next()
	for err == nil && d.decoder.PeekKind() != ']' {
		if len(items) > most {
			err = d.pass(maxJSONText)
			continue
		}
		var item any
		item, err = d.value(schema.Items)
		items = append(items, item)
	}
	if err == nil {
		_, _, err = d.next()
	}
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
	if describes(schema.Type, kind) {
		return schema
	}
	return nil
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
