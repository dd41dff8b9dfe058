package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/blob/dirblob"
	"hearth/internal/core/archive"
	"hearth/internal/core/telemetry"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

var (
	// now is the time of all tests; what is older than 30 days is past its retention.
	now    = time.Date(2026, 3, 20, 12, 30, 0, 0, time.UTC)
	errOut = errors.New("the power went out")
)

// power goes out at some step, for good: what is asked for after it fails.
type power struct {
	// at is the step, from 1; late lets that one still happen.
	at   int
	late bool
	step int
	out  bool
}

func (p *power) do(what func() error) error {
	if p.step++; p.step == p.at {
		p.out = true
		if p.late {
			_ = what()
		}
	}
	if p.out {
		return errOut
	}
	return what()
}

type frailFiles struct {
	blob.Store
	power *power
}

func (f frailFiles) Create(ctx context.Context, key string) (w blob.Writer, err error) {
	err = f.power.do(func() error { w, err = f.Store.Create(ctx, key); return err })
	return frailWriter{w, f.power}, err
}

func (f frailFiles) Open(ctx context.Context, key string) (r blob.Reader, err error) {
	err = f.power.do(func() error { r, err = f.Store.Open(ctx, key); return err })
	return r, err
}

func (f frailFiles) Delete(ctx context.Context, key string) error {
	return f.power.do(func() error { return f.Store.Delete(ctx, key) })
}

type frailWriter struct {
	blob.Writer
	power *power
}

func (w frailWriter) Commit() (info blob.Info, err error) {
	err = w.power.do(func() error { info, err = w.Writer.Commit(); return err })
	return info, err
}

func (w frailWriter) Abort() error {
	if w.power.out || w.Writer == nil {
		return nil // what a crash leaves is the storage's to clear away
	}
	return w.Writer.Abort()
}

type frailLogs struct {
	*sqlite.Store
	power *power
}

func (l frailLogs) TrimLogs(ctx context.Context, before time.Time) (removed int64, more bool, err error) {
	err = l.power.do(func() error { removed, more, err = l.Store.TrimLogs(ctx, before); return err })
	return removed, more, err
}

// yard is a store with logs of three months, and files.
type yard struct {
	*testing.T
	store   *sqlite.Store
	files   *dirblob.Store
	path    string
	devices []hearth.Device
}

func openYard(t *testing.T, path string) *yard {
	t.Helper()
	y := &yard{T: t, path: path}
	var err error
	if y.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if y.files, err = dirblob.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return y
}

func (y *yard) close() {
	y.Helper()
	if err := errors.Join(y.store.Close(), y.files.Close()); err != nil {
		y.Error(err)
	}
}

// copy returns another yard of what a closed one holds.
func (y *yard) copy() *yard {
	y.Helper()
	data, err := os.ReadFile(y.path)
	path := filepath.Join(y.TempDir(), "hearth.db")
	if err = errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
		y.Fatal(err)
	}
	another := openYard(y.T, path)
	another.devices = y.devices
	return another
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := fillYard(t)
	t.Cleanup(y.close)
	return y
}

func fillYard(t *testing.T) *yard {
	t.Helper()
	y := openYard(t, sqlitetest.File(t, t.TempDir()))
	var err error
	var devices []hearth.Device
	for i := range 3 {
		devices = append(devices, hearth.Device{
			ID: fmt.Sprintf("0195b000-0000-7000-8000-00000000000%d", i), Name: fmt.Sprint("meter ", i), Type: "t", Status: hearth.StatusActive,
			Interval: 60, OwnerID: []string{"ann", "bob"}[i%2], Version: 1, CreatedAt: now, UpdatedAt: now,
			Tags: []string{"a", "ä"}, Metadata: json.RawMessage(`{"floor":2}`),
		})
	}
	if y.devices, err = y.store.CreateDevices(t.Context(), devices, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	var entries []hearth.LogEntry
	for i := range 360 {
		entries = append(entries, hearth.LogEntry{
			Device: y.devices[i%3].Key, Event: []string{"watts", "celsius"}[i%2], Value: hearth.Number(float64(i) / 7),
			At: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).Add(time.Duration(i/2) * 10 * time.Hour).UnixMilli(), // pairs of the same time
		})
	}
	entries[0].Value, entries[1].Value = hearth.Number(-math.MaxFloat64/1e9), hearth.Number(5e-324)
	for i, v := range []hearth.Value{hearth.Boolean(true), hearth.Boolean(false), hearth.Text("open"), hearth.Text("true"), hearth.Text("1 ä\"")} {
		entries[10+i].Value = v
	}
	y.append(entries)
	return y
}

func (y *yard) append(entries []hearth.LogEntry) {
	y.Helper()
	if _, err := y.store.AppendLogs(y.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		y.Fatal(err)
	}
}

// cleanUp does what the periodic job does, with a program of its own.
func (y *yard) cleanUp(p *power) error {
	y.Helper()
	kept, err := archive.New(archive.Options{Logs: y.store, Devices: y.store, Files: frailFiles{y.files, p}})
	if err != nil {
		y.Fatal(err)
	}
	service, err := telemetry.New(telemetry.Options{
		Store: frailLogs{y.store, p}, Audit: y.store, Directory: nobodys{}, Clock: func() time.Time { return now }, Retention: 30 * 24 * time.Hour, Archive: kept,
	})
	if err != nil {
		y.Fatal(err)
	}
	_, err = service.CleanUp(y.Context())
	return err
}

type nobodys struct{}

func (nobodys) Resolve(context.Context, hearth.Caller, []string) ([]*hearth.Device, error) {
	return nil, nil
}

// line is a log as files and store both return it.
func line(device string, at int64, event string, value float64, kind, text string) string {
	return fmt.Sprintf("%s %s %s %x %s %q", time.UnixMilli(at).UTC().Format(time.RFC3339Nano), device, event, math.Float64bits(value), kind, text)
}

// logs returns what the store has, oldest first.
func (y *yard) logs() (lines []string) {
	y.Helper()
	ids := map[int64]string{}
	for _, d := range y.devices {
		ids[d.Key] = d.ID
	}
	scan := hearth.LogScan{Reach: hearth.Reach{All: true}, Span: hearth.Export{}.Span()}
	for log, err := range y.store.ScanLogs(y.Context(), scan) {
		if err != nil {
			y.Fatal(err)
		}
		lines = append(lines, line(ids[log.Device], log.At, log.Event, log.Value.Number(), log.Value.Kind().String(), log.Value.Text()))
	}
	return lines
}

// readRow is a row of a file.
type readRow struct {
	Timestamp  int64   `parquet:"timestamp,timestamp(millisecond)"`
	DeviceID   string  `parquet:"device_id"`
	Event      string  `parquet:"event"`
	Value      float64 `parquet:"value"`
	DeviceName string  `parquet:"device_name"`
	OwnerID    string  `parquet:"owner_id"`
	Tags       string  `parquet:"tags"`
	Metadata   string  `parquet:"metadata"`
	ValueType  *string `parquet:"value_type,optional"`
	ValueText  *string `parquet:"value_text,optional"`
}

func orElse(s *string, other string) string {
	if s == nil {
		return other
	}
	return *s
}

// archived returns the keys of all files, and what they hold.
func (y *yard) archived() (keys, lines []string) {
	y.Helper()
	page, err := y.files.List(y.Context(), blob.ListOptions{Prefix: "archive/"})
	if err != nil {
		y.Fatal(err)
	}
	for _, file := range page.Files {
		keys = append(keys, file.Key)
		rows, err := parquet.Read[readRow](bytes.NewReader(y.file(file.Key)), file.Size)
		if err != nil {
			y.Fatalf("%s: %v", file.Key, err)
		}
		for _, r := range rows {
			lines = append(lines, line(r.DeviceID, r.Timestamp, r.Event, r.Value, orElse(r.ValueType, "number"), orElse(r.ValueText, "")))
			if r.Tags != `["a","ä"]` || r.Metadata != `{"floor":2}` || !strings.HasPrefix(r.DeviceName, "meter ") || r.OwnerID == "" {
				y.Errorf("a row is %+v", r)
			}
		}
	}
	return keys, lines
}

func (y *yard) file(key string) []byte {
	y.Helper()
	reader, err := y.files.Open(y.Context(), key)
	if err != nil {
		y.Fatal(err)
	}
	data, err := io.ReadAll(reader)
	if err := errors.Join(err, reader.Close()); err != nil {
		y.Fatal(err)
	}
	return data
}

func TestLogsPastRetentionAreInFilesByMonthBeforeTheyGo(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	before := y.logs()
	if err := y.cleanUp(&power{}); err != nil {
		t.Fatal(err)
	}
	keys, kept := y.archived()
	var months []string
	for _, key := range keys {
		months = append(months, strings.TrimSuffix(key, key[len(key)-len("-5f3a9c1e.parquet"):]))
	}
	if diff := cmp.Diff([]string{
		"archive/logs/2026-01/logs-2026-01-05-to-2026-02-01", "archive/logs/2026-02/logs-2026-02-01-to-2026-02-18",
	}, months); diff != "" {
		t.Errorf("the files (-want +got)\n%s", diff)
	}
	left := y.logs()
	if diff := cmp.Diff(before, append(kept, left...)); diff != "" {
		t.Errorf("files and store (-want +got)\n%s", diff)
	}
	if len(left) == 0 || left[0] < "2026-02-18T00:00:00Z" || len(kept) < 200 {
		t.Errorf("%d logs are in files, %d are left, from %q on", len(kept), len(left), left[0])
	}
	// Nothing more is past its retention.
	if err := y.cleanUp(&power{}); err != nil {
		t.Fatal(err)
	}
	if again, _ := y.archived(); !slices.Equal(again, keys) {
		t.Errorf("a second run makes %q of %q", again, keys)
	}
}

func TestACrashAtAnyStepLosesNothingAndKeepsNothingTwice(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("after the step: ", late), func(t *testing.T) {
			t.Parallel()
			whole := fillYard(t)
			before := whole.logs()
			whole.close()
			for at := 1; ; at++ {
				y := whole.copy()
				p := &power{at: at, late: late}
				if err := y.cleanUp(p); !p.out {
					y.close()
					if err != nil || at < 20 {
						t.Fatalf("%d steps, then %v", at, err)
					}
					t.Logf("%d steps", at-1)
					return
				}
				if err := y.cleanUp(&power{}); err != nil {
					t.Fatalf("after a crash at step %d: %v", at, err)
				}
				_, kept := y.archived()
				if diff := cmp.Diff(before, append(kept, y.logs()...)); diff != "" {
					t.Fatalf("after a crash at step %d (-want +got)\n%s", at, diff)
				}
				y.close()
			}
		})
	}
}

// spoiled loses the end of every Parquet file that is written.
type spoiled struct{ blob.Store }

type spoiledWriter struct{ blob.Writer }

func (s spoiled) Create(ctx context.Context, key string) (blob.Writer, error) {
	w, err := s.Store.Create(ctx, key)
	if strings.HasSuffix(key, archive.Suffix) {
		w = spoiledWriter{w}
	}
	return w, err
}

func (w spoiledWriter) Write(p []byte) (int, error) {
	wrong := bytes.Clone(p)
	wrong[len(wrong)/2] ^= 1
	return w.Writer.Write(wrong)
}

func TestAFileThatReadsBackWrongRemovesNothing(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	before := y.logs()
	kept, err := archive.New(archive.Options{Logs: y.store, Devices: y.store, Files: spoiled{y.files}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := kept.Keep(t.Context(), now.AddDate(0, 0, -30)); err == nil || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("keeping gives %v", err)
		}
	}
	if diff := cmp.Diff(before, y.logs()); diff != "" {
		t.Errorf("the logs (-want +got)\n%s", diff)
	}
	if err := y.cleanUp(&power{}); err != nil { // the disk is a good one again
		t.Fatal(err)
	}
	_, lines := y.archived()
	if diff := cmp.Diff(before, append(lines, y.logs()...)); diff != "" {
		t.Errorf("files and store (-want +got)\n%s", diff)
	}
}

// sink stores what is read back; it fails after some batches.
type sink struct {
	*yard
	batches int
}

func (s *sink) Create(context.Context, []archive.Device) error {
	return errors.New("an archive makes no devices")
}

func (s *sink) Writable(_ context.Context, ids []string) (map[string]bool, error) {
	writable := map[string]bool{}
	for _, d := range s.devices {
		writable[d.ID] = slices.Contains(ids, d.ID)
	}
	return writable, nil
}

func (s *sink) Ingest(ctx context.Context, batch archive.Batch) error {
	if s.batches--; s.batches < 0 {
		return errOut
	}
	for i := range batch.Entries {
		e := &batch.Entries[i]
		at := slices.IndexFunc(s.devices, func(d hearth.Device) bool { return d.ID == batch.Devices[e.Device] })
		e.Device = s.devices[at].Key
	}
	_, err := s.store.AppendLogs(ctx, batch.Entries, &batch.Checkpoint, hearth.SideEffects{})
	return err
}

func (s *sink) Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	return s.store.ImportCheckpoint(ctx, id)
}

func TestWhatWasArchivedIsReadBackExactlyAndOnce(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	before := y.logs()
	if err := y.cleanUp(&power{}); err != nil {
		t.Fatal(err)
	}
	for { // retention is off from now on
		_, more, err := y.store.TrimLogs(t.Context(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	keys, _ := y.archived()
	read := func(key string, batches int) (archive.Progress, error) {
		data := y.file(key)
		return archive.Import{File: bytes.NewReader(data), Size: int64(len(data)), Sink: &sink{y, batches}, BatchRows: 7}.Run(t.Context())
	}
	for _, key := range slices.Backward(keys) {
		if p, err := read(key, 3); !errors.Is(err, errOut) || p.Rows != 21 {
			t.Errorf("an import that is cut off: %+v, %v", p, err)
		}
		if p, err := read(key, math.MaxInt); err != nil || p.Before != 21 || p.Before+p.Rows != p.Total {
			t.Errorf("the import that goes on: %+v, %v", p, err)
		}
		if p, err := read(key, math.MaxInt); err != nil || p.Rows != 0 || p.Before != p.Total {
			t.Errorf("the same file again: %+v, %v", p, err)
		}
	}
	if diff := cmp.Diff(before, y.logs()); diff != "" {
		t.Errorf("the logs (-want +got)\n%s", diff)
	}
}

func TestAFileThatCannotBeReadBackIsRefused(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	if err := y.cleanUp(&power{}); err != nil {
		t.Fatal(err)
	}
	keys, _ := y.archived()
	data := y.file(keys[0])
	var other bytes.Buffer
	if err := parquet.Write(&other, []struct{ Name string }{{"x"}}); err != nil {
		t.Fatal(err)
	}
	read := func(data []byte, change func(*archive.Import)) (archive.Progress, error) {
		i := archive.Import{File: bytes.NewReader(data), Size: int64(len(data)), Sink: &sink{y, math.MaxInt}}
		if change != nil {
			change(&i)
		}
		return i.Run(t.Context())
	}
	for name, tt := range map[string]struct {
		data   []byte
		change func(*archive.Import)
		want   string
	}{
		"no Parquet file":            {[]byte("timestamp,device\n"), nil, "no Parquet file"},
		"a file that is cut off":     {data[:len(data)-9], nil, "no Parquet file"},
		"another table":              {other.Bytes(), nil, `no column "timestamp"`},
		"logs that retention awaits": {data, func(i *archive.Import) { i.Oldest = now }, "row 1: it is older than HEARTH_RETENTION"},
	} {
		if p, err := read(tt.data, tt.change); err == nil || !strings.Contains(err.Error(), tt.want) || p.Rows != 0 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	type written struct {
		Timestamp int64   `parquet:"timestamp,timestamp(millisecond)"`
		DeviceID  string  `parquet:"device_id"`
		Event     string  `parquet:"event"`
		Value     float64 `parquet:"value"`
	}
	type typed struct {
		written
		ValueType string `parquet:"value_type"`
	}
	var plain, unknown bytes.Buffer
	log := written{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), y.devices[0].ID, "watts", 1.5}
	err := errors.Join(parquet.Write(&plain, []written{log}), parquet.Write(&unknown, []typed{{log, "date"}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(unknown.Bytes(), nil); err == nil || !strings.Contains(err.Error(), "row 1: value_type must be") {
		t.Errorf("an unknown type of value: %v", err)
	}
	want := line(log.DeviceID, log.Timestamp, log.Event, log.Value, "number", "")
	if _, err := read(plain.Bytes(), nil); err != nil || !slices.Contains(y.logs(), want) {
		t.Errorf("a file of earlier versions, without the columns of types is not read: %v", err)
	}
	gone := y.devices[0]
	y.devices = y.devices[1:]
	if _, err = read(data, nil); err == nil || !strings.Contains(err.Error(), "row 1: the device "+gone.ID+" is not there") {
		t.Errorf("a device that is gone: %v", err)
	}
	p, err := read(data, func(i *archive.Import) { i.SkipInvalid = true })
	if err != nil || p.Skipped == 0 || p.Skipped+p.Rows != p.Total {
		t.Errorf("passing over it: %+v, %v", p, err)
	}
}
