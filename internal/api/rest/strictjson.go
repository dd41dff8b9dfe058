package rest

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
)

// The bounds of a body, held while it is read, before anything is made of it: how deep objects and arrays may stand in one another, how
// many members an object and items an array may have, and how many values there may be in all. An operation whose arrays may be longer
// says so in its schema.
const (
	maxJSONDepth   = 64
	maxJSONMembers = 4000
	maxJSONItems   = 1000
	maxJSONValues  = 100_000
	maxJSONText    = 128 << 10
	maxJSONNumber  = 1 << 10
)

// CheckJSON holds a body against RFC 8259 and I-JSON before anything else reads it, so that no two readers can see two
// meanings in it. CodeMalformedBody: not JSON, not UTF-8, a key that is there twice, nesting beyond maxJSONDepth,
// something behind the value. CodeValidationFailed, with the place: a NUL in a text, a number that no float64 holds, an array of more
// than maxItems items, an object of more than maxJSONMembers, more than maxJSONValues in all, a string of more than maxJSONText bytes, a
// number of more than maxJSONNumber.
func CheckJSON(body []byte, maxItems int) error {
	return checkJSON(jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true)), maxItems)
}

// checkJSON is CheckJSON of what a decoder reads.
func checkJSON(decoder *jsontext.Decoder, maxItems int) error {
	c := newJSONCheck(decoder, maxItems)
	if err := c.pass(math.MaxInt, math.MaxInt); err != nil {
		return err
	}
	return c.end()
}

// jsonCheck holds what a decoder reads against the bounds of CheckJSON. Names are compared here: the library keeps a map for each object,
// which costs many times the body.
type jsonCheck struct {
	decoder  *jsontext.Decoder
	maxItems int
	values   int
	names    nameCheck
}

func newJSONCheck(decoder *jsontext.Decoder, maxItems int) *jsonCheck {
	return &jsonCheck{decoder: decoder, maxItems: maxItems, names: nameCheck{seed: maphash.MakeSeed()}}
}

// pass reads a value of at most so many bytes, and of at most so many without its spaces.
func (c *jsonCheck) pass(most, mostDense int) error {
	level, start, dense := c.decoder.StackDepth(), c.decoder.InputOffset(), 0
	for {
		text, err := c.next()
		if err != nil {
			return err
		}
		dense += max(1, len(text))
		limit := 0
		if dense > mostDense {
			limit = mostDense
		} else if int(c.decoder.InputOffset()-start) > most {
			limit = most
		}
		if limit > 0 {
			return hearth.Invalid(hearth.FieldError{Location: placeAt(c.decoder, level), Message: "has more than " + strconv.Itoa(limit) + " bytes"})
		}
		if c.decoder.StackDepth() <= level {
			return nil
		}
	}
}

// next reads a string, a number or a token of another kind. It returns the text of a string or a number, which is right until the next call.
func (c *jsonCheck) next() (text jsontext.Value, err error) {
	if message := c.tooMany(); message != "" {
		return nil, hearth.Invalid(hearth.FieldError{Location: parentPlace(c.decoder), Message: message})
	}
	c.values++
	depth := c.decoder.StackDepth()
	kind := c.decoder.PeekKind()
	switch kind {
	case '"', '0':
		parent, length := c.decoder.StackIndex(depth)
		if text, err = c.decoder.ReadValue(); err != nil {
			return nil, NotJSON(err, c.decoder.InputOffset())
		}
		if parent == '{' && length%2 == 0 {
			c.names.add(depth, text)
		}
		if message := scalarProblem(text); message != "" {
			return nil, hearth.Invalid(hearth.FieldError{Location: jsonPlace(c.decoder), Message: message})
		}
		return text, nil
	}
	if _, err := c.decoder.ReadToken(); err != nil {
		return nil, NotJSON(err, c.decoder.InputOffset())
	}
	if c.decoder.StackDepth() > maxJSONDepth {
		return nil, hearth.Errorf(hearth.CodeMalformedBody, "the body is nested deeper than %d", maxJSONDepth)
	}
	if kind == '}' && c.names.twice(depth) {
		return nil, NotJSON(jsontext.ErrDuplicateName, c.decoder.InputOffset())
	}
	return nil, nil //nolint:nilnil // a token has no text
}

// end makes sure that nothing follows the value.
func (c *jsonCheck) end() error {
	at := c.decoder.InputOffset()
	if _, err := c.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return hearth.Errorf(hearth.CodeMalformedBody, "the body is not valid at byte %d: something follows the value", at)
	}
	return nil
}

// tooMany says which bound the next value would break.
func (c *jsonCheck) tooMany() string {
	kind, length := c.decoder.StackIndex(c.decoder.StackDepth())
	switch next := c.decoder.PeekKind(); {
	case next == ']' || next == '}':
		return ""
	case kind == '[' && length >= int64(c.maxItems):
		return "must have at most " + strconv.Itoa(c.maxItems) + " items"
	case kind == '{' && length >= 2*maxJSONMembers: // names count as values do
		return "must have at most " + strconv.Itoa(maxJSONMembers) + " fields"
	case c.values > maxJSONValues:
		return "holds too many values"
	}
	return ""
}

// nameCheck finds names that an object has twice, by their hashes: those of the object that is open at each depth.
type nameCheck struct {
	seed   maphash.Seed
	hashes [maxJSONDepth + 1][]uint64
	text   []byte
}

// add notes a name of the object at that depth. Escapes are undone: "\u0061" is "a".
func (c *nameCheck) add(depth int, quoted jsontext.Value) {
	name := []byte(quoted[1 : len(quoted)-1])
	if bytes.IndexByte(name, '\\') >= 0 {
		if text, err := jsontext.AppendUnquote(c.text[:0], quoted); err == nil {
			c.text, name = text, text
		}
	}
	c.hashes[depth] = append(c.hashes[depth], maphash.Bytes(c.seed, name))
}

// twice reports whether the object at that depth, which ends, has a name twice.
func (c *nameCheck) twice(depth int) bool {
	all := c.hashes[depth]
	c.hashes[depth] = all[:0]
	slices.Sort(all)
	return len(slices.Compact(all)) < len(all)
}

// parentPlace names the array or object that the decoder is in.
func parentPlace(decoder *jsontext.Decoder) string {
	place := jsonPlace(decoder)
	if cut := strings.LastIndexAny(place, ".["); cut > 0 {
		return place[:cut]
	}
	return place
}

// scalarProblem says what is wrong with a string or a number that is valid JSON.
func scalarProblem(value jsontext.Value) string {
	if len(value) > maxJSONText {
		return "has more than " + strconv.Itoa(maxJSONText) + " bytes"
	}
	if value[0] != '"' {
		if len(value) > maxJSONNumber {
			return "has more than " + strconv.Itoa(maxJSONNumber) + " bytes"
		}
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

// NotJSON returns the refusal of a body that a decoder found wrong, at that byte unless err says where.
func NotJSON(err error, at int64) error {
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
func jsonPlace(decoder *jsontext.Decoder) string { return placeAt(decoder, maxJSONDepth+1) }

// placeAt names what the decoder is in, after so many levels.
func placeAt(decoder *jsontext.Decoder, levels int) string {
	var place strings.Builder
	place.WriteString("body")
	level := 0
	for token := range decoder.StackPointer().Tokens() {
		if level++; level > levels {
			break
		}
		kind, _ := decoder.StackIndex(level)
		if kind == '[' {
			place.WriteString("[" + token + "]")
		} else {
			place.WriteString("." + Printable(token))
		}
	}
	return place.String()
}

// Printable makes a client's text fit to be repeated in an error: at most 64 characters, none of them a control.
func Printable(text string) string {
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

// maxItems returns how many items an array in a body of the operation may have: as many as its longest one, maxJSONItems at least.
func (rt *Router) maxItems(op *huma.Operation) int {
	most := maxJSONItems
	seen := map[string]bool{}
	var visit func(*huma.Schema)
	visit = func(s *huma.Schema) {
		if s == nil || seen[s.Ref] {
			return
		}
		if s.Ref != "" {
			seen[s.Ref] = true
			visit(rt.openAPI.Components.Schemas.SchemaFromRef(s.Ref))
			return
		}
		if s.MaxItems != nil {
			most = max(most, *s.MaxItems)
		}
		visit(s.Items)
		for _, property := range s.Properties {
			visit(property)
		}
		for _, one := range s.OneOf {
			visit(one)
		}
	}
	if op.RequestBody != nil {
		for _, media := range op.RequestBody.Content {
			visit(media.Schema)
		}
	}
	return most
}
