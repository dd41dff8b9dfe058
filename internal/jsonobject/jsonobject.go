// Package jsonobject reads, checks, merges, compares and writes JSON objects in one form: sorted names, no spaces, numbers as they were written.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Decode returns a JSON object as package json decodes it, with numbers as json.Number; nil for anything else.
func Decode(text json.RawMessage) map[string]any {
	r := reader{rest: text}
	value, ok := r.value(0)
	r.skipSpace()
	if object, isObject := value.(map[string]any); ok && isObject && len(r.rest) == 0 {
		return object
	}
	return nil
}

// maxLevels bounds how often objects and arrays may stand in one another: as package json does.
const maxLevels = 10000

// reader decodes JSON in one pass. Package json makes two, and allocates a decoder for each text.
type reader struct{ rest []byte }

func (r *reader) skipSpace() {
	for len(r.rest) > 0 && (r.rest[0] == ' ' || r.rest[0] == '\n' || r.rest[0] == '\t' || r.rest[0] == '\r') {
		r.rest = r.rest[1:]
	}
}

// next skips spaces and, if it follows, the byte.
func (r *reader) next(b byte) bool {
	r.skipSpace()
	if len(r.rest) == 0 || r.rest[0] != b {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// value reads what stands in so many objects and arrays; false if that is not JSON.
func (r *reader) value(level int) (value any, ok bool) {
	switch r.skipSpace(); {
	case len(r.rest) == 0:
		return nil, false
	case r.rest[0] == '{':
		return r.object(level + 1)
	case r.rest[0] == '[':
		return r.array(level + 1)
	case r.rest[0] == '"':
		return r.text()
	}
	end := bytes.IndexAny(r.rest, ",]} \n\t\r")
	if end < 0 {
		end = len(r.rest)
	}
	word := string(r.rest[:end])
	r.rest = r.rest[end:]
	switch word {
	case "null":
		return nil, true
	case "true", "false":
		return word == "true", true
	}
	return json.Number(word), isNumber(word)
}

func (r *reader) object(level int) (any, bool) {
	object := map[string]any{}
	r.rest = r.rest[1:]
	if r.next('}') {
		return object, level <= maxLevels
	}
	for level <= maxLevels {
		r.skipSpace()
		name, ok := r.text()
		if !ok || !r.next(':') {
			return nil, false
		}
		if object[name], ok = r.value(level); !ok {
			return nil, false
		}
		if r.next('}') {
			return object, true
		}
		if !r.next(',') {
			return nil, false
		}
	}
	return nil, false
}

func (r *reader) array(level int) (any, bool) {
	array := []any{}
	r.rest = r.rest[1:]
	if r.next(']') {
		return array, level <= maxLevels
	}
	for level <= maxLevels {
		item, ok := r.value(level)
		if !ok {
			return nil, false
		}
		array = append(array, item)
		if r.next(']') {
			return array, true
		}
		if !r.next(',') {
			return nil, false
		}
	}
	return nil, false
}

// text reads a string. What is not plain ASCII is left to package json.
func (r *reader) text() (text string, ok bool) {
	if len(r.rest) == 0 || r.rest[0] != '"' {
		return "", false
	}
	plain := true
	for i := 1; i < len(r.rest); i++ {
		switch b := r.rest[i]; {
		case b == '"':
			quoted := r.rest[:i+1]
			r.rest = r.rest[i+1:]
			if plain {
				return string(quoted[1:i]), true
			}
			return text, json.Unmarshal(quoted, &text) == nil
		case b == '\\':
			plain = false
			i++
		case b < ' ' || b > '~':
			plain = false
		}
	}
	return "", false
}

// isNumber reports whether a text is a number of JSON.
func isNumber(text string) bool {
	text = strings.TrimPrefix(text, "-")
	whole := digits(text)
	if whole == 0 || whole > 1 && text[0] == '0' {
		return false
	}
	text = text[whole:]
	if fraction, found := strings.CutPrefix(text, "."); found {
		n := digits(fraction)
		if n == 0 {
			return false
		}
		text = fraction[n:]
	}
	if text == "" {
		return true
	}
	if text[0] != 'e' && text[0] != 'E' {
		return false
	}
	text = text[1:]
	if text != "" && (text[0] == '+' || text[0] == '-') {
		text = text[1:]
	}
	return text != "" && digits(text) == len(text)
}

// digits counts those that a text begins with.
func digits(text string) (n int) {
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// Encode returns a decoded object as JSON: sorted names, no spaces.
func Encode(object map[string]any) json.RawMessage {
	return appendJSON(make([]byte, 0, 64), object)
}

func appendJSON(out []byte, value any) []byte {
	switch value := value.(type) {
	case map[string]any:
		names := slices.AppendSeq(make([]string, 0, len(value)), maps.Keys(value))
		slices.Sort(names)
		out = append(out, '{')
		for i, name := range names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, name), ':')
			out = appendJSON(out, value[name])
		}
		return append(out, '}')
	case []any:
		out = append(out, '[')
		for i, item := range value {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSON(out, item)
		}
		return append(out, ']')
	case json.Number:
		return append(out, value...)
	case string:
		return appendText(out, value)
	case bool:
		return strconv.AppendBool(out, value)
	}
	return append(out, "null"...)
}

// appendText appends a string. What is not plain ASCII is left to package json.
func appendText(out []byte, text string) []byte {
	for i := range len(text) {
		if b := text[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			var quoted bytes.Buffer
			encoder := json.NewEncoder(&quoted)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(text); err != nil {
				panic("jsonobject: a text always encodes: " + err.Error())
			}
			return append(out, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(out, '"'), text...), '"')
}

// Check says what is wrong with a decoded value whose objects and arrays, at that level, may stand in one another so often;
// "" if nothing is. A number is kept as it was written; what no float64 holds would be read differently by each client.
func Check(value any, level, most int) (problem string) {
	inner := func(value any) bool {
		if problem == "" {
			problem = Check(value, level+1, most)
		}
		return problem == ""
	}
	switch value := value.(type) {
	case map[string]any:
		if level > most {
			return fmt.Sprintf("is nested more than %d deep", most)
		}
		for _, member := range value {
			if !inner(member) {
				break
			}
		}
	case []any:
		if level > most {
			return fmt.Sprintf("is nested more than %d deep", most)
		}
		for _, item := range value {
			if !inner(item) {
				break
			}
		}
	case json.Number:
		number, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return "has a number that is too large"
		}
		if number == 0 {
			if digits, _ := decimal(value); digits != "" {
				return "has a number that is too close to zero"
			}
		}
	}
	return problem
}

// decimal returns a number that a float64 can hold as its digits, without zeros at either end and with a sign, and the power of
// ten that they are multiplied by; "" and 0 for zero.
func decimal(number json.Number) (digits string, exponent int) {
	text, negative := strings.CutPrefix(string(number), "-")
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, _ = strconv.Atoi(text[at+1:]) // out of range only where the digits are zeros
		text = text[:at]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	switch {
	case trimmed == "":
		return "", 0
	case negative:
		return "-" + trimmed, exponent
	}
	return trimmed, exponent
}
