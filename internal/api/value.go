package api

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// Value is the value of a log on the wire.
type Value hearth.Value

// MarshalJSON writes the value with its JSON type.
func (v Value) MarshalJSON() ([]byte, error) { return v.append(nil) }

// append appends what MarshalJSON returns.
func (v Value) append(out []byte) ([]byte, error) {
	switch value := hearth.Value(v); value.Kind() {
	case hearth.TextKind:
		return jsontext.AppendQuote(out, value.Text())
	case hearth.BooleanKind:
		return strconv.AppendBool(out, value.Number() != 0), nil
	default:
		n := value.Number()
		if size := math.Abs(n); n == 0 || size >= 1e-6 && size < 1e21 { // as package json writes it
			return strconv.AppendFloat(out, n, 'f', -1, 64), nil
		}
		text, err := json.Marshal(n)
		return append(out, text...), err
	}
}

// UnmarshalJSON reads a value of any type.
func (v *Value) UnmarshalJSON(data []byte) error { return (*hearth.Value)(v).UnmarshalJSON(data) }

// FromBody sets a value of any type.
func (v *Value) FromBody(value any) error {
	switch of := value.(type) {
	case int64:
		*v = Value(hearth.Number(float64(of)))
	case float64:
		*v = Value(hearth.Number(of))
	case bool:
		*v = Value(hearth.Boolean(of))
	case string:
		*v = Value(hearth.Text(of))
	default:
		return errors.New("it is neither a number, a boolean nor a string")
	}
	return nil
}

// Schema says so to the OpenAPI.
func (Value) Schema(r huma.Registry) *huma.Schema {
	const name = "Value"
	if r.Map()[name] == nil {
		least, most, one, longest := -hearth.MaxLogValue, hearth.MaxLogValue, 1, hearth.MaxText
		r.Map()[name] = &huma.Schema{
			Description: "A finite number of at most 1e300, a boolean, or a string of 1 to 256 characters without control characters.",
			OneOf: []*huma.Schema{
				{Type: huma.TypeNumber, Minimum: &least, Maximum: &most},
				{Type: huma.TypeBoolean},
				{Type: huma.TypeString, MinLength: &one, MaxLength: &longest, Pattern: `^[^\x00-\x1f\x7f-\x9f]+$`},
			},
			Examples: []any{21.5},
		}
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}
