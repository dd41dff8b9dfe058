package exports

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"hearth"
)

// Whatever the separator and the decimal sign, a file reads back as the same cells, and no cell begins a formula.
func TestEveryStyleOfCSVReadsBack(t *testing.T) {
	t.Parallel()
	values := []hearth.Value{
		hearth.Number(1.5), hearth.Number(-2), hearth.Number(-0.25), hearth.Number(1.5e300), hearth.Number(1e-7), hearth.Boolean(true),
		hearth.Text("1,5"), hearth.Text("1.5"), hearth.Text("=1+1"), hearth.Text("a;=b"), hearth.Text("a\u00a0b,@c"), hearth.Text("true"), hearth.Text(`"`),
	}
	for _, separator := range []string{"", ",", ";", "tab"} {
		for _, decimal := range []string{"", ".", ","} {
			style, err := styleOf(&hearth.ExportCSV{Separator: separator, Decimal: decimal, BOM: true})
			if err != nil {
				t.Fatal(err)
			}
			text := newTextRows(hearth.FormatCSV, style, []string{"n", "t", "v"})
			out := text.begin(nil)
			for _, v := range values {
				out = append(AppendCSVText(append(text.style.number(out, v.Number()), style.separator), "a"+v.Text()), style.separator)
				out = append(style.value(out, v), '\r', '\n')
			}
			out = text.row(out, []cell{numberCell(0.5), textCell("-x"), optionalTime(1)})
			body, marked := strings.CutPrefix(string(out), "\ufeff")
			reader := csv.NewReader(strings.NewReader(body))
			reader.Comma = rune(style.separator)
			rows, err := reader.ReadAll()
			if err != nil || !marked || len(rows) != len(values)+2 {
				t.Fatalf("separator %q, decimal %q: %v, %d rows of\n%s", separator, decimal, err, len(rows), body)
			}
			for i, v := range values {
				for _, cell := range rows[i+1] {
					if strings.ContainsAny(cell[:1], "=+@\t\r") {
						t.Errorf("separator %q, decimal %q: %q begins a formula", separator, decimal, cell)
					}
				}
				cell := rows[i+1][2]
				if style.comma && v.Kind() == hearth.NumberKind {
					cell = strings.Replace(cell, ",", ".", 1)
				}
				if got, problem := ReadCell(Unguard(cell)); got != v || problem != "" {
					t.Errorf("separator %q, decimal %q: %v is %q, which reads %v (%s)", separator, decimal, v, rows[i+1][2], got, problem)
				}
			}
			last := strings.Join(rows[len(rows)-1], " ")
			if want := "0.5 '-x 1970-01-01T00:00:00.001Z"; strings.Replace(last, ",", ".", 1) != want {
				t.Errorf("separator %q, decimal %q: the last row is %q, want %q", separator, decimal, last, want)
			}
		}
	}
}

func TestTimesOfAZoneAreTheSameTimes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia", "Pacific/Kiritimati"} {
		style, err := styleOf(&hearth.ExportCSV{TimeZone: name})
		if err != nil {
			t.Fatal(err)
		}
		stamp := newStamp(style.zone)
		for _, at := range []string{
			"0001-01-01T00:00:00Z", "1850-01-01T00:00:00.001Z", "1969-12-31T23:59:59.999Z", "2026-03-29T00:59:59.999Z", "2026-03-29T01:00:00Z",
			"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "9999-12-31T23:59:59.999Z",
		} {
			want, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			text := string(stamp.append(nil, want.UnixMilli()))
			if got, err := time.Parse(time.RFC3339, text); err != nil || !got.Equal(want) {
				t.Errorf("%s in %q is written %s, which is %v, %v", at, name, text, got.UTC(), err)
			}
		}
		if name == "Europe/Berlin" {
			if got := string(stamp.append(nil, time.Date(2026, 7, 1, 22, 0, 0, 0, time.UTC).UnixMilli())); got != "2026-07-02T00:00:00.000+02:00" {
				t.Errorf("midnight in Berlin is written %s", got)
			}
		}
	}
}
