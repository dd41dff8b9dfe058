package hearth

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
	"unique"
)

// MaxText is the largest number of characters of a Value that is a string.
const MaxText = 256

// ValueKind is what a Value is.
type ValueKind uint8

// The kinds of values.
const (
	NumberKind ValueKind = iota
	BooleanKind
	TextKind
)

// String returns the JSON type of the kind.
func (k ValueKind) String() string { return [...]string{"number", "boolean", "string"}[k] }

// ValueType says what a Value is aside from its number: a number, a boolean or one certain string. It is small, and comparable by ==.
// The zero ValueType is that of numbers.
type ValueType struct {
	// text is the string; the empty string, which is no value, for booleans.
	text unique.Handle[string]
}

var booleanType = ValueType{unique.Make("")}

// Kind returns what the value is.
func (t ValueType) Kind() ValueKind {
	switch t {
	case ValueType{}:
		return NumberKind
	case booleanType:
		return BooleanKind
	}
	return TextKind
}

// Text returns the string; "" for what is none.
func (t ValueType) Text() string {
	if t.Kind() != TextKind {
		return ""
	}
	return t.text.Value()
}

// Of returns the value of that type and number.
func (t ValueType) Of(number float64) Value { return Value{number, t} }

// Value is what a device reports: a number, a boolean or a string. It is small, and comparable by ==. The zero Value is the number 0.
type Value struct {
	number float64
	ValueType
}

// Number returns a value that is a number.
func Number(n float64) Value { return Value{number: n} }

// Boolean returns a value that is a boolean.
func Boolean(b bool) Value {
	v := Value{ValueType: booleanType}
	if b {
		v.number = 1
	}
	return v
}

// Text returns a value that is a string, which is not empty.
func Text(s string) Value { return Value{ValueType: ValueType{unique.Make(s)}} }

// ValueOf returns the value of that Kind, Number and Text.
func ValueOf(kind ValueKind, number float64, text string) Value {
	switch kind {
	case BooleanKind:
		return Boolean(number != 0)
	case TextKind:
		return Text(text)
	}
	return Number(number)
}

// Number returns the number, 1 or 0 for a boolean, and 0 for a string: what sums count it as.
func (v Value) Number() float64 { return v.number }

// Equal reports whether the values are the same, as == does.
func (v Value) Equal(w Value) bool { return v == w }

// String returns the value as users read it.
func (v Value) String() string {
	switch v.Kind() {
	case NumberKind:
		return strconv.FormatFloat(v.number, 'g', -1, 64)
	case BooleanKind:
		return strconv.FormatBool(v.number != 0)
	}
	return v.Text()
}

// MarshalJSON writes the value with its JSON type.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.Kind() {
	case TextKind:
		return json.Marshal(v.Text())
	case BooleanKind:
		return json.Marshal(v.number != 0)
	}
	return json.Marshal(v.number)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Value) UnmarshalJSON(data []byte) error {
	var read any
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	switch of := read.(type) {
	case float64:
		*v = Number(of)
	case bool:
		*v = Boolean(of)
	case string:
		*v = Text(of)
	default:
		return errors.New("a value is a number, a boolean or a string")
	}
	return nil
}

// problem says what is wrong with the value; "" if nothing is.
func (v Value) problem() string {
	switch {
	case v.Kind() == TextKind && !ValidText(v.Text()):
		return TextRule
	case math.IsNaN(v.number) || math.Abs(v.number) > MaxLogValue:
		return "must be a finite number of at most 1e300"
	}
	return ""
}

// TextRule says what a Value that is a string may be.
const TextRule = "must be a string of 1 to 256 characters, none of them a control character"

// ValidText reports whether Text(text) may be stored: TextRule.
func ValidText(text string) bool {
	if text == "" || len(text) > 4*MaxText {
		return false
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return false
		}
	}
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= MaxText
}
