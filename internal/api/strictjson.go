package api

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// maxJSONDepth bounds how deep objects and arrays may stand in one another.
const maxJSONDepth = 64

// checkJSON holds a body against RFC 8259 and I-JSON before anything else reads it, so that no two readers can see two
// meanings in it. CodeMalformedBody: not JSON, not UTF-8, a key that is there twice, nesting beyond maxJSONDepth,
// something behind the value. CodeValidationFailed, with the place: a NUL in a text, a number that no float64 holds.
func checkJSON(body []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	for {
		switch decoder.PeekKind() {
		case '"', '0':
			value, err := decoder.ReadValue()
			if err != nil {
				return notJSON(err, decoder.InputOffset())
			}
			if message := scalarProblem(value); message != "" {
				return hearth.Invalid(hearth.FieldError{Location: jsonPlace(decoder), Message: message})
			}
		default:
			if _, err := decoder.ReadToken(); err != nil {
				return notJSON(err, decoder.InputOffset())
			}
			if decoder.StackDepth() > maxJSONDepth {
				return hearth.Errorf(hearth.CodeMalformedBody, "the body is nested deeper than %d", maxJSONDepth)
			}
		}
		if decoder.StackDepth() == 0 {
			break
		}
	}
	at := decoder.InputOffset()
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return hearth.Errorf(hearth.CodeMalformedBody, "the body is not valid at byte %d: something follows the value", at)
	}
	return nil
}

// scalarProblem says what is wrong with a string or a number that is valid JSON.
func scalarProblem(value jsontext.Value) string {
	if value[0] != '"' {
		// Only an exponent or very many digits can leave the range.
		if len(value) > 300 || bytes.ContainsAny(value, "eE") {
			if _, err := strconv.ParseFloat(string(value), 64); err != nil {
				return "is out of range"
			}
		}
		return ""
	}
	if bytes.Contains(value, []byte(`\u0000`)) {
		if text, err := jsontext.AppendUnquote(nil, value); err != nil || bytes.IndexByte(text, 0) >= 0 {
			return "must not hold the character U+0000"
		}
	}
	return ""
}

func notJSON(err error, at int64) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = syntax.ByteOffset
	}
	why := "it is not JSON in UTF-8"
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		why = "a key is there twice"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		why = "it ends too early"
	}
	// The library's own text would repeat the input.
	return hearth.Errorf(hearth.CodeMalformedBody, "the body is not valid at byte %d: %s", at, why)
}

// jsonPlace names what the decoder read last, such as body.items[3].name.
func jsonPlace(decoder *jsontext.Decoder) string {
	var place strings.Builder
	place.WriteString("body")
	level := 0
	for token := range decoder.StackPointer().Tokens() {
		level++
		kind, _ := decoder.StackIndex(level)
		if kind == '[' {
			place.WriteString("[" + token + "]")
		} else {
			place.WriteString("." + printable(token))
		}
	}
	return place.String()
}

// printable makes a client's text fit to be repeated in an error: at most 64 characters, none of them a control.
func printable(text string) string {
	clean := make([]rune, 0, min(len(text), 64))
	for _, r := range text {
		if len(clean) == cap(clean) {
			break
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			r = '?'
		}
		clean = append(clean, r)
	}
	return string(clean)
}
