package exports

import (
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hearth"
)

func TestANumberReadsBackAsItselfInItsShortestForm(t *testing.T) {
	t.Parallel()
	check := func(t interface{ Errorf(string, ...any) }, v float64) {
		got := string(appendNumber(nil, v))
		if back, err := strconv.ParseFloat(got, 64); err != nil || math.Float64bits(back) != math.Float64bits(v) {
			t.Errorf("%v is written %s, which reads %v, %v", v, got, back, err)
		}
		if short := strconv.FormatFloat(v, 'f', -1, 64); math.Abs(v) >= 1e-6 && math.Abs(v) < 1e21 && got != short {
			t.Errorf("%v is written %s, not %s", v, got, short)
		}
	}
	for _, v := range []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 0.05, 21.5, 100, 1e15, 1e15 - 1, 1e21, 1e300, -1e300, 1e-6, 1e-7, 5e-324, 0.3, 1.0 / 3,
		2.675, 999999.999999, 123456789.123, 0.1 + 0.2, 9007199254740993, 4503599627370497.5,
	} {
		check(t, v)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.Float64().Draw(t, "any"))
		scale := []float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}
		check(t, float64(rapid.Int64Range(-1e12, 1e12).Draw(t, "digits"))/rapid.SampledFrom(scale).Draw(t, "scale"))
	})
}

func TestATimeIsWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	s := newStamp(time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "ms")
		for _, at := range []int64{ms, ms + 1, ms + 59_999} {
			if got, want := string(s.append(nil, at)), time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z"); got != want && at <= 253402300799999 {
				t.Errorf("%d is written %s, not %s", at, got, want)
			}
		}
	})
}

func TestACellOfTextHarmsNoSpreadsheetAndKeepsItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain": "plain", "": "", "a,b": `"a,b"`, `a"b`: `"a""b"`, "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "\"'\tx\"",
		"\rx": "\"'\rx\"", "=\"a\",b": `"'=""a"",b"`, "a=b": "a=b", "a;=1": `"a;'=1"`, "a\n=1": "\"a\n'=1\"", "a\t@x": "\"a\t'@x\"", "\uff1d1": "'\uff1d1", "'=1": "''=1", "'x": "'x",
		"Küche 🏠": "Küche 🏠",
	} {
		if got := string(AppendCSVText(nil, text)); got != want {
			t.Errorf("%q is written %s, want %s", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("=+-@\t\r\n,;\"' ab\u00e9\uff1d\uff20"))).Draw(t, "text")
		line := string(AppendCSVText(nil, text)) + ",end\r\n"
		rows, err := csv.NewReader(strings.NewReader(line)).ReadAll()
		if err != nil || len(rows) != 1 || rows[0][1] != "end" {
			t.Fatalf("%q breaks the row: %q %v", text, rows, err)
		}
		got := Guard(text) // the library makes a line feed of a carriage return with one
		if rows[0][0] != strings.ReplaceAll(got, "\r\n", "\n") {
			t.Errorf("%q reads back as %q", text, rows[0][0])
		}
		if Unguard(got) != text {
			t.Errorf("%q is guarded as %q, which reads %q", text, got, Unguard(got))
		}
		for _, part := range append(strings.FieldsFunc(got, func(r rune) bool { return strings.ContainsRune(",;\t\r\n", r) }), got) {
			first, _ := utf8.DecodeRuneInString(part)
			if part != "" && strings.ContainsRune("=+-@\t\r\n\uff1d\uff20", first) {
				t.Errorf("%q is written %q", text, got)
			}
		}
	})
}

func TestAValueReadsBackFromItsCell(t *testing.T) {
	t.Parallel()
	for _, v := range []hearth.Value{
		hearth.Number(-1.5), hearth.Number(1e21), hearth.Boolean(true), hearth.Boolean(false), hearth.Text("true"), hearth.Text("TRUE"), hearth.Text("1"),
		hearth.Text("1,5"), hearth.Text(" 1"), hearth.Text(`"`), hearth.Text(`"on"`), hearth.Text("on"), hearth.Text("=1"), hearth.Text("-1"), hearth.Text("a;=1"),
		hearth.Text("1e999"), hearth.Text("NaN"), hearth.Text("'=1"), hearth.Text(" "), hearth.Text("-"), hearth.Text("\u2028"),
	} {
		rows, err := csv.NewReader(strings.NewReader(string(appendCell(nil, v)))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if got, problem := ReadCell(Unguard(rows[0][0])); got != v || problem != "" {
			t.Errorf("%v is written %s, which reads %v (%s)", v, appendCell(nil, v), got, problem)
		}
	}
}
