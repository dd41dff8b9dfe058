package logjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"hearth"
)

const now = 1_700_000_000_000

func TestADeviceIsOneInEitherCase(t *testing.T) {
	t.Parallel()
	const lower, upper = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0195A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"
	var decoder Decoder
	for range 2 { // a decoder remembers ids from batch to batch
		var body strings.Builder
		for _, id := range []string{upper, lower, upper, "X"} {
			fmt.Fprintf(&body, `{"device_id":%q,"event":"t","value":1}`+"\n", id)
		}
		batch, err := decoder.Decode(strings.NewReader(body.String()), Options{Format: Lines})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{lower, "X"}, batch.Devices); diff != "" {
			t.Error(diff)
		}
		for i, want := range []int64{0, 0, 0, 1} {
			if batch.Entries[i].Device != want {
				t.Errorf("log %d is of device %d, want %d", i, batch.Entries[i].Device, want)
			}
		}
		batch.Release()
	}
}

func decode(body string, format Format) (*Batch, error) {
	return judged(new(Decoder).Decode(strings.NewReader(body), Options{Format: format, Now: now}))
}

// judged turns the faults of a batch into the error that they lead to.
func judged(batch *Batch, err error) (*Batch, error) {
	if err != nil || len(batch.Faults) == 0 {
		return batch, err
	}
	fields := make([]hearth.FieldError, len(batch.Faults))
	for i, fault := range batch.Faults {
		place := fmt.Sprintf("[%d]", fault.Index)
		if fault.Location != "" {
			place += "." + fault.Location
		}
		fields[i] = hearth.FieldError{Location: place, Message: fault.Message}
	}
	return batch, hearth.Invalid(fields...)
}

func TestABatchIsReadInEveryFormat(t *testing.T) {
	t.Parallel()
	wantDevices := []string{"a", "bé"}
	wantEntries := []hearth.LogEntry{
		{Device: 0, Event: "temp", Value: hearth.Number(21.5), At: 1489017377123},
		{Device: 1, Event: "temp", Value: hearth.Number(-1e-7), At: now},
		{Device: 0, Event: "power", Value: hearth.Number(3), At: now},
	}
	items := []string{
		`{"device_id":"a","event":"temp","value":21.5,"timestamp":"2017-03-09T00:56:17.1239+01:00"}`,
		` { "value" : -1.0E-7 , "timestamp":null,	"event" : "t\u0065mp", "device\u005fid":"b\u00e9" } `,
		`{"event":"power","device_id":"a","value":3}`,
	}
	for name, body := range map[string]string{
		"array":                    "[" + strings.Join(items, ",") + "]",
		"spaced array":             " \r\n[\n" + strings.Join(items, "\n,\n\n") + " ]\n ",
		"lines":                    strings.Join(items, "\n"),
		"lines with a last end":    strings.Join(items, "\r\n") + "\r\n",
		"lines with empty between": "\n" + strings.Join(items, " \n\n \t") + "\n\n",
	} {
		format := Array
		if strings.HasPrefix(name, "lines") {
			format = Lines
		}
		for _, reader := range []io.Reader{
			strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body)), iotest.DataErrReader(strings.NewReader(body)),
		} {
			got, err := new(Decoder).Decode(reader, Options{Format: format, Now: now})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if diff := cmp.Diff(wantDevices, got.Devices) + cmp.Diff(wantEntries, got.Entries); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	single, err := decode(`{"event":"power","value":0.1}`, Single)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]hearth.LogEntry{{Event: "power", Value: hearth.Number(0.1), At: now}}, single.Entries); diff != "" {
		t.Error(diff)
	}
}

func TestAValueKeepsItsType(t *testing.T) {
	t.Parallel()
	values := map[string]hearth.Value{
		`true`: hearth.Boolean(true), `false`: hearth.Boolean(false), `"true"`: hearth.Text("true"), `"1"`: hearth.Text("1"),
		`1`: hearth.Number(1), `" "`: hearth.Text(" "), `"\ud83d\ude00\u2028\\"`: hearth.Text("😀\u2028\\"),
		`"` + strings.Repeat("😀", 256) + `"`: hearth.Text(strings.Repeat("😀", 256)),
	}
	var decoder Decoder
	for range 2 { // the second time from what the decoder remembers
		for text, want := range values {
			for _, tail := range []string{"}]", ` , "timestamp":null}]`} {
				body := `[{"device_id":"a","event":"e","value":` + text + tail
				for _, reader := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body))} {
					batch, err := decoder.Decode(reader, Options{Now: now})
					if err != nil {
						t.Fatalf("%s: %v", body, err)
					}
					if got := batch.Entries[0].Value; got != want {
						t.Errorf("%s is read as %v", body, got)
					}
					batch.Release()
				}
			}
		}
	}
}

func TestStringsThatADecoderRemembersAreBounded(t *testing.T) {
	t.Parallel()
	d := &decoder{buf: make([]byte, window), devices: map[string]device{}, events: map[string]string{}, texts: map[string]hearth.Value{}}
	var body strings.Builder
	for i := range 2*maxTexts + 10 {
		fmt.Fprintf(&body, "{\"device_id\":\"a\",\"event\":\"e\",\"value\":\"%d\"}\n", i)
	}
	d.reset(strings.NewReader(body.String()), Options{Format: Lines})
	if err := d.read(); err != nil {
		t.Fatal(err)
	}
	if len(d.texts) > maxTexts {
		t.Errorf("it remembers %d strings", len(d.texts))
	}
	if last := d.entries[len(d.entries)-1].Value; last != hearth.Text(fmt.Sprint(2*maxTexts+9)) {
		t.Errorf("the last string is %v", last)
	}
}

func TestWhatIsNotJSONIsMalformed(t *testing.T) {
	t.Parallel()
	item := `{"device_id":"a","event":"e","value":1}`
	for _, body := range []string{
		"", " ", "[", "[" + item, "[" + item + ",", "[" + item + ",]", "[,]", "[" + item + "}", "[" + item + "] x", item + item,
		"[" + item + item + "]", "nul", "[{]", "[{}", `[{"a"}]`, `[{"a":}]`, `[{"value":NaN}]`, `[{"value":Infinity}]`,
		`[{"value":-}]`, `[{"value":01}]`, `[{"value":1.}]`, `[{"value":.5}]`, `[{"value":1e}]`, `[{"value":+1}]`, `[{"value":0x1}]`,
		`[{"value":tru}]`, `[{"value":TRUE}]`, `[{"value":true1}]`, `[{"value":"\ud800"}]`, "[{\"value\":\"\xff\"}]", "[{\"value\":\"a\tb\"}]", `[{"value":"\q"}]`,
		"[{\"event\":\"\xff\"}]", "[{\"event\":\"a\x00\"}]", "[{\"event\":\"a\nb\"}]", `[{"event":"\ud800"}]`, `[{"event":"\ud800A"}]`,
		`[{"event":"\x"}]`, `[{"event":"\u12g4"}]`, `[{"event":"a}]`, `[{"value":1,"value":1}]`, `[{"value":1,"v\u0061lue":2}]`,
		`[{"x":1,"x":2}]`, `[{"x":{"y":1,"y":2}}]`, "\ufeff[]", `[{'event':1}]`, `[{"event":"e",}]`,
		"[" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "]",
		`[{"x":` + strings.Repeat(`{"x":`, 100) + "1" + strings.Repeat("}", 101) + "]",
	} {
		if _, err := decode(body, Array); hearth.ErrorCode(err) != hearth.CodeMalformedBody {
			t.Errorf("%q: got %v, want malformed_body", body, err)
		}
	}
	for _, body := range []string{"", "\n", item + item, item + " " + item, item + ",\n" + item, "{\n" + item[1:], item + "\n{", item + "\nx"} {
		if _, err := decode(body, Lines); hearth.ErrorCode(err) != hearth.CodeMalformedBody {
			t.Errorf("lines %q: got %v, want malformed_body", body, err)
		}
	}
	for _, body := range []string{"", "{", `{"event":"a","value":1}{}`, `{"event":"a","value":1}]`} {
		if _, err := decode(body, Single); hearth.ErrorCode(err) != hearth.CodeMalformedBody {
			t.Errorf("single %q: got %v, want malformed_body", body, err)
		}
	}
}

func TestWrongFieldsAreNamed(t *testing.T) {
	t.Parallel()
	good := `{"device_id":"a","event":"e","value":1}`
	item := func(value string) string { return `{"device_id":"a","event":"e","value":` + value + `}` }
	types := "must be a number, a boolean or a string"
	number := "must be a finite number of at most 1e300"
	for _, c := range []struct {
		format Format
		body   string
		want   []hearth.FieldError
	}{
		{Array, `{}`, []hearth.FieldError{{Location: "body", Message: "must be an array"}}},
		{Array, ` "x" `, []hearth.FieldError{{Location: "body", Message: "must be an array"}}},
		{Array, `[` + strings.Join([]string{item(`null`), item(`""`), item(`"a\u0000"`), item(`[1]`), item(`"` + strings.Repeat("ü", 257) + `"`)}, ",") + `]`, []hearth.FieldError{
			{Location: "[0].value", Message: types}, {Location: "[1].value", Message: hearth.TextRule},
			{Location: "[2].value", Message: hearth.TextRule}, {Location: "[3].value", Message: types},
			{Location: "[4].value", Message: hearth.TextRule},
		}},
		{Single, `{"event":"e","value":"` + strings.Repeat("x", 40_000) + `"}`, []hearth.FieldError{{Location: "[0].value", Message: hearth.TextRule}}},
		{Array, `[` + good + `,1]`, []hearth.FieldError{{Location: "[1]", Message: "must be an object"}}},
		{Lines, good + "\n[]", []hearth.FieldError{{Location: "[1]", Message: "must be an object"}}},
		{Array, `[` + good + `,{"device_id":7,"event":null,"value":null,"timestamp":5}]`, []hearth.FieldError{
			{Location: "[1].device_id", Message: "must be a string"}, {Location: "[1].event", Message: "must be a string"},
			{Location: "[1].value", Message: types}, {Location: "[1].timestamp", Message: "must be a string"},
		}},
		{Array, `[{"device_id":"a","event":"e","value":1e400}]`, []hearth.FieldError{{Location: "[0].value", Message: number}}},
		{Array, `[{"device_id":"a","event":"e","value":-1e999999999999}]`, []hearth.FieldError{{Location: "[0].value", Message: number}}},
		{Array, `[{}]`, []hearth.FieldError{
			{Location: "[0].device_id", Message: "is required"}, {Location: "[0].event", Message: "is required"},
			{Location: "[0].value", Message: "is required"},
		}},
		{Array, `[{"device_id":"a","event":"e","value":1,"id":{"$ne":[null]},"a\u0000b":2}]`, []hearth.FieldError{
			{Location: "[0].id", Message: "is not a known field"}, {Location: "[0].a?b", Message: "is not a known field"},
		}},
		{Single, `{"device_id":"a","event":"e","value":1}`, []hearth.FieldError{{Location: "[0].device_id", Message: "is not a known field"}}},
		{Single, `{"event":"e"}`, []hearth.FieldError{{Location: "[0].value", Message: "is required"}}},
		{Single, `[]`, []hearth.FieldError{{Location: "[0]", Message: "must be an object"}}},
		{Single, `{"event":"e","value":1,"timestamp":"yesterday"}`, []hearth.FieldError{
			{Location: "[0].timestamp", Message: "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z"},
		}},
	} {
		_, err := decode(c.body, c.format)
		failure, ok := errors.AsType[*hearth.Error](err)
		if !ok || failure.Code != hearth.CodeValidationFailed {
			t.Errorf("%s: got %v, want validation_failed", c.body, err)
			continue
		}
		if diff := cmp.Diff(c.want, failure.Fields); diff != "" {
			t.Errorf("%s: %s", c.body, diff)
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	item := `{"device_id":"a","event":"e","value":1}`
	full := strings.TrimSuffix(strings.Repeat(item+",", hearth.MaxLogBatch), ",")
	batch, err := decode("["+full+"]", Array)
	if err != nil || len(batch.Entries) != hearth.MaxLogBatch {
		t.Fatalf("a full batch: %v", err)
	}
	for name, body := range map[string]string{
		"an item too many":       "[" + full + "," + item + "]",
		"an item of 70 KB":       `[{"device_id":"` + strings.Repeat("a", 70_000) + `","event":"e","value":1}]`,
		"an item of 70 KB space": `[{"device_id":` + strings.Repeat(" ", 70_000) + `"a","event":"e","value":1}]`,
		"30 wrong items":         "[" + strings.TrimSuffix(strings.Repeat("{},", 30), ",") + "]",
		"30 items all wrong":     "[" + strings.TrimSuffix(strings.Repeat(`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"value":[],"timestamp":0},`, 30), ",") + "]",
	} {
		_, err := decode(body, Array)
		failure, ok := errors.AsType[*hearth.Error](err)
		if !ok || failure.Code != hearth.CodeValidationFailed || len(failure.Fields) > hearth.MaxWrongLogs*maxItemFaults {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if batch, err := decode("["+strings.Repeat(" ", 200_000)+"]", Array); err != nil || len(batch.Entries) != 0 {
		t.Errorf("much space in an empty array: %v", err)
	}
}

func TestAReadersErrorComesBack(t *testing.T) {
	t.Parallel()
	broken := errors.New("cut")
	for _, start := range []string{"", "[", `[{"device_id":"a`, `[{"device_id":"a","event":"e","value":1}`} {
		_, err := new(Decoder).Decode(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)), Options{})
		if !errors.Is(err, broken) {
			t.Errorf("after %q: got %v", start, err)
		}
	}
}

func TestAPooledDecoderKeepsBatchesApart(t *testing.T) {
	t.Parallel()
	var decoder Decoder
	for round := range 50 {
		body := fmt.Sprintf(`[{"device_id":"d%d","event":"e%d","value":%d},{"device_id":"d0","event":"e0","value":1}]`, round, round, round)
		batch, err := decoder.Decode(strings.NewReader(body), Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{fmt.Sprint("d", round), "d0"} {
			if got := batch.Devices[batch.Entries[i].Device]; got != id {
				t.Fatalf("round %d: entry %d is of %s, want %s", round, i, got, id)
			}
		}
		batch.Release()
		if _, err := decoder.Decode(strings.NewReader(`[{"device_id":"x","event":"y"},`), Options{}); err == nil {
			t.Fatal("half a body was read")
		}
	}
}

// wire is what the standard library reads an item into.
type wire struct {
	DeviceID  *string `json:"device_id"`
	Event     *string `json:"event"`
	Value     any     `json:"value"`
	Timestamp *string `json:"timestamp"`
}

// FuzzDecode holds Decode against two JSON libraries: one for what is valid (strictly: no duplicate keys, no invalid
// UTF-8), one for what it says.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[{"device_id":"a","event":"e","value":1.5e3,"timestamp":"2024-02-29T12:00:00.123+02:00"}]`,
		`[{"device_id":"\ud83d\ude00\u00e9","event":"e","value":-0,"x":[{},[],"",null,true,false,-1.5E-3]}]`,
		`[{"device_id":"a","event":"e","value":true},{"device_id":"a","event":"e","value":false},{"device_id":"a","event":"e","value":"on"}]`,
		`[{"device_id":"a","event":"e","value":"\ud83d\ude00\u00e9 \"t\u0072ue\""}]`, `[{"device_id":"a","event":"e","value":"a\u0000b"}]`,
		`[{"device_id":"a","event":"e","value":""}]`, `[{"device_id":"a","event":"e","value":"` + strings.Repeat("\u00fc", 257) + `"}]`,
		`[{"device_id":"a","event":"e","value":"\udc00"}]`, "[{\"device_id\":\"a\",\"event\":\"e\",\"value\":\"\xc3\"}]",
		`[{"value":1e400}]`, `[{"value":9007199254740993,"value":2}]`, `[[[[]]]]`, `{}`, `[1, 2 ,3]`, "[{\"event\":\"\xff\"}]", `[{"event":"\ud800"}]`,
		`[{"device_id":"a","event":"e","value":123456789012345678901234567890.5,"timestamp":null}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		batch, err := judged(new(Decoder).Decode(strings.NewReader(body), Options{Now: now}))
		byByte, again := judged(new(Decoder).Decode(iotest.OneByteReader(strings.NewReader(body)), Options{Now: now}))
		if fmt.Sprint(err) != fmt.Sprint(again) {
			t.Fatalf("%q: read whole %v, byte by byte %v", body, err, again)
		}
		valid := jsontext.Value(body).IsValid()
		if valid && !json.Valid([]byte(body)) {
			t.Fatalf("%q: the judges disagree", body)
		}
		failure, _ := errors.AsType[*hearth.Error](err)
		switch {
		case err == nil && !valid:
			t.Fatalf("%q was read but is not valid", body)
		case err == nil:
		case failure == nil:
			t.Fatalf("%q: a foreign error: %v", body, err)
		case failure.Code == hearth.CodeMalformedBody:
			if valid && !strings.Contains(failure.Message, "too deeply") {
				t.Fatalf("%q is valid but was called malformed: %v", body, err)
			}
			return
		case failure.Code == hearth.CodeValidationFailed:
			if !valid && len(failure.Fields) < hearth.MaxWrongLogs && len(body) < window {
				t.Fatalf("%q is not valid but was read to its end: %v", body, err)
			}
			return
		default:
			t.Fatalf("%q: %v", body, err)
		}
		if diff := cmp.Diff(batch.Entries, byByte.Entries); diff != "" {
			t.Fatalf("%q: whole and byte by byte differ: %s", body, diff)
		}
		var want []wire
		reader := json.NewDecoder(bytes.NewReader([]byte(body)))
		reader.DisallowUnknownFields()
		if err := reader.Decode(&want); err != nil || len(want) != len(batch.Entries) {
			t.Fatalf("%q: the library says %v, %d items", body, err, len(want))
		}
		for i, entry := range batch.Entries {
			at := int64(now)
			if want[i].Timestamp != nil {
				parsed, err := time.Parse(time.RFC3339Nano, *want[i].Timestamp)
				if err != nil {
					t.Fatalf("%q: %v", body, err)
				}
				at = parsed.UnixMilli()
			}
			if batch.Devices[entry.Device] != *want[i].DeviceID || entry.Event != *want[i].Event || entry.At != at ||
				!same(entry.Value, want[i].Value) {
				t.Fatalf("%q: item %d is %+v", body, i, entry)
			}
		}
	})
}

// same reports whether the value is what the library reads; for numbers, bit by bit.
func same(got hearth.Value, want any) bool {
	switch want := want.(type) {
	case float64:
		return got.Kind() == hearth.NumberKind && math.Float64bits(got.Number()) == math.Float64bits(want)
	case bool:
		return got == hearth.Boolean(want)
	case string:
		return hearth.ValidText(want) && got == hearth.Text(want)
	}
	return false
}

// FuzzDecodeLines wants NDJSON to be read as its lines would be in an array.
func FuzzDecodeLines(f *testing.F) {
	f.Add("{\"device_id\":\"a\",\"event\":\"e\",\"value\":1}\n{\"device_id\":\"b\",\"event\":\"e\",\"value\":2}\n")
	f.Add("\n\n{} \n{\"x\":1}")
	f.Fuzz(func(t *testing.T, body string) {
		batch, err := decode(body, Lines)
		var lines []string
		for line := range strings.SplitSeq(body, "\n") {
			if strings.Trim(line, " \t\r") != "" {
				lines = append(lines, line)
			}
		}
		if len(lines) == 0 {
			if hearth.ErrorCode(err) != hearth.CodeMalformedBody {
				t.Fatalf("%q: nothing was read as something: %v", body, err)
			}
			return
		}
		valid := true
		for _, line := range lines {
			valid = valid && jsontext.Value(line).IsValid()
		}
		array, arrayErr := decode("["+strings.Join(lines, ",")+"]", Array)
		if !valid {
			// Joined by commas, invalid lines may come out valid; as lines they never do.
			if err == nil {
				t.Fatalf("%q was read but is not valid", body)
			}
			return
		}
		if hearth.ErrorCode(err) != hearth.ErrorCode(arrayErr) {
			t.Fatalf("%q: as lines %v, as an array %v", body, err, arrayErr)
		}
		if err == nil {
			if diff := cmp.Diff(array.Entries, batch.Entries); diff != "" {
				t.Fatalf("%q: %s", body, diff)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	number := func(i int) string { return fmt.Sprintf("%d.%02d", 15+i%10, i%100) }
	for _, c := range []struct {
		name    string
		devices int
		value   func(i int) string
	}{
		{"devices=1", 1, number},
		{"devices=1000", 1000, number},
		{"booleans", 1, func(i int) string { return fmt.Sprint(i%3 == 0) }},
		{"strings=10", 1, func(i int) string { return fmt.Sprintf("%q", fmt.Sprint("state ", i%10)) }},
		{"strings=5000", 1, func(i int) string { return fmt.Sprintf("%q", fmt.Sprint("reading ", i)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			var body bytes.Buffer
			body.WriteByte('[')
			for i := range 5000 {
				if i > 0 {
					body.WriteByte(',')
				}
				fmt.Fprintf(&body, `{"device_id":"0199a1b2-c3d4-7000-8000-%012d","event":"temperature","value":%s,"timestamp":"2026-01-31T12:%02d:%02d.%03dZ"}`,
					i%c.devices, c.value(i), i/60%60, i%60, i%1000)
			}
			body.WriteByte(']')
			var decoder Decoder
			reader := bytes.NewReader(nil)
			b.SetBytes(int64(body.Len()))
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(body.Bytes())
				batch, err := decoder.Decode(reader, Options{Now: now})
				if err != nil {
					b.Fatal(err)
				}
				batch.Release()
			}
		})
	}
}
