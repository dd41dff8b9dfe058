package importer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"hearth"
	"hearth/internal/core/exports"
	"hearth/internal/timetext"
)

// Format is how a text file is read. Zero fields are the defaults.
type Format struct {
	// Delimiter separates cells: one character, or tab; "" is a comma. Exports are read by their own.
	Delimiter string
	// Decimal is the decimal sign of numbers: "." or ",".
	Decimal string
	// Encoding is utf-8, utf-16le, utf-16be or latin1; "" is UTF-8. A byte order mark counts for more.
	Encoding string
	// TimeZone is the IANA name of the zone of times without an offset; "" is UTC.
	TimeZone string
	// TimeFormat is rfc3339, unix (seconds), unix_ms, or a layout of strftime; "" is rfc3339.
	TimeFormat string
	// Device, if set, is the device of every row, in place of a column.
	Device string
	// Wide says that each column but those of the device, its type and the time is an event.
	Wide bool
	// Map has texts of cells and what they stand for, as a cell spells it: on=true, or several with commas.
	Map []string
}

// maxValues bounds the texts of Format.Map.
const maxValues = 1000

// format is a Format that was checked.
type format struct {
	Format
	separator byte // 0 if none was named
	encoding  encoding.Encoding
	// local, if not nil, is the zone of times without an offset.
	local  *time.Location
	time   func(text []byte) (ms int64, ok bool)
	wants  string // of a time, in messages
	values map[string]hearth.Value
}

// parse checks a format; an error names the flag.
func (f Format) parse() (_ format, err error) {
	p := format{Format: f}
	switch {
	case f.Delimiter == "":
	case f.Delimiter == "tab":
		p.separator = '\t'
	case len(f.Delimiter) == 1 && strings.IndexByte(",;|\t: ~^#&!*/", f.Delimiter[0]) >= 0:
		p.separator = f.Delimiter[0]
	default:
		return p, fmt.Errorf("--delimiter %q: write one of , ; | : or tab", f.Delimiter)
	}
	if f.Decimal != "" && f.Decimal != "." && f.Decimal != "," {
		return p, fmt.Errorf(`--decimal %q: write "." or ","`, f.Decimal)
	}
	switch strings.ToLower(f.Encoding) {
	case "", "utf-8", "utf8":
	case "utf-16le":
		p.encoding = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case "utf-16be":
		p.encoding = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case "latin1":
		p.encoding = charmap.Windows1252 // which has what Latin-1 has, and what most such files mean by the rest
	default:
		return p, fmt.Errorf("--encoding %q: write utf-8, utf-16le, utf-16be or latin1", f.Encoding)
	}
	if f.TimeZone != "" {
		if p.local, err = hearth.TimeZone(f.TimeZone); err != nil {
			return p, fmt.Errorf("--time-zone %q %w", f.TimeZone, err)
		}
	}
	if err := p.parseTimeFormat(); err != nil {
		return p, err
	}
	if f.Device != "" && strings.TrimSpace(f.Device) == "" || len([]rune(f.Device)) > hearth.MaxDeviceName {
		return p, fmt.Errorf("--device: write a name of 1 to %d characters", hearth.MaxDeviceName)
	}
	return p, p.parseValues()
}

func (p *format) parseValues() error {
	p.values = map[string]hearth.Value{}
	for _, pair := range p.pairs() {
		text, spelled, ok := strings.Cut(pair, "=")
		if text = strings.TrimSpace(text); !ok || text == "" {
			return fmt.Errorf("--map %q: write what a cell has and what it stands for, such as on=true,off=false", pair)
		}
		value, problem := exports.ReadCell(strings.TrimSpace(spelled))
		if problem != "" {
			return fmt.Errorf("--map %s: the value %s", pair, problem)
		}
		if _, twice := p.values[text]; twice {
			return fmt.Errorf("--map has %q twice", text)
		}
		if p.values[text] = value; len(p.values) > maxValues {
			return fmt.Errorf("--map has more than %d values", maxValues)
		}
	}
	return nil
}

// pairs returns the parts of Map, each one text and its value.
func (f Format) pairs() []string {
	if len(f.Map) == 0 {
		return nil
	}
	return strings.Split(strings.Join(f.Map, ","), ",")
}

// identity returns what of the format makes an import another one; nothing for the default.
func (f Format) identity() []string {
	if f.Delimiter+f.Decimal+f.Encoding+f.TimeZone+f.TimeFormat+f.Device == "" && !f.Wide && len(f.Map) == 0 {
		return nil
	}
	parts := []string{f.Delimiter, f.Decimal, f.Encoding, f.TimeZone, f.TimeFormat, f.Device, strconv.FormatBool(f.Wide)}
	pairs := f.pairs()
	slices.Sort(pairs)
	return append(parts, pairs...)
}

// value reads a cell with a value, quotes and guard taken off.
func (p *format) value(text string) (v hearth.Value, problem string) {
	if len(p.values) > 0 {
		if v, ok := p.values[text]; ok {
			return v, ""
		}
	}
	if p.Decimal != "," || strings.Trim(text, "0123456789.,+-eE") != "" {
		return exports.ReadCell(text)
	}
	if strings.Contains(text, ".") {
		return v, "has a point, and the decimal sign is a comma"
	}
	number, problem := exports.ReadCell(strings.Replace(text, ",", ".", 1))
	if problem == "" && number.Kind() != hearth.NumberKind {
		return exports.ReadCell(text)
	}
	return number, problem
}

func (p *format) parseTimeFormat() error {
	switch p.TimeFormat {
	case "", "rfc3339":
		p.time, p.wants = p.rfc3339, "an RFC 3339 time such as 2026-01-31T12:00:00.000Z"
	case "unix":
		p.time, p.wants = func(text []byte) (int64, bool) { return scaled(string(text), 1000) }, "a number of seconds since 1970"
	case "unix_ms":
		p.time, p.wants = func(text []byte) (int64, bool) { return scaled(string(text), 1) }, "a number of milliseconds since 1970"
	default:
		layout, err := layoutOfTime(p.TimeFormat)
		if err != nil {
			return fmt.Errorf("--time-format %q: %w", p.TimeFormat, err)
		}
		hasOffset, hasHalf := strings.Contains(layout.reads, "Z0700"), strings.Contains(layout.reads, "PM")
		p.wants = "a time such as " + time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Format(layout.writes)
		p.time = func(cell []byte) (int64, bool) {
			text := string(cell)
			if hasHalf {
				text = strings.ToUpper(text) // "pm" is read too; names are read in either case
			}
			at, err := time.Parse(layout.reads, text)
			if err != nil && hasOffset {
				at, err = time.Parse(strings.ReplaceAll(layout.reads, "Z0700", "Z07:00"), text)
			}
			if err != nil {
				return 0, false
			}
			if hasOffset {
				return at.UnixMilli(), true
			}
			return p.wall(at), true
		}
	}
	if p.local != nil && strings.HasPrefix(p.TimeFormat, "unix") {
		return fmt.Errorf("--time-zone: times of the format %s have no zone", p.TimeFormat)
	}
	return nil
}

// rfc3339 reads an RFC 3339 time and, if there is a zone for it, one without an offset.
func (p *format) rfc3339(text []byte) (int64, bool) {
	ms, ok := timetext.ParseTimestamp(text)
	if ok || p.local == nil || len(text) < len("2006-01-02T15:04") {
		return ms, ok
	}
	wall := []byte(string(text) + "Z")
	if wall[10] == ' ' {
		wall[10] = 'T'
	}
	if ms, ok = timetext.ParseTimestamp(wall); !ok {
		return 0, false
	}
	return p.wall(time.UnixMilli(ms).UTC()), true
}

// wall returns the time at which the clocks of the zone show what at shows in UTC: of two, the first; where the clocks were put forward over
// it, as much later.
func (p *format) wall(at time.Time) int64 {
	if p.local == nil {
		return at.UnixMilli()
	}
	_, before := at.Add(-24 * time.Hour).In(p.local).Zone()
	_, after := at.Add(24 * time.Hour).In(p.local).Zone()
	for _, offset := range []int{before, after} {
		found := at.Add(-time.Duration(offset) * time.Second)
		if _, is := found.In(p.local).Zone(); is == offset {
			return found.UnixMilli()
		}
	}
	return at.Add(-time.Duration(before) * time.Second).UnixMilli()
}

// scaled reads a decimal number of units of so many milliseconds; what is beyond milliseconds is cut.
func scaled(text string, unit int64) (int64, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 52)
	if err != nil || strings.Trim(fraction, "0123456789") != "" || strings.HasSuffix(text, ".") {
		return 0, false
	}
	if unit == 1 {
		return n, true
	}
	ms, err := strconv.ParseInt((fraction + "000")[:3], 10, 64)
	if err != nil {
		return 0, false
	}
	if strings.HasPrefix(whole, "-") {
		ms = -ms
	}
	return n*unit + ms, true
}

// directives are those of strftime, and what Go writes for them.
var directives = map[byte]string{ // never written to
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'j': "002", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'z': "Z0700", 'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", '%': "%",
}

// unpadded is what Go reads with and without a leading zero, in place of a directive's.
var unpadded = map[byte]string{ // never written to
	'm': "1", 'd': "2", 'I': "3", 'M': "4", 'S': "5", 'F': "2006-1-2", 'T': "15:4:5", 'R': "15:4", 'D': "1/2/06",
}

// timeLayout has Go's layouts for one of strftime: that which writes times as it does, and that which reads them as strptime does,
// with and without leading zeros.
type timeLayout struct{ writes, reads string }

// layoutOfTime returns Go's layouts for one of strftime.
func layoutOfTime(format string) (timeLayout, error) {
	if len(format) > 100 || !strings.Contains(format, "%") {
		return timeLayout{}, errors.New("write rfc3339, unix, unix_ms or a layout such as %d.%m.%Y %H:%M:%S")
	}
	var writes, reads strings.Builder
	date := map[byte]bool{}
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' {
			// Go takes digits and some words in a layout for parts of a time.
			if c != 'T' && c != 'Z' && strings.IndexByte(" -/.,:;()[]'_+|", c) < 0 {
				return timeLayout{}, fmt.Errorf("%q may not stand in a layout", c)
			}
			writes.WriteByte(c)
			reads.WriteByte(c)
			continue
		}
		if i++; i == len(format) {
			return timeLayout{}, errors.New("ends with a percent sign")
		}
		d := format[i]
		date[d] = true
		if d == 'f' {
			if before := writes.String(); !strings.HasSuffix(before, "05.") && !strings.HasSuffix(before, "05,") {
				return timeLayout{}, errors.New("%f stands behind %S. or %S,")
			}
			writes.WriteString("999999999")
			reads.WriteString("999999999")
			continue
		}
		text, known := directives[d]
		if !known {
			return timeLayout{}, fmt.Errorf("%%%c is not known: write %%Y %%m %%d %%H %%M %%S %%f %%z and others of strftime", d)
		}
		writes.WriteString(text)
		if loose, ok := unpadded[d]; ok {
			text = loose
		}
		reads.WriteString(text)
	}
	year := date['Y'] || date['y'] || date['F'] || date['D']
	day := date['j'] || date['F'] || date['D'] || (date['m'] || date['b'] || date['B']) && (date['d'] || date['e'])
	if !year || !day {
		return timeLayout{}, errors.New("it has no full date: %d.%m.%Y, for example")
	}
	layout := timeLayout{writes.String(), reads.String()}
	// What it writes it must read, as the same: that is what tells letters that Go reads otherwise.
	for _, at := range []time.Time{time.Date(2031, 11, 28, 13, 47, 58, 0, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)} {
		read, err := time.Parse(layout.reads, at.Format(layout.writes))
		if err != nil || read.Format(layout.writes) != at.Format(layout.writes) {
			return timeLayout{}, errors.New("times of it cannot be read: separate its parts")
		}
	}
	return layout, nil
}
