package record

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// searchField is the field in which kinds with Schema.Search keep the folded text.
const searchField = "search"

// Fold returns the form of a text that is searched in and for: without case, accents and other marks, in compatibility form, so that
// "cafe", "CAFÉ" and "café" with a combining accent are one.
func Fold(text string) string {
	ascii := true
	for i := 0; i < len(text) && ascii; i++ {
		ascii = text[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(text)
	}
	folded := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(strings.ToValidUTF8(text, "\ufffd")))
	// Letters with several small forms, such as the two sigmas, have one capital form; only the sharp s has none in Unicode's simple mapping.
	folded = strings.ReplaceAll(strings.ToLower(strings.ToUpper(folded)), "ß", "ss")
	// What this composes again is Hangul: a syllable is not a part of another one.
	return norm.NFC.String(folded)
}

// search returns the field that holds what the fields with these names hold, folded, a line each.
func (s *Schema) search(names []string) Field {
	fields := make([]*Field, len(names))
	for i, name := range names {
		fields[i] = s.Field(name)
	}
	return Field{Name: searchField, BSON: searchField, Type: Text, derive: func(record any) any {
		lines := make([]string, len(fields))
		for i, f := range fields {
			lines[i], _ = f.Get(record).(string)
		}
		return Fold(strings.Join(lines, "\n"))
	}}
}

// Matches picks records of a kind with Schema.Search in which the text stands, case and accents aside.
func Matches(text string) Condition {
	return Condition{Op: OpContains, Field: searchField, Value: Fold(text)}
}
