package exports

import (
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
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
	s := newStamp()
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
		"plain": "plain", "": "", "a,b": `"a,b"`, `a"b`: `"a""b"`, "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx",
		"\rx": "\"'\rx\"", "=\"a\",b": `"'=""a"",b"`, "a=b": "a=b", "Küche 🏠": "Küche 🏠",
	} {
		if got := string(AppendCSVText(nil, text)); got != want {
			t.Errorf("%q is written %s, want %s", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("=+-@\t\n,\"' ab\u00e9"))).Draw(t, "text")
		line := string(AppendCSVText(nil, text)) + ",end\r\n"
		rows, err := csv.NewReader(strings.NewReader(line)).ReadAll()
		if err != nil || len(rows) != 1 || rows[0][1] != "end" {
			t.Fatalf("%q breaks the row: %q %v", text, rows, err)
		}
		got := rows[0][0]
		if got != "" && strings.ContainsRune("=+-@\t\n", rune(got[0])) || got != text && got != "'"+text {
			t.Errorf("%q reads back as %q", text, got)
		}
	})
}
