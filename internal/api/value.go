package api

import (
	"encoding/json"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// Value is the value of a log on the wire.
type Value hearth.Value

// MarshalJSON writes the value with its JSON type.
func (v Value) MarshalJSON() ([]byte, error) {
	switch value := hearth.Value(v); value.Kind() {
	case hearth.TextKind:
		return jsontext.AppendQuote(nil, value.Text())
	case hearth.BooleanKind:
		return strconv.AppendBool(nil, value.Number() != 0), nil
	default:
		return json.Marshal(value.Number())
	}
}

// UnmarshalJSON reads a value of any type.
func (v *Value) UnmarshalJSON(data []byte) error { return (*hearth.Value)(v).UnmarshalJSON(data) }

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
				{Type: huma.TypeString, MinLength: &one, MaxLength: &longest, Pattern: `^\P{Cc}+$`},
			},
			Examples: []any{21.5},
		}
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}
