package logjson

import (
	"encoding/binary"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const eightSpaces = 0x2020202020202020

// skipSpace returns the index of the first byte from b[i] that is no white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		for i++; i+8 <= len(b); i += 8 {
			if eight := binary.LittleEndian.Uint64(b[i:]); eight != eightSpaces && !isSpace(eight) {
				break
			}
		}
	}
	return i
}

// isSpace reports whether each of eight bytes is white space.
func isSpace(x uint64) bool {
	const ones, low = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	differ := ^uint64(0) // has the highest bit of each byte that is none of those looked for
	for _, space := range [...]uint64{' ' * ones, '\n' * ones, '\t' * ones, '\r' * ones} {
		t := x ^ space
		differ &= t&low + low | t
	}
	return differ&^low == 0
}

// text reads the string at b[i] and returns its content, which is good until the next call, and the index after it.
func (d *decoder) text(b []byte, i int) (content []byte, next int, err error) {
	if i >= len(b) {
		return nil, 0, errShort
	}
	if b[i] != '"' {
		return nil, 0, d.malformedIn(i, "a string is missing")
	}
	start := i + 1
	for i = start; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[start:i], i + 1, nil
		case c == '\\' || c >= utf8.RuneSelf:
			return d.longText(b, start, i)
		case c < ' ':
			return nil, 0, d.malformedIn(i, "a control character stands in a string")
		}
	}
	return nil, 0, errShort
}

// longText is text for strings with escapes or letters beyond ASCII; b[start:i] is plain.
func (d *decoder) longText(b []byte, start, i int) (content []byte, next int, err error) {
	out := append(d.scratch[:0], b[start:i]...)
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			d.scratch = out
			return out, i + 1, nil
		case c < ' ':
			return nil, 0, d.malformedIn(i, "a control character stands in a string")
		case c == '\\':
			r, next, err := d.escape(b, i)
			if err != nil {
				return nil, 0, err
			}
			if i = next; r < utf8.RuneSelf {
				out = append(out, byte(r))
			} else {
				out = utf8.AppendRune(out, r)
			}
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
		default:
			if !utf8.FullRune(b[i:]) {
				return nil, 0, errShort
			}
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 {
				return nil, 0, d.malformedIn(i, "a string is not UTF-8")
			}
			out = append(out, b[i:i+size]...)
			i += size
		}
	}
	return nil, 0, errShort
}

// escape reads the escape at b[i], a pair of surrogates as one.
func (d *decoder) escape(b []byte, i int) (r rune, next int, err error) {
	if i+12 <= len(b) && b[i+1] == 'u' { // most escapes: in the window as a whole
		if r = hex4(b[i+2 : i+6]); r >= 0 && !utf16.IsSurrogate(r) {
			return r, i + 6, nil
		}
		if low := hex4(b[i+8 : i+12]); r >= 0 && low >= 0 && b[i+6] == '\\' && b[i+7] == 'u' {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, i + 12, nil
			}
		}
	}
	if i+1 >= len(b) {
		return 0, 0, errShort
	}
	switch b[i+1] {
	case '"', '\\', '/':
		return rune(b[i+1]), i + 2, nil
	case 'b':
		return '\b', i + 2, nil
	case 'f':
		return '\f', i + 2, nil
	case 'n':
		return '\n', i + 2, nil
	case 'r':
		return '\r', i + 2, nil
	case 't':
		return '\t', i + 2, nil
	case 'u':
	default:
		return 0, 0, d.malformedIn(i, "an escape is not one of JSON's")
	}
	r, err = d.hex(b, i+2)
	if err != nil || !utf16.IsSurrogate(r) {
		return r, i + 6, err
	}
	if i+7 >= len(b) {
		return 0, 0, errShort
	}
	if b[i+6] == '\\' && b[i+7] == 'u' {
		low, err := d.hex(b, i+8)
		if err != nil {
			return 0, 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, i + 12, nil
		}
	}
	return 0, 0, d.malformedIn(i, "half a surrogate pair stands in a string")
}

func (d *decoder) hex(b []byte, i int) (rune, error) {
	if i+4 > len(b) {
		return 0, errShort
	}
	r := hex4(b[i : i+4])
	if r < 0 {
		return 0, d.malformedIn(i, "an escape is not one of JSON's")
	}
	return r, nil
}

// hex4 returns the value of four hexadecimal digits, -1 where they are others.
func hex4(b []byte) rune {
	_ = b[3]
	r0, r1, r2, r3 := hexDigits[b[0]], hexDigits[b[1]], hexDigits[b[2]], hexDigits[b[3]]
	if r0|r1|r2|r3 > 0xf {
		return -1
	}
	return rune(r0)<<12 | rune(r1)<<8 | rune(r2)<<4 | rune(r3)
}

// hexDigits are the values of hexadecimal digits, 0xff for other bytes.
var hexDigits = func() (values [256]byte) { // never written to
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		values[c], values[unicode.ToUpper(c)] = byte(i), byte(i)
	}
	return values
}()

// powers are those of ten that a float64 holds exactly.
var powers = [...]float64{ // never written to
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// number reads the number at b[i]. inRange is false for one that no float64 holds, and for one of more than maxNumber bytes.
func (d *decoder) number(b []byte, i int) (value float64, next int, inRange bool, err error) {
	start := i
	negative := i < len(b) && b[i] == '-'
	if negative {
		i++
	}
	if i >= len(b) {
		return 0, 0, false, d.short(i)
	}
	var mantissa uint64
	digits := i
	for i < len(b) && b[i]-'0' <= 9 {
		mantissa = mantissa*10 + uint64(b[i]-'0')
		i++
	}
	count := i - digits
	switch {
	case count == 0:
		return 0, 0, false, d.malformedIn(i, "a digit is missing")
	case count > 1 && b[digits] == '0':
		return 0, 0, false, d.malformedIn(digits, "a number starts with a zero")
	}
	exponent := 0
	if i < len(b) && b[i] == '.' {
		i++
		fraction := i
		for i < len(b) && b[i]-'0' <= 9 {
			mantissa = mantissa*10 + uint64(b[i]-'0')
			i++
		}
		if i == fraction {
			return 0, 0, false, d.missingDigit(b, i)
		}
		exponent = fraction - i
		count -= exponent
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		minus := i < len(b) && b[i] == '-'
		if minus || i < len(b) && b[i] == '+' {
			i++
		}
		power, first := 0, i
		for i < len(b) && b[i]-'0' <= 9 {
			power = min(power*10+int(b[i]-'0'), 1_000_000)
			i++
		}
		if i == first {
			return 0, 0, false, d.missingDigit(b, i)
		}
		if minus {
			power = -power
		}
		exponent += power
	}
	if i == len(b) && !d.eof {
		return 0, 0, false, errShort
	}
	// Both factors are exact, so that the one rounding returns the nearest float64 (Clinger 1990).
	if count <= 19 && mantissa < 1<<53 && -22 <= exponent && exponent <= 22 {
		value = float64(mantissa)
		if exponent < 0 {
			value /= powers[-exponent]
		} else {
			value *= powers[exponent]
		}
		if negative {
			value = -value
		}
		return value, i, true, nil
	}
	if i-start > maxNumber {
		return 0, i, false, nil
	}
	value, err = strconv.ParseFloat(string(b[start:i]), 64)
	return value, i, err == nil, nil
}

func (d *decoder) missingDigit(b []byte, i int) error {
	if i == len(b) {
		return d.short(i)
	}
	return d.malformedIn(i, "a digit is missing")
}

// short is for a value that the window's end cuts: at the body's end it is never going to be whole.
func (d *decoder) short(i int) error {
	if d.eof {
		return d.malformedIn(i, "a digit is missing")
	}
	return errShort
}

// word reads true, false or null.
func (d *decoder) word(b []byte, i int, word string) (next int, err error) {
	for j := range len(word) {
		if i+j >= len(b) {
			return 0, errShort
		}
		if b[i+j] != word[j] {
			return 0, d.malformedIn(i, "a value is missing")
		}
	}
	return i + len(word), nil
}

// skip passes over the value at b[i] as strictly as if it mattered; depth is how many objects and arrays it stands in.
func (d *decoder) skip(b []byte, i, depth int) (next int, err error) {
	if i >= len(b) {
		return 0, errShort
	}
	switch c := b[i]; {
	case c == '"':
		_, next, err = d.text(b, i)
		return next, err
	case c == '{' || c == '[':
		if depth >= maxDepth {
			return 0, d.malformedIn(i, "it is nested too deeply")
		}
		if c == '{' {
			return d.skipObject(b, i+1, depth+1)
		}
		return d.skipArray(b, i+1, depth+1)
	case c == 't':
		return d.word(b, i, "true")
	case c == 'f':
		return d.word(b, i, "false")
	case c == 'n':
		return d.word(b, i, "null")
	case c == '-' || c-'0' <= 9:
		_, next, _, err = d.number(b, i)
		return next, err
	}
	return 0, d.malformedIn(i, "a value is missing")
}

func (d *decoder) skipArray(b []byte, i, depth int) (next int, err error) {
	i = skipSpace(b, i)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		if i, err = d.skip(b, i, depth); err != nil {
			return 0, err
		}
		if i = skipSpace(b, i); i == len(b) {
			return 0, errShort
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case ']':
			return i + 1, nil
		default:
			return 0, d.malformedIn(i, "a comma or ] is missing")
		}
	}
}

func (d *decoder) skipObject(b []byte, i, depth int) (next int, err error) {
	i = skipSpace(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	keys := map[string]bool{}
	for {
		key, next, err := d.text(b, i)
		if err != nil {
			return 0, err
		}
		if keys[string(key)] {
			return 0, d.malformedIn(i, "a key is there twice")
		}
		keys[string(key)] = true
		if i = skipSpace(b, next); i == len(b) {
			return 0, errShort
		}
		if b[i] != ':' {
			return 0, d.malformedIn(i, "a colon is missing")
		}
		if i, err = d.skip(b, skipSpace(b, i+1), depth); err != nil {
			return 0, err
		}
		if i = skipSpace(b, i); i == len(b) {
			return 0, errShort
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return i + 1, nil
		default:
			return 0, d.malformedIn(i, "a comma or } is missing")
		}
	}
}
