package csvlog_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"hearth/internal/csvlog"
)

const sample = `device,type,event,value,timestamp
kitchen,sensor,temperature,21.5,2017-03-08T23:56:17.000Z
"hall, north",sensor,humidity,-4e1,2017-03-09T00:56:17.25+01:00
`

func TestReadsRowsPlainAndGzipped(t *testing.T) {
	t.Parallel()
	want := []csvlog.Row{
		{Line: 2, Device: "kitchen", Type: "sensor", Event: "temperature", Value: 21.5, At: 1489017377000},
		{Line: 3, Device: "hall, north", Type: "sensor", Event: "humidity", Value: -40, At: 1489017377250},
	}
	files := map[string]string{
		"plain":             sample,
		"gzipped":           zipped(t, sample),
		"with a BOM":        "\uFEFF" + sample,
		"with Windows ends": strings.ReplaceAll(sample, "\n", "\r\n"),
		"without last end":  strings.TrimSuffix(sample, "\n"),
	}
	for name, file := range files {
		got, err := rows(strings.NewReader(file), csvlog.Columns{})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got, err := rows(iotest.OneByteReader(strings.NewReader(zipped(t, sample))), csvlog.Columns{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("byte by byte: got %+v, %v", got, err)
	}
}

func TestColumnsAreMappedByName(t *testing.T) {
	t.Parallel()
	file := "when,who,reading,what\n2017-03-08T23:56:17Z,kitchen,1,power\n"
	got, err := rows(strings.NewReader(file), csvlog.Columns{Device: "who", Event: "what", Value: "reading", Timestamp: "when"})
	want := []csvlog.Row{{Line: 2, Device: "kitchen", Event: "power", Value: 1, At: 1489017377000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestAMistakeIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	head, good := "device,type,event,value,timestamp\n", "d,t,e,1,2017-03-08T23:56:17Z\n"
	tests := map[string]struct{ file, want string }{
		"empty file":           {"", "the file is empty"},
		"no such column":       {"device,type,event,value,time\n", `no column "timestamp" for the timestamp, only device`},
		"column twice":         {"device,type,event,value,timestamp,value\n", `the column "value" twice`},
		"no number":            {head + good + "d,t,e,warm,2017-03-08T23:56:17Z\n", `line 3: the value must be a finite number, not "warm"`},
		"not finite":           {head + "d,t,e,NaN,2017-03-08T23:56:17Z\n", "line 2: the value"},
		"too large":            {head + "d,t,e,1e400,2017-03-08T23:56:17Z\n", "line 2: the value"},
		"no time":              {head + "d,t,e,1,yesterday\n", `line 2: the timestamp must be like`},
		"no device":            {head + ",t,e,1,2017-03-08T23:56:17Z\n", "line 2: the device has no name"},
		"field missing":        {head + "d,t,e,1\n", "line 2"},
		"field too many":       {head + good + "d,t,e,1,2017-03-08T23:56:17Z,x\n", "line 3"},
		"quote inside":         {head + "d\"x,t,e,1,2017-03-08T23:56:17Z\n", "line 2"},
		"quote not closed":     {head + "\"d,t,e,1,2017-03-08T23:56:17Z\n" + strings.Repeat(good, 80_000), "a record is longer than 1 MiB"},
		"broken gzip":          {zipped(t, sample)[:20], "unexpected EOF"},
		"a gzip that is none":  {"\x1f\x8bplain", "begins like gzip"},
		"a value of a novel":   {head + "d,t,e," + strings.Repeat("x", 100) + ",2017-03-08T23:56:17Z\n", strings.Repeat("x", 40) + `"`},
		"a line of binary":     {head + "\x00\x01\n", "line 2"},
		"mapped but not there": {"a\n", `no column "device"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := rows(strings.NewReader(tt.file), csvlog.Columns{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
}

func TestBatchesOfTheSameFileHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	file := "device,type,event,value,timestamp\n" + strings.Repeat("d,t,e,1,2017-03-08T23:56:17Z\n", 25)
	first, second := keys(t, file, 10), keys(t, zipped(t, file), 10)
	if len(first) != 3 || !slices.Equal(first, second) {
		t.Fatalf("read twice, the keys are %v and %v; want the same three", first, second)
	}
	if first[0] == first[1] {
		t.Error("two batches with the same rows have one key: the second would be left out")
	}
	changed := keys(t, strings.Replace(file, "d,t,e,1,", "d,t,e,2,", 1), 10)
	moved := keys(t, strings.Replace(file, "d,t,e,1,", "dt,,e,1,", 1), 10)
	for i := range first {
		if first[i] == changed[i] || first[i] == moved[i] {
			t.Errorf("batch %d keeps its key although a row at or before it is another", i)
		}
	}
}

func TestRowsBeforeAMistakeAreGivenFirst(t *testing.T) {
	t.Parallel()
	file := "device,type,event,value,timestamp\n" + strings.Repeat("d,t,e,1,2017-03-08T23:56:17Z\n", 3) + "d,t,e,x,2017-03-08T23:56:17Z\n"
	reader, err := csvlog.NewReader(strings.NewReader(file), csvlog.Columns{})
	if err != nil {
		t.Fatal(err)
	}
	batches := csvlog.NewBatches(reader, 10)
	if batch, err := batches.Next(); err != nil || len(batch.Rows) != 3 {
		t.Fatalf("got %d rows, %v; want the 3 good ones", len(batch.Rows), err)
	}
	for range 2 {
		if _, err := batches.Next(); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "line 5") {
			t.Errorf("got %v; want the mistake in line 5, and again", err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, seed := range []string{sample, "", "device,event,value,timestamp\n\"\"\"x\",e,1,2017-03-08T23:56:17Z", "\x1f\x8b\x08\x00", "\uFEFFdevice"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := rows(bytes.NewReader(file), csvlog.Columns{})
		if err == nil {
			return
		}
		for _, row := range got {
			if row.Device == "" || math.IsNaN(row.Value) {
				t.Fatalf("gave the row %+v", row)
			}
		}
	})
}

func BenchmarkBatches(b *testing.B) {
	file := "device,type,event,value,timestamp\n" + strings.Repeat("room3-multisensor,multisensor,temperature,21.5,2017-03-08T23:56:17.000Z\n", 50_000)
	b.ReportAllocs()
	for b.Loop() {
		reader, err := csvlog.NewReader(strings.NewReader(file), csvlog.Columns{})
		if err != nil {
			b.Fatal(err)
		}
		batches := csvlog.NewBatches(reader, 5000)
		for {
			if _, err := batches.Next(); err != nil {
				break
			}
		}
	}
	b.ReportMetric(50_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func rows(r io.Reader, columns csvlog.Columns) ([]csvlog.Row, error) {
	reader, err := csvlog.NewReader(r, columns)
	if err != nil {
		return nil, err
	}
	var all []csvlog.Row
	for {
		row, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		}
		all = append(all, row)
	}
}

func keys(t *testing.T, file string, size int) []string {
	t.Helper()
	reader, err := csvlog.NewReader(strings.NewReader(file), csvlog.Columns{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for batches := csvlog.NewBatches(reader, size); ; {
		batch, err := batches.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, batch.Key)
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
