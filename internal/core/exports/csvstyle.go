package exports

import (
	"bytes"
	"fmt"
	"time"

	"hearth"
)

// csvStyle is how the cells of a CSV file are written.
type csvStyle struct {
	separator byte
	// comma writes the comma for the point of numbers, bom begins the file with a byte order mark.
	comma, bom bool
	zone       *time.Location
}

// styleOf returns the style that an export asks for; nil is RFC 4180 in UTC.
func styleOf(csv *hearth.ExportCSV) (csvStyle, error) {
	style := csvStyle{separator: ',', zone: time.UTC}
	if csv == nil {
		return style, nil
	}
	switch csv.Separator {
	case "", hearth.SeparatorComma:
	case hearth.SeparatorSemicolon:
		style.separator = ';'
	case hearth.SeparatorTab:
		style.separator = '\t'
	default:
		return style, fmt.Errorf("the separator %q is unknown", csv.Separator)
	}
	style.comma, style.bom = csv.Decimal == hearth.DecimalComma, csv.BOM
	zone, err := hearth.TimeZone(csv.TimeZone)
	if err == nil {
		style.zone = zone
	}
	return style, err
}

// number writes a number: one with a comma stands in quotes where the comma separates cells.
func (s *csvStyle) number(dst []byte, v float64) []byte {
	start := len(dst)
	dst = appendNumber(dst, v)
	point := bytes.IndexByte(dst[start:], '.')
	if !s.comma || point < 0 {
		return dst
	}
	dst[start+point] = ','
	if s.separator != ',' {
		return dst
	}
	dst = append(dst, 0, '"')
	copy(dst[start+1:], dst[start:len(dst)-2])
	dst[start] = '"'
	return dst
}

// value writes the value of a log.
func (s *csvStyle) value(dst []byte, v hearth.Value) []byte {
	if v.Kind() == hearth.NumberKind {
		return s.number(dst, v.Number())
	}
	return appendCell(dst, v)
}
