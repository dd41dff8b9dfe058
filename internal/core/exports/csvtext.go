package exports

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth"
)

// AppendCSVText writes a text cell: guarded, and quoted where any separator or RFC 4180 wants it. It is the one way in which
// hearth writes text into CSV.
func AppendCSVText(dst []byte, s string) []byte {
	s = Guard(s)
	if !strings.ContainsAny(s, "\",;\t\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for {
		before, after, more := strings.Cut(s, `"`)
		dst = append(dst, before...)
		if !more {
			return append(dst, '"')
		}
		dst, s = append(dst, `""`...), after
	}
}

// Guard puts an apostrophe in front of what a spreadsheet would take for a formula: at the beginning of a text and, since other
// programs may split it, behind every separator and line break in it. Unguard takes it off.
func Guard(s string) string {
	if !strings.ContainsAny(s, "=+-@＝＋－＠\t\r\n") {
		return s
	}
	var b strings.Builder
	for i, start := 0, true; i < len(s); {
		if start && formula(s[i:], i == 0) {
			b.WriteByte('\'')
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		b.WriteString(s[i : i+size])
		start = separates(s[i])
		i += size
	}
	return b.String()
}

// Unguard returns the text that Guard guarded.
func Unguard(s string) string {
	if strings.IndexByte(s, '\'') < 0 {
		return s
	}
	var b strings.Builder
	start := true
	for i := range len(s) {
		guard := start && s[i] == '\'' && formula(s[i+1:], i == 0)
		if !guard {
			b.WriteByte(s[i])
		}
		start = separates(s[i])
	}
	return b.String()
}

func separates(c byte) bool { return strings.IndexByte(",;\t\r\n", c) >= 0 }

// formula reports whether a spreadsheet might take the text for a formula, or would if apostrophes were taken off; whole says that
// the text is all of a cell.
func formula(s string, whole bool) bool {
	switch r, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, "'")); r {
	case '=', '+', '-', '@', '＝', '＋', '－', '＠':
		return true
	case '\t', '\r', '\n':
		return whole
	}
	return false
}

// appendCell appends a value to a row of CSV. A string that ReadCell would read as something else stands as a JSON string.
func appendCell(dst []byte, v hearth.Value) []byte {
	if v.Kind() != hearth.TextKind {
		return appendJSON(dst, v)
	}
	text := v.Text()
	trimmed := strings.TrimSpace(text)
	_, err := readNumber(strings.ReplaceAll(trimmed, ",", "."))
	if trimmed != text || text[0] == '"' || !errors.Is(err, strconv.ErrSyntax) || strings.EqualFold(text, "true") || strings.EqualFold(text, "false") {
		text = string(appendJSONText(nil, text))
	}
	return AppendCSVText(dst, text)
}

// ReadCell reads what appendCell wrote, quotes and guards taken off: a number, true or false, a JSON string, or any other text as it is.
// problem says what is wrong with it.
func ReadCell(text string) (v hearth.Value, problem string) {
	number, err := readNumber(text)
	switch {
	case err == nil:
		return hearth.Number(number), ""
	case errors.Is(err, strconv.ErrRange):
		return v, "must be a finite number of at most 1e300"
	case text == "true" || text == "false":
		return hearth.Boolean(text == "true"), ""
	case text != "" && text[0] == '"':
		var plain string
		if json.Unmarshal([]byte(text), &plain) == nil {
			text = plain
		}
	}
	if !hearth.ValidText(text) {
		return v, "must be a number, true, false or " + strings.TrimPrefix(hearth.TextRule, "must be ")
	}
	return hearth.Text(text), ""
}

// readNumber reads a decimal number; spellings that only Go knows (0x1p4, inf) are strconv.ErrSyntax.
func readNumber(text string) (float64, error) {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && strings.IndexByte(".-+eE", c) < 0 {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseFloat(text, 64)
}
