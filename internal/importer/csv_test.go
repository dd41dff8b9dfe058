package importer

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// memory is a csvSink that keeps rows as text, and can be cut off before or after a batch.
type memory struct {
	names       map[string]string // id by name
	kinds       map[string]string
	rows        []string
	checkpoints map[string]hearth.Checkpoint
	// cutAt is the batch that fails, -1 for none; stored reports whether it was stored all the same.
	cutAt  int
	stored bool
}

var errCut = errors.New("cut off")

func newMemory() *memory {
	return &memory{names: map[string]string{}, kinds: map[string]string{}, checkpoints: map[string]hearth.Checkpoint{}, cutAt: -1}
}

func (m *memory) Devices(context.Context) (map[string]string, error) {
	return maps.Clone(m.names), nil
}

func (m *memory) Writable(_ context.Context, ids []string) (map[string]bool, error) {
	writable := map[string]bool{}
	for _, id := range ids {
		writable[id] = m.kinds[id] != ""
	}
	return writable, nil
}

func (m *memory) Create(_ context.Context, devices []csvDevice) (ids []string, err error) {
	for _, d := range devices {
		if d.ID != "" {
			if m.kinds[d.ID] != "" {
				return nil, fmt.Errorf("%s is made twice", d.ID)
			}
			m.kinds[d.ID] = fmt.Sprintf("%q, a %q", d.Name, d.Type)
			ids = append(ids, d.ID)
			continue
		}
		if m.names[d.Name] != "" {
			return nil, fmt.Errorf("%s is made twice", d.Name)
		}
		m.names[d.Name], m.kinds[d.Name] = "id of "+d.Name, d.Type
		ids = append(ids, m.names[d.Name])
	}
	return ids, nil
}

func (m *memory) Ingest(_ context.Context, batch csvBatch) error {
	cut := m.cutAt == 0
	m.cutAt--
	if cut && !m.stored {
		return errCut
	}
	for i, e := range batch.Entries {
		m.rows = append(m.rows, fmt.Sprintf("%d: %s %s %v %d", batch.Lines[i], batch.Devices[e.Device], e.Event, e.Value, e.At))
	}
	m.checkpoints[batch.Checkpoint.ID] = batch.Checkpoint
	if cut {
		return errCut
	}
	return nil
}

func (m *memory) Checkpoint(_ context.Context, id string) (hearth.Checkpoint, error) {
	if c, ok := m.checkpoints[id]; ok {
		return c, nil
	}
	return hearth.Checkpoint{}, hearth.NotFound("import")
}

func text(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func zipped(t *testing.T, s string) func() (io.ReadCloser, error) {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
}

func importText(t *testing.T, m *memory, change func(*csvImport)) (Progress, error) {
	t.Helper()
	options := csvImport{Sink: m, Target: "me", Columns: DefaultColumns(), BatchRows: 3}
	change(&options)
	return options.run(t.Context())
}

const header = "device,type,event,value,timestamp\n"

// manyRows returns rows that are all different.
func manyRows(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "d%d,kind,e%d,%d.5,2026-01-01T00:%02d:%02d.000Z\n", i%4, i%3, i, i/60%60, i%60)
	}
	return b.String()
}

func wantRows(t *testing.T, m *memory, n int) {
	t.Helper()
	rows := slices.Clone(m.rows)
	slices.Sort(rows)
	if len(slices.Compact(rows)) != n || len(m.rows) != n {
		t.Errorf("%d rows, %d different ones, want %d", len(m.rows), len(slices.Compact(rows)), n)
	}
}

func TestRowsAreReadAsTheyStand(t *testing.T) {
	t.Parallel()
	m := newMemory()
	body := "\ufeffvalue,\"de\"\"v\",when,kind\r\n" +
		"1e3,\"a,\"\"b\"\"\",2026-01-01T00:00:00Z,lamp\r\n" +
		"\r\n" +
		" -0.5 ,ü,2026-01-01T01:00:00+01:00,\n" +
		"7,ü,2026-01-01T00:00:00.0019Z,late"
	p, err := importText(t, m, func(o *csvImport) {
		o.Open, o.Event = text(body), "power"
		o.Columns = Columns{Device: `de"v`, Type: "kind", Value: "value", Timestamp: "when"}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`2: id of a,"b" power 1000 1767225600000`, `4: id of ü power -0.5 1767225600000`, `5: id of ü power 7 1767225600001`,
	}
	if diff := cmp.Diff(want, m.rows) + cmp.Diff(map[string]string{`a,"b"`: "lamp", "ü": "device"}, m.kinds); diff != "" {
		t.Error(diff)
	}
	if p.Rows != 3 || p.Devices != 2 || p.Before != 0 {
		t.Errorf("the progress is %+v", p)
	}
}

func TestAnImportThatIsCutOffAnywhereGoesOn(t *testing.T) {
	t.Parallel()
	const n = 20
	for cut := range 8 {
		for _, stored := range []bool{false, true} {
			m := newMemory()
			m.cutAt, m.stored = cut, stored
			source := zipped(t, header+manyRows(n))
			_, err := importText(t, m, func(o *csvImport) { o.Open = source })
			if cut < 7 && !errors.Is(err, errCut) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			p, err := importText(t, m, func(o *csvImport) { o.Open, o.BatchRows = source, 5 })
			if err != nil {
				t.Fatal(err)
			}
			wantRows(t, m, n)
			if p.Before+p.Rows != n {
				t.Errorf("cut at %d: the progress is %+v", cut, p)
			}
		}
	}
}

// endless is a text of one line without an end. Its context is cancelled once more is read than any line may have.
type endless struct {
	cancel context.CancelFunc
	read   int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 4*maxLine {
		e.cancel()
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestAnImportStopsWithinALine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	text := &endless{cancel: cancel}
	_, err := csvImport{
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(header+manyRows(1)), text)), nil
		},
		Sink: &memory{}, Target: "me", Columns: DefaultColumns(), SkipInvalid: true,
	}.run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the import ended with %v", err)
	}
}

func TestAFileImportedTwiceAddsOnlyWhatWasAppended(t *testing.T) {
	t.Parallel()
	m := newMemory()
	rows := manyRows(30)
	for _, end := range []int{10, 10, 11, 17, 30, 30} {
		part := header + strings.Join(strings.SplitAfter(rows, "\n")[:end], "")
		for _, source := range []func() (io.ReadCloser, error){text(strings.TrimSuffix(part, "\n")), text(part), zipped(t, part)} {
			if _, err := importText(t, m, func(o *csvImport) { o.Open = source }); err != nil {
				t.Fatal(err)
			}
			wantRows(t, m, end)
		}
	}
	// Line numbers go on as if the file had been read at once.
	if last := m.rows[29]; !strings.HasPrefix(last, "31: ") {
		t.Errorf("the last row is %q", last)
	}
	// For somebody else, or read otherwise, it is another import.
	if _, err := importText(t, m, func(o *csvImport) { o.Open, o.Target = text(header+rows), "you" }); err != nil {
		t.Fatal(err)
	}
	if len(m.rows) != 60 {
		t.Errorf("%d rows after the import for another", len(m.rows))
	}
}

func TestFilesThatBeginAlikeAreToldApart(t *testing.T) {
	t.Parallel()
	m := newMemory()
	first := header + manyRows(10)
	second := header + manyRows(4) + strings.ReplaceAll(manyRows(10), "d", "x")
	third := header + manyRows(1) + strings.ReplaceAll(manyRows(3), "d", "y")
	total := 0
	for _, c := range []struct {
		file string
		rows int
	}{{first, 10}, {second, 14}, {third, 4}, {second, 0}, {third + manyRows(2), 2}, {first, 0}, {second + manyRows(1), 1}} {
		p, err := importText(t, m, func(o *csvImport) { o.Open = text(c.file) })
		if err != nil {
			t.Fatal(err)
		}
		total += c.rows
		if p.Rows != int64(c.rows) || len(m.rows) != total {
			t.Errorf("got %+v and %d rows, want %d and %d", p, len(m.rows), c.rows, total)
		}
	}
}

func TestWrongRowsAreNamedByLine(t *testing.T) {
	t.Parallel()
	body := header + manyRows(4) +
		"a,b,e,,2026-01-01T00:00:00Z\n" + // 6
		"a,b,e,1\n" +
		"a,b,e!,1,2026-01-01T00:00:00Z\n" +
		",b,e,1,2026-01-01T00:00:00Z\n" +
		"a,b,e,1,yesterday\n" + // 10
		"a,b,e,1e301,2026-01-01T00:00:00Z\n" +
		"a,b,\"e,1,2026-01-01T00:00:00Z\n" +
		"a,b,e,1,9026-01-01T00:00:00Z\n" +
		"\xff,b,e,1,2026-01-01T00:00:00Z\n" +
		strings.Repeat("a", 70_000) + ",b,e,1,2026-01-01T00:00:00Z\n" + // 15
		"a,b,e,1e400,2026-01-01T00:00:00Z\n" +
		manyRows(2)
	m := newMemory()
	_, err := importText(t, m, func(o *csvImport) { o.Open, o.BatchRows = text(body), 100 })
	invalid, ok := errors.AsType[*InvalidRows](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	want := []string{
		"line 6: value must be a number, true, false or a string of 1 to 256 characters, none of them a control character", "line 7: has 4 columns, not 5", "line 8: event must be 1 to 64 letters, digits and _.:*/-",
		"line 9: device must not be empty", "line 10: timestamp must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z",
		"line 11: value must be a finite number of at most 1e300", "line 12: has a quote that is not closed",
		"line 13: timestamp is more than 24 hours in the future", "line 14: is not UTF-8 without NUL", "line 15: is longer than 64 KiB",
		"line 16: value must be a finite number of at most 1e300",
	}
	if diff := cmp.Diff(want, invalid.Rows); diff != "" {
		t.Error(diff)
	}
	if len(m.rows) != 0 {
		t.Errorf("%d rows of a wrong batch were stored", len(m.rows))
	}
	p, err := importText(t, m, func(o *csvImport) { o.Open, o.SkipInvalid = text(body), true })
	if err != nil || p.Rows != 6 || p.Skipped != 11 {
		t.Errorf("skipping gave %+v %v", p, err)
	}
	p, err = importText(t, m, func(o *csvImport) { o.Open, o.SkipInvalid = text(body), true })
	if err != nil || p.Rows != 0 || p.Skipped != 0 || p.Before != 6 {
		t.Errorf("skipping again gave %+v %v", p, err)
	}
}

func TestAFileThatIsNotOneIsRefused(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func() (io.ReadCloser, error){
		"an empty file":    text(""),
		"another header":   text("time,value\n1,2\n"),
		"a broken header":  text("device,\"type\n"),
		"a cut gzip":       func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("\x1f\x8b\x08")), nil },
		"a file not there": func() (io.ReadCloser, error) { return nil, errors.New("not there") },
	} {
		if _, err := importText(t, newMemory(), func(o *csvImport) { o.Open = source }); err == nil {
			t.Errorf("%s was imported", name)
		}
	}
}

// FuzzSplitRow holds the splitting of rows against the standard library's.
func FuzzSplitRow(f *testing.F) {
	for _, seed := range []string{`a,b,c`, `"a,""b",,"",x`, `"`, `a"b`, `"a"b`, `,`, ` "a"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") || line == "" {
			return
		}
		got, err := splitRow([]byte(line), ',', nil)
		reader := csv.NewReader(strings.NewReader(line))
		want, wantErr := reader.Read()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, the library says %v", line, err, wantErr)
		}
		if err != nil {
			return
		}
		fields := make([]string, len(got))
		for i := range got {
			fields[i] = string(got[i])
		}
		if !slices.Equal(fields, want) {
			t.Fatalf("%q: %q, want %q", line, fields, want)
		}
	})
}

// FuzzParseRow wants every line read without a panic, and nothing taken that the rules refuse.
func FuzzParseRow(f *testing.F) {
	f.Add("a,b,e,1.5,2026-01-01T00:00:00Z")
	f.Add("\"a\"\"\",,e,-1e300,2026-01-01T00:00:00.999+05:30")
	now := time.UnixMilli(1_800_000_000_000)
	plain, err := Format{}.parse()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		l, err := layoutOf([]byte(strings.TrimSpace(header)), csvImport{Columns: DefaultColumns(), format: plain})
		if err != nil {
			t.Fatal(err)
		}
		row, problem := l.parse([]byte(line), now)
		if problem != "" {
			return
		}
		field, message := hearth.LogEntry{Event: row.readings[0].event, Value: row.readings[0].value, At: row.at}.Problem(now)
		if field != "" || len(row.device) == 0 || len(row.kind) == 0 {
			t.Errorf("%q was read as %+v: %s %s", line, row, field, message)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := header + manyRows(50_000)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		_, err := csvImport{Open: text(body), Sink: &discard{}, Columns: DefaultColumns()}.run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(50_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// discard is a csvSink that keeps nothing.
type discard struct{}

func (discard) Devices(context.Context) (map[string]string, error)          { return map[string]string{}, nil }
func (discard) Writable(context.Context, []string) (map[string]bool, error) { return nil, nil }
func (discard) Create(_ context.Context, devices []csvDevice) ([]string, error) {
	return make([]string, len(devices)), nil
}
func (discard) Ingest(context.Context, csvBatch) error { return nil }
func (discard) Checkpoint(context.Context, string) (hearth.Checkpoint, error) {
	return hearth.Checkpoint{}, hearth.NotFound("import")
}

func TestValuesKeepTheirTypesAndRowsTheirLines(t *testing.T) {
	t.Parallel()
	m := newMemory()
	body := header +
		"\"a\n\"\"b\"\"\r\n;c\",k,e,on,2026-01-01T00:00:00Z\r\n" + // lines 2 to 4
		"a,k,e,true,2026-01-01T00:00:00Z\n" +
		"a,k,e,\"\"\"true\"\"\",2026-01-01T00:00:00Z\n" +
		"a,k,e,'=1,2026-01-01T00:00:00Z\n" +
		"a,k,e,NaN,2026-01-01T00:00:00Z"
	for range 2 {
		if _, err := importText(t, m, func(o *csvImport) { o.Open, o.BatchRows = text(body), 1 }); err != nil {
			t.Fatal(err)
		}
		body += "\n\"x\ny\",k,e,1,2026-01-01T00:00:00Z" // what is appended goes on behind a row of several lines
	}
	want := []string{
		"2: id of a\n\"b\"\r\n;c e on 1767225600000", "5: id of a e true 1767225600000", "6: id of a e true 1767225600000",
		"7: id of a e =1 1767225600000", "8: id of a e NaN 1767225600000", "9: id of x\ny e 1 1767225600000",
	}
	if diff := cmp.Diff(want, m.rows); diff != "" {
		t.Error(diff)
	}
}

func TestExportsInJSONAreRead(t *testing.T) {
	t.Parallel()
	const id, other = "0195b000-0000-7000-8000-000000000001", "0195b000-0000-7000-8000-000000000002"
	rows := []string{
		`{"timestamp":"2026-01-01T00:00:00.000Z","device_id":"` + id + `","device_name":" =1+1 ","device_type":"k","event":"e","value":"1"}`,
		`{"timestamp":"2026-01-01T00:00:01.000Z","device_id":"` + other + `","device_name":" =1+1 ","device_type":"k","event":"e","value":true}`,
	}
	for name, body := range map[string]string{
		"ndjson": rows[0] + "\n" + rows[1] + "\n", "json": "[\n" + rows[0] + ",\n" + rows[1] + "\n]\n",
	} {
		m := newMemory()
		for again, want := range []int64{2, 0} {
			p, err := importText(t, m, func(o *csvImport) { o.Open = text(body) })
			if err != nil || p.Rows != want {
				t.Fatalf("%s, time %d: %+v %v", name, again, p, err)
			}
		}
		if m.kinds[id] != `" =1+1 ", a "k"` || m.kinds[other] != m.kinds[id] || len(m.names) != 0 || len(m.rows) != 2 {
			t.Errorf("%s: devices %v, rows %q", name, m.kinds, m.rows)
		}
	}
	for name, row := range map[string]string{
		"an unknown field": `{"timestamp":"2026-01-01T00:00:00Z","x":1}`, "no id": strings.Replace(rows[0], id, "x", 1), "half": rows[0][:40],
		"null": strings.Replace(rows[0], `"value":"1"`, `"value":null`, 1), "two": rows[0] + rows[1],
		"a control character": strings.Replace(rows[0], `"value":"1"`, `"value":"a\u0007"`, 1), "no event": strings.Replace(rows[0], `"e"`, `""`, 1),
	} {
		if _, err := importText(t, newMemory(), func(o *csvImport) { o.Open = text(rows[1] + "\n" + row + "\n") }); err == nil {
			t.Errorf("%s was imported", name)
		}
	}
}
