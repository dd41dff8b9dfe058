package exports_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"

	"hearth"
	"hearth/internal/core/archive"
	"hearth/internal/core/exports"
)

// collected is the values of the logs that an import reads.
type collected []hearth.Value

func (c *collected) Writable(_ context.Context, ids []string) (map[string]bool, error) {
	writable := map[string]bool{}
	for _, id := range ids {
		writable[id] = true
	}
	return writable, nil
}

func (c *collected) Create(context.Context, []archive.Device) error { return nil }

func (c *collected) Ingest(_ context.Context, batch archive.Batch) error {
	for _, e := range batch.Entries {
		*c = append(*c, e.Value)
	}
	return nil
}

func (c *collected) Checkpoint(context.Context, string) (hearth.Checkpoint, error) {
	return hearth.Checkpoint{}, hearth.NotFound("import")
}

func TestExportsKeepTheTypesOfValues(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	devices, err := b.store.DevicesByID(t.Context(), []string{"0195b000-0000-7000-8000-000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	want := collected{
		hearth.Number(0), hearth.Boolean(true), hearth.Boolean(false), hearth.Text("true"), hearth.Text(`a,"ä"`), hearth.Text("=1"), hearth.Number(-1.5),
	}
	var entries []hearth.LogEntry
	for i, v := range want {
		entries = append(entries, hearth.LogEntry{Device: devices[0].Key, Event: "typed", Value: v, At: int64(i)})
	}
	if _, err := b.store.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	export := func(format hearth.ExportFormat) []byte {
		ordered, err := b.service.Create(t.Context(), b.ann, exports.Order{
			Type: hearth.ExportLogs, Format: format, Filters: hearth.ExportFilters{Events: []string{"typed"}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.await(ordered.ID, hearth.ExportCompleted)
		file, err := b.service.Open(t.Context(), b.ann, ordered.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		data, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := export(hearth.FormatParquet)
	var got collected
	if _, err := (archive.Import{File: bytes.NewReader(data), Size: int64(len(data)), Sink: &got}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("an import of the Parquet file has %v; want %v", got, want)
	}
	for format, before := range map[hearth.ExportFormat]string{hearth.FormatCSV: "typed,", hearth.FormatNDJSON: `"value":`} {
		cells := map[hearth.ExportFormat][]string{
			hearth.FormatCSV:    {"0\r", "true\r", "false\r", "\"\"\"true\"\"\"\r", "\"a,\"\"ä\"\"\"\r", "'=1\r", "-1.5\r"},
			hearth.FormatNDJSON: {"0}", "true}", "false}", `"true"}`, `"a,\"ä\""}`, `"=1"}`, "-1.5}"},
		}[format]
		text := export(format)
		for _, cell := range cells {
			var found bool
			if _, text, found = bytes.Cut(text, []byte(before)); !found || !bytes.HasPrefix(text, []byte(cell)) {
				t.Errorf("%s has %q at the value %s", format, text, cell)
			}
		}
	}
}
