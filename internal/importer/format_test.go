package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"
)

func TestWrongOptionsAreRefusedByName(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Import{
		"--delimiter":               {Format: Format{Delimiter: ";;"}},
		"--delimiter \"a\"":         {Format: Format{Delimiter: "a"}},
		"--decimal":                 {Format: Format{Decimal: "'"}},
		"--encoding":                {Format: Format{Encoding: "utf-7"}},
		"--time-zone":               {Format: Format{TimeZone: "Europe/Nowhere"}},
		"--time-zone: times":        {Format: Format{TimeZone: "Europe/Berlin", TimeFormat: "unix"}},
		"--time-format \"iso\"":     {Format: Format{TimeFormat: "iso"}},
		"%Q is not known":           {Format: Format{TimeFormat: "%Q"}},
		"no full date":              {Format: Format{TimeFormat: "%H:%M"}},
		"percent sign":              {Format: Format{TimeFormat: "%Y-%m-%d %"}},
		"may not stand in a layout": {Format: Format{TimeFormat: "%Y-%m-%d 15"}},
		"%f stands behind":          {Format: Format{TimeFormat: "%Y-%m-%d %f"}},
		"--device":                  {Format: Format{Device: " "}},
		"--map \"on\"":              {Format: Format{Map: []string{"on"}}},
		"--map has \"on\" twice":    {Format: Format{Map: []string{"on=1,on=2"}}},
		"--map on=":                 {Format: Format{Map: []string{"on="}}},
		"--event":                   {Event: "a b"},
		"--type":                    {Type: strings.Repeat("t", 65)},
		"--wide and --event":        {Event: "e", Format: Format{Wide: true}},
		"named for two things":      {Columns: Columns{Device: "a", Event: "a", Value: "v", Timestamp: "t"}},
	} {
		if o.Columns == (Columns{}) {
			o.Columns = DefaultColumns()
		}
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want an error with %s", o, err, name)
		}
	}
}

func TestTimesAreReadAsTheyAreSaidToBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, zone, text, want string }{
		{"", "", "2026-03-01T12:00:00+01:00", "2026-03-01T11:00:00Z"},
		{"rfc3339", "", "2026-03-01T12:00:00", ""},
		{"rfc3339", "Europe/Berlin", "2026-03-01 12:00:00.25", "2026-03-01T11:00:00.25Z"},
		{"rfc3339", "Europe/Berlin", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"},
		{"unix", "", "1764392400", "2025-11-29T05:00:00Z"},
		{"unix", "", "1764392400.5239", "2025-11-29T05:00:00.523Z"},
		{"unix", "", "-0.5", "1969-12-31T23:59:59.5Z"},
		{"unix", "", "1e9", ""},
		{"unix", "", "12.", ""},
		{"unix_ms", "", "1764392400123", "2025-11-29T05:00:00.123Z"},
		{"unix_ms", "", "1764392400123.9", "2025-11-29T05:00:00.123Z"},
		{"unix_ms", "", "99999999999999999999", ""},
		{"%d.%m.%Y %H:%M", "", "29.11.2026 06:20", "2026-11-29T06:20:00Z"},
		{"%d.%m.%Y %H:%M:%S", "Europe/Berlin", "29.11.2026 06:20:30", "2026-11-29T05:20:30Z"},
		{"%d.%m.%Y %H:%M:%S.%f", "", "29.11.2026 06:20:30.1234", "2026-11-29T06:20:30.123Z"},
		{"%m/%d/%y %I:%M %p", "America/New_York", "07/04/26 09:30 PM", "2026-07-05T01:30:00Z"},
		{"%Y-%m-%dT%H:%M:%S%z", "", "2026-11-29T06:20:30+0530", "2026-11-29T00:50:30Z"},
		{"%Y-%m-%dT%H:%M:%S%z", "", "2026-11-29T06:20:30+05:30", "2026-11-29T00:50:30Z"},
		{"%F %T", "", "2026-11-29 06:20:30", "2026-11-29T06:20:30Z"},
		{"%d %b %Y", "", "29 Nov 2026", "2026-11-29T00:00:00Z"},
		{"%d.%m.%Y", "", "30.02.2026", ""},
		// As strptime does, also without leading zeros.
		{"%d.%m.%Y %H:%M", "", "1.2.2026 6:05", "2026-02-01T06:05:00Z"},
		{"%m/%d/%Y %I:%M:%S %p", "", "7/4/2026 1:05:07 pm", "2026-07-04T13:05:07Z"},
		{"%D %T", "", "7/4/26 1:5:7", "2026-07-04T01:05:07Z"},
		{"%e %B %Y", "", "4 JULY 2026", "2026-07-04T00:00:00Z"},
		{"%Y%m%d%H%M%S", "", "20260704010507", "2026-07-04T01:05:07Z"},
		{"%Y%m%dT%H%M%S.%f", "", "20260704T010507.5", "2026-07-04T01:05:07.5Z"},
		{"%d%m%y", "", "040726", "2026-07-04T00:00:00Z"},
		{"%d.%m.%Y", "", "1.13.2026", ""},
		// Clocks go forward at 02:00 and back at 03:00.
		{"%F %R", "Europe/Berlin", "2026-03-29 02:30", "2026-03-29T01:30:00Z"},
		{"%F %R", "Europe/Berlin", "2026-10-25 02:30", "2026-10-25T00:30:00Z"},
		{"%F %R", "Europe/Berlin", "2026-10-25 03:30", "2026-10-25T02:30:00Z"},
		{"%F %R", "Asia/Kolkata", "2026-01-01 00:00", "2025-12-31T18:30:00Z"},
	} {
		f, err := Format{TimeFormat: c.format, TimeZone: c.zone}.parse()
		if err != nil {
			t.Fatal(err)
		}
		ms, ok := f.time([]byte(c.text))
		got := ""
		if ok {
			got = time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%q as %q in %q is %q, want %q", c.text, c.format, c.zone, got, c.want)
		}
	}
}

func TestFilesOfOtherProgramsAreRead(t *testing.T) {
	t.Parallel()
	at := "2026-01-01T00:00:00Z"
	utf16 := func(e unicode.Endianness, mark unicode.BOMPolicy, s string) string {
		out, err := unicode.UTF16(e, mark).NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err == nil {
		_, err = w.Write([]byte(header + "a,t,e,1," + at + "\n"))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	const ms = " 1767225600000"
	german := "Gerät;event;value;timestamp\nKüche;temp;\"21,5\";" + at + "\nKüche;temp;-1,5e1;" + at + "\nKüche;text;a,b;" + at + "\n"
	germanRows := []string{"2: id of Küche temp 21.5" + ms, "3: id of Küche temp -15" + ms, "4: id of Küche text a,b" + ms}
	asGerman := func(o *csvImport) { o.Columns.Device, o.Format.Delimiter, o.Format.Decimal = "Gerät", ";", "," }
	latin := strings.NewReplacer("ü", "\xfc", "ä", "\xe4").Replace(german)
	for name, c := range map[string]struct {
		text   string
		change func(*csvImport)
		want   []string
	}{
		"semicolons and commas": {german, asGerman, germanRows},
		"a byte order mark":     {"\ufeff" + german, asGerman, germanRows},
		"UTF-16 with a mark":    {utf16(unicode.LittleEndian, unicode.UseBOM, german), asGerman, germanRows},
		"UTF-16, big end first": {utf16(unicode.BigEndian, unicode.IgnoreBOM, german), func(o *csvImport) { asGerman(o); o.Format.Encoding = "utf-16be" }, germanRows},
		"a mark counts for more": {utf16(unicode.BigEndian, unicode.UseBOM, german), func(o *csvImport) {
			asGerman(o)
			o.Format.Encoding = "latin1"
		}, germanRows},
		"Latin-1":       {latin, func(o *csvImport) { asGerman(o); o.Format.Encoding = "latin1" }, germanRows},
		"zstd":          {packed.String(), func(*csvImport) {}, []string{"2: id of a e 1" + ms}},
		"tabs":          {strings.ReplaceAll(header, ",", "\t") + "a\tt\te\t1\t" + at, func(o *csvImport) { o.Format.Delimiter = "tab" }, []string{"2: id of a e 1" + ms}},
		"quoted cells":  {header + "\"a\n,b\",t,e,\"x\n\"\"y\"\"\"," + at, func(o *csvImport) { o.SkipInvalid = true }, nil},
		"no device":     {"event,value,timestamp\ne,1," + at, func(o *csvImport) { o.Format.Device = "shed" }, []string{"2: id of shed e 1" + ms}},
		"mapped":        {header + "a,t,e,ON," + at + "\na,t,e,OFF," + at + "\na,t,e,on," + at, func(o *csvImport) { o.Format.Map = []string{"ON=true,OFF=false"} }, []string{"2: id of a e true" + ms, "3: id of a e false" + ms, "4: id of a e on" + ms}},
		"a column each": {"device,timestamp,temp,,door\na," + at + ",20.5,x,open\na," + at + ",,x,\nb," + at + ",1,,2\n", func(o *csvImport) { o.Format.Wide = true }, []string{"2: id of a temp 20.5" + ms, "2: id of a door open" + ms, "4: id of b temp 1" + ms, "4: id of b door 2" + ms}},
		"seconds":       {header + "a,t,e,1,1767225600", func(o *csvImport) { o.Format.TimeFormat = "unix" }, []string{"2: id of a e 1" + ms}},
	} {
		m := newMemory()
		_, err := importText(t, m, func(o *csvImport) {
			o.Open = text(c.text)
			c.change(o)
		})
		if err != nil || !slices.Equal(m.rows, c.want) {
			t.Errorf("%s: %v, %q, want %q", name, err, m.rows, c.want)
		}
	}
	for name, c := range map[string]struct {
		text   string
		change func(*csvImport)
	}{
		"has two columns device":     {"device,device,event,value,timestamp\n", func(*csvImport) {}},
		"with --delimiter":           {"device;event;value;timestamp\n", func(*csvImport) {}},
		"has a point":                {header + "a,t,e,1.5," + at, func(o *csvImport) { o.Format.Decimal = "," }},
		"cannot be an event":         {"device,timestamp,a b\n", func(o *csvImport) { o.Format.Wide = true }},
		"no column that could be an": {"device,timestamp,type\n", func(o *csvImport) { o.Format.Wide = true }},
		"line 2: temp must be":       {"device,timestamp,temp\na," + at + ",1e400\n", func(o *csvImport) { o.Format.Wide = true }},
		"a time such as 31.01.2026":  {header + "a,t,e,1," + at, func(o *csvImport) { o.Format.TimeFormat = "%d.%m.%Y" }},
	} {
		_, err := importText(t, newMemory(), func(o *csvImport) {
			o.Open = text(c.text)
			c.change(o)
		})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, want %s", c.text, err, name)
		}
	}
}

func TestSkippedRowsAreNamed(t *testing.T) {
	t.Parallel()
	body := header + "a,t,e,1,2026-01-01T00:00:00Z\n" + strings.Repeat("a,t,e,1,never\n", 30)
	progress, err := importText(t, newMemory(), func(o *csvImport) { o.Open, o.SkipInvalid = text(body), true })
	if err != nil || progress.Skipped != 30 || len(progress.Invalid) != maxInvalidRows || !strings.HasPrefix(progress.Invalid[0], "line 3: timestamp must be") {
		t.Errorf("%v, %+v", err, progress)
	}
}

func TestAnotherFormatIsAnotherImport(t *testing.T) {
	t.Parallel()
	m := newMemory()
	body := header + "a,t,e,1,2026-01-01T00:00:00\n"
	for i, zone := range []string{"UTC", "Europe/Berlin", "UTC"} {
		progress, err := importText(t, m, func(o *csvImport) { o.Open, o.Format.TimeZone = text(body), zone })
		if want := int64(1 - i/2); err != nil || progress.Rows != want {
			t.Errorf("in %s: %v, %d rows, want %d", zone, err, progress.Rows, want)
		}
	}
}

func TestAPreviewShowsWhatAnImportWouldStore(t *testing.T) {
	t.Parallel()
	o := Import{File: Stdin, Stdin: strings.NewReader("\ufeff" + header + "a,t,e,1,2026-01-01T00:00:00Z\nb,,f,x,nie\nc,,g,TRUE,2026-01-01T00:00:00Z\n"), Columns: DefaultColumns()}
	rows, err := o.Preview(time.Now(), 2)
	if err != nil || len(rows) != 2 || rows[0].Device != "a" || rows[0].Log.Event != "e" || rows[1].Line != 3 || !strings.Contains(rows[1].Problem, "timestamp") {
		t.Errorf("%+v, %v", rows, err)
	}
}

// FuzzFormat reads any text with any options: whatever is not refused is read without a panic, and what is understood is valid.
func FuzzFormat(f *testing.F) {
	f.Add(header+"a,t,e,1,2026-01-01T00:00:00Z\n", ";", ",", "latin1", "Europe/Berlin", "%d.%m.%Y %H:%M", "shed", true, "on=true,off=false")
	f.Add("\xff\xfed\x00,\x00", "tab", ".", "utf-16be", "", "unix", "", false, "")
	f.Fuzz(func(t *testing.T, body, delimiter, decimal, encoding, zone, layout, device string, wide bool, values string) {
		o := Import{File: Stdin, Columns: DefaultColumns(), Format: Format{
			Delimiter: delimiter, Decimal: decimal, Encoding: encoding, TimeZone: zone, TimeFormat: layout, Device: device, Wide: wide,
		}}
		if values != "" {
			o.Format.Map = []string{values}
		}
		if o.Check() != nil {
			return
		}
		o.Stdin = io.LimitReader(strings.NewReader(body), 1<<16)
		now := time.UnixMilli(1_800_000_000_000)
		rows, err := o.Preview(now, 100)
		if err != nil {
			return
		}
		for _, row := range rows {
			if row.Problem != "" {
				continue
			}
			if field, message := row.Log.Problem(now); field != "" || row.Device == "" || row.Type == "" {
				t.Errorf("%q is read as %+v: %s %s", body, row, field, message)
			}
		}
	})
}

// TestRealDataReadsTheSameInAnotherForm rewrites readings of a real flat as a German spreadsheet would save them.
func TestRealDataReadsTheSameInAnotherForm(t *testing.T) {
	t.Parallel()
	file, err := os.Open("../demo/data/opensmarthome.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 20_000
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var plain, german strings.Builder
	lines := bufio.NewScanner(packed)
	for n := 0; n <= rows && lines.Scan(); n++ {
		plain.WriteString(lines.Text() + "\n")
		cells := strings.Split(lines.Text(), ",")
		if n > 0 {
			at, err := time.Parse(time.RFC3339, cells[4])
			if err != nil {
				t.Fatal(err)
			}
			cells[3], cells[4] = strings.Replace(cells[3], ".", ",", 1), at.In(berlin).Format("02.01.2006 15:04:05")
		}
		german.WriteString(strings.Join(cells, ";") + "\r\n")
	}
	saved, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(german.String())
	if err != nil {
		t.Fatal(err)
	}
	want, got := newMemory(), newMemory()
	for _, c := range []struct {
		to     *memory
		text   string
		format Format
	}{
		{want, plain.String(), Format{}},
		{got, saved, Format{Delimiter: ";", Decimal: ",", TimeFormat: "%d.%m.%Y %H:%M:%S", TimeZone: "Europe/Berlin"}},
	} {
		if _, err := importText(t, c.to, func(o *csvImport) { o.Open, o.Format, o.BatchRows = text(c.text), c.format, 5000 }); err != nil {
			t.Fatal(err)
		}
	}
	if len(want.rows) != rows || !slices.Equal(got.rows, want.rows) {
		t.Errorf("%d rows are read, want the same %d", len(got.rows), len(want.rows))
	}
}
