package hearth

import (
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

// Value is what a device reports: a number, a boolean or a string. It is small, and comparable by ==. The zero Value is the number 0.
type Value struct {
	number float64
	// text is the string; zero for a number, and of the empty string, which is no value, for a boolean.
	text unique.Handle[string]
}

// Number returns a value that is a number.
func Number(n float64) Value { return Value{number: n} }

// Boolean returns a value that is a boolean.
func Boolean(b bool) Value {
	v := Value{text: unique.Make("")}
	if b {
		v.number = 1
	}
	return v
}

// Text returns a value that is a string.
func Text(s string) Value { return Value{text: unique.Make(s)} }

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

// Kind returns what the value is.
func (v Value) Kind() ValueKind {
	switch {
	case v.text == unique.Handle[string]{}:
		return NumberKind
	case v.text.Value() == "":
		return BooleanKind
	}
	return TextKind
}

// Number returns the number, 1 or 0 for a boolean, and 0 for a string: what sums count it as.
func (v Value) Number() float64 { return v.number }

// Text returns the string; "" for what is none.
func (v Value) Text() string {
	if v.Kind() != TextKind {
		return ""
	}
	return v.text.Value()
}

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
	return v.text.Value()
}

// problem says what is wrong with the value; "" if nothing is.
func (v Value) problem() string {
	switch text := v.Text(); {
	case v.Kind() == TextKind && !validText(text):
		return "must be a string of 1 to 256 characters, none of them a control character"
	case math.IsNaN(v.number) || math.Abs(v.number) > MaxLogValue:
		return "must be a finite number of at most 1e300"
	}
	return ""
}

func validText(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) {
			return false
		}
	}
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= MaxText
}
