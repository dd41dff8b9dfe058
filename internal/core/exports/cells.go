package exports

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"hearth"
)

// cell is one value of a row that is written as text. The zero cell is absent: empty in CSV, null in JSON.
type cell struct {
	kind   cellKind
	text   string
	number float64
	whole  int64
}

type cellKind int

const (
	absent cellKind = iota
	textual
	numeric
	counted
	timed // whole is Unix milliseconds
)

func textCell(s string) cell    { return cell{kind: textual, text: s} }
func numberCell(v float64) cell { return cell{kind: numeric, number: v} }
func countCell(n int64) cell    { return cell{kind: counted, whole: n} }

// optionalText is absent for "", optionalNumber for nil, optionalTime for 0.
func optionalText(s string) cell {
	if s == "" {
		return cell{}
	}
	return textCell(s)
}

func optionalNumber(v *float64) cell {
	if v == nil {
		return cell{}
	}
	return numberCell(*v)
}

func optionalTime(ms int64) cell {
	if ms == 0 {
		return cell{}
	}
	return cell{kind: timed, whole: ms}
}

func appendJSONText(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("exports: a string always encodes: " + err.Error())
	}
	return append(dst, text...)
}

// maxDecimals bounds the decimals that appendNumber checks before it asks strconv, and maxScaled the numbers for which scaling
// by a power of ten is exact enough.
const (
	maxDecimals = 6
	maxScaled   = 1e15
)

var powersOfTen = [maxDecimals + 1]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6} // never written to

// appendNumber writes the shortest decimal that reads back as v: the same as strconv's, several times faster for what
// devices measure, whole numbers and a few decimals. n / 10^k is rounded once, as reading the decimal is, so that equality
// proves the round trip.
func appendNumber(dst []byte, v float64) []byte {
	size := math.Abs(v)
	if size >= 1e15 || size < 1e-6 {
		if v == 0 && !math.Signbit(v) {
			return append(dst, '0')
		}
		if size != 0 && (size < 1e-6 || size >= 1e21) {
			return strconv.AppendFloat(dst, v, 'e', -1, 64)
		}
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	}
	for k, power := range powersOfTen {
		scaled := size * power
		if scaled >= maxScaled {
			break
		}
		n := uint64(scaled + 0.5)
		if float64(n)/power != size {
			continue
		}
		if v < 0 {
			dst = append(dst, '-')
		}
		return appendDecimal(dst, n, k)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendDecimal writes n / 10^k.
func appendDecimal(dst []byte, n uint64, k int) []byte {
	var space [24]byte
	at := len(space)
	for i := 0; ; i++ {
		if i == k && k > 0 {
			at--
			space[at] = '.'
		}
		if n == 0 && i > k {
			break
		}
		at--
		space[at] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, space[at:]...)
}

// stamp writes times of a zone; it remembers the latest minute, as rows come in the order of time.
type stamp struct {
	zone   *time.Location
	minute int64
	text   [17]byte // 2006-01-02T15:04:
	offset string   // Z or +01:00
}

const milliMinute = 60_000

func newStamp(zone *time.Location) *stamp { return &stamp{zone: zone, minute: math.MinInt64} }

// begin sets the minute. Where the zone's time cannot be written as RFC 3339 (offsets with seconds, as they were before 1900, and years that
// have not four digits), UTC is.
func (s *stamp) begin(minute int64) {
	at := time.UnixMilli(minute * milliMinute).In(s.zone)
	if _, offset := at.Zone(); offset%60 != 0 || at.Year() < 1 || at.Year() > 9999 {
		at = at.UTC()
	}
	s.minute, s.offset = minute, at.Format("Z07:00")
	at.AppendFormat(s.text[:0], "2006-01-02T15:04:")
}

// append writes Unix milliseconds in the contract's form.
func (s *stamp) append(dst []byte, ms int64) []byte {
	minute, rest := ms/milliMinute, ms%milliMinute
	if rest < 0 {
		minute, rest = minute-1, rest+milliMinute
	}
	if minute != s.minute {
		s.begin(minute)
	}
	dst = append(dst, s.text[:]...)
	sec, ms := rest/1000, rest%1000
	dst = append(dst, byte('0'+sec/10), byte('0'+sec%10), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(dst, s.offset...)
}

// textRows writes rows of cells as CSV, JSON or NDJSON.
type textRows struct {
	format hearth.ExportFormat
	style  csvStyle
	names  []string
	keys   [][]byte // `"name":`, for JSON
	stamp  *stamp
	rows   int64
}

func newTextRows(format hearth.ExportFormat, style csvStyle, names []string) *textRows {
	t := &textRows{format: format, style: style, names: names, stamp: newStamp(style.zone)}
	for _, name := range names {
		t.keys = append(t.keys, append(appendJSONText(nil, name), ':'))
	}
	return t
}

// begin writes what comes before the rows.
func (t *textRows) begin(dst []byte) []byte {
	switch t.format {
	case hearth.FormatCSV:
		if t.style.bom {
			dst = append(dst, "\ufeff"...)
		}
		return append(append(dst, strings.Join(t.names, string(t.style.separator))...), '\r', '\n')
	case hearth.FormatJSON:
		return append(dst, '[')
	}
	return dst
}

// row writes one row.
func (t *textRows) row(dst []byte, cells []cell) []byte {
	if t.format == hearth.FormatCSV {
		for i, c := range cells {
			if i > 0 {
				dst = append(dst, t.style.separator)
			}
			switch c.kind {
			case textual:
				dst = AppendCSVText(dst, c.text)
			case numeric:
				dst = t.style.number(dst, c.number)
			default:
				dst = t.plain(dst, c)
			}
		}
		return append(dst, '\r', '\n')
	}
	dst = t.between(dst)
	dst = append(dst, '{')
	for i, c := range cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, t.keys[i]...)
		switch c.kind {
		case absent:
			dst = append(dst, "null"...)
		case textual:
			dst = appendJSONText(dst, c.text)
		case timed:
			dst = append(t.plain(append(dst, '"'), c), '"')
		default:
			dst = t.plain(dst, c)
		}
	}
	dst = append(dst, '}')
	if t.format == hearth.FormatNDJSON {
		dst = append(dst, '\n')
	}
	return dst
}

// between writes what stands between rows of JSON.
func (t *textRows) between(dst []byte) []byte {
	t.rows++
	if t.format != hearth.FormatJSON {
		return dst
	}
	if t.rows > 1 {
		dst = append(dst, ',')
	}
	return append(dst, '\n')
}

// plain writes what needs no quotes in CSV.
func (t *textRows) plain(dst []byte, c cell) []byte {
	switch c.kind {
	case numeric:
		return appendNumber(dst, c.number)
	case counted:
		return strconv.AppendInt(dst, c.whole, 10)
	case timed:
		return t.stamp.append(dst, c.whole)
	}
	return dst
}

// end writes what comes behind the rows.
func (t *textRows) end(dst []byte) []byte {
	if t.format != hearth.FormatJSON {
		return dst
	}
	return append(dst, '\n', ']', '\n')
}

// appendJSON appends a value as JSON.
func appendJSON(dst []byte, v hearth.Value) []byte {
	switch v.Kind() {
	case hearth.NumberKind:
		return appendNumber(dst, v.Number())
	case hearth.BooleanKind:
		return strconv.AppendBool(dst, v.Number() != 0)
	}
	return appendJSONText(dst, v.Text())
}
