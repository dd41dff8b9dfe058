package exports_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/blob/dirblob"
	"hearth/internal/core/devices"
	"hearth/internal/core/exports"
	"hearth/internal/core/telemetry"
	"hearth/internal/importer"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// remote is another installation, of ann's too.
func remote(t *testing.T) (*sqlite.Store, *importer.Importer) {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := devices.New(devices.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	files, err := dirblob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fleet.Stop()
		if err := files.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ann := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x")}
	if err := store.CreateUser(t.Context(), ann, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	logs, err := telemetry.New(telemetry.Options{Store: store, Audit: store, Directory: fleet})
	if err != nil {
		t.Fatal(err)
	}
	roles := func(context.Context, string) (map[string]hearth.OrgRole, error) { return nil, nil }
	return store, &importer.Importer{Store: store, Roles: roles, Devices: fleet, Telemetry: logs, Files: files, DataDir: dir}
}

// content returns devices and logs as text, by id.
func content(t *testing.T, store *sqlite.Store, ids []string) (lines []string) {
	t.Helper()
	found, err := store.DevicesByID(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[int64]string{}
	for _, d := range found {
		byKey[d.Key] = d.ID
		lines = append(lines, fmt.Sprintf("%s %q %q of %s", d.ID, d.Name, d.Type, d.OwnerID))
	}
	for entry, err := range store.ScanLogs(t.Context(), hearth.LogScan{Reach: hearth.Reach{All: true}, Span: hearth.Export{}.Span()}) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %q at %d", byKey[entry.Device], entry.Event, entry.Value.Kind(), entry.Value, entry.At))
	}
	slices.Sort(lines)
	return lines
}

func TestEveryExportOfLogsIsImportedAsItWas(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	names := []string{"lamp", "lamp", " a ", "=1+1", "'=1+1", "a\n=1\r\nb", `"quoted"`, "a;=1,b\t@c", "true", "-", "＝1", "{x}", "Küche 🏠", "'"}
	values := []hearth.Value{
		hearth.Number(-1.5), hearth.Number(1e21), hearth.Number(5e-324), hearth.Boolean(true), hearth.Boolean(false), hearth.Text("true"), hearth.Text("FALSE"),
		hearth.Text("1"), hearth.Text("1,5"), hearth.Text(" x "), hearth.Text(`"`), hearth.Text(`"a"`), hearth.Text("=1"), hearth.Text("'=1"), hearth.Text("a;=1"),
		hearth.Text("null"), hearth.Text("\u2028"), hearth.Text("🏠"), hearth.Text("[1]"), hearth.Text(`\u0041`),
	}
	ids := []string{"0195b000-0000-7000-8000-000000000001"}
	var entries []hearth.LogEntry
	for i, name := range names {
		id := fmt.Sprintf("0195b000-0000-7000-8000-0000000001%02d", i)
		ids = append(ids, id)
		made, err := b.store.CreateDevices(t.Context(), []hearth.Device{{
			ID: id, Name: name, Type: name, Status: hearth.StatusActive, Interval: 60, OwnerID: "ann", Version: 1, CreatedAt: time.Now(), UpdatedAt: time.Now(),
		}}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		for n, v := range values {
			entries = append(entries, hearth.LogEntry{Device: made[0].Key, Event: []string{"e", "-e", "a/*"}[n%3], Value: v, At: int64(n * 1000)})
		}
	}
	if _, err := b.store.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	want := content(t, b.store, ids)
	var orders []exports.Order
	for _, format := range []hearth.ExportFormat{hearth.FormatCSV, hearth.FormatJSON, hearth.FormatNDJSON, hearth.FormatParquet} {
		for _, compression := range []hearth.ExportCompression{hearth.CompressNone, hearth.CompressGzip, hearth.CompressZstd} {
			orders = append(orders, exports.Order{Type: hearth.ExportLogs, Format: format, Compression: compression})
		}
	}
	for _, separator := range []string{hearth.SeparatorComma, hearth.SeparatorSemicolon, hearth.SeparatorTab} {
		orders = append(orders, exports.Order{Type: hearth.ExportLogs, Format: hearth.FormatCSV, CSV: &hearth.ExportCSV{
			Separator: separator, Decimal: hearth.DecimalComma, BOM: true, TimeZone: "Asia/Kolkata",
		}})
	}
	for _, order := range orders {
		ordered, err := b.service.Create(t.Context(), b.ann, order, nil)
		if err != nil {
			t.Fatal(err)
		}
		done := b.await(ordered.ID, hearth.ExportCompleted)
		source, err := b.service.Open(t.Context(), b.ann, ordered.ID)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(source)
		if err != nil {
			t.Fatal(err)
		}
		source.Close()
		file := filepath.Join(t.TempDir(), done.Result.FileName)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := importer.Import{File: file, Owner: "ann@example.com", Columns: importer.DefaultColumns()}
		if order.CSV != nil {
			read.Format.Decimal = order.CSV.Decimal
		}
		store, in := remote(t)
		for _, rows := range []int64{int64(len(want) - len(ids)), 0} {
			p, err := in.File(t.Context(), read)
			if err != nil || p.Rows != rows {
				t.Fatalf("%+v: %+v %v; want %d rows", order, p, err, rows)
			}
		}
		if diff := cmp.Diff(want, content(t, store, ids)); diff != "" {
			t.Errorf("%+v: %s", order, diff)
		}
	}
}
