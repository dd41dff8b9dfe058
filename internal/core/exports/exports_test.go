package exports_test

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/blob/dirblob"
	"hearth/internal/core/exports"
	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// fullDisk is a storage whose disk is full while full is set.
type fullDisk struct {
	blob.Store
	full atomic.Bool
}

type fullWriter struct {
	blob.Writer
	disk *fullDisk
}

func (d *fullDisk) Create(ctx context.Context, key string) (blob.Writer, error) {
	w, err := d.Store.Create(ctx, key)
	return fullWriter{w, d}, err
}

func (w fullWriter) Write(p []byte) (int, error) {
	if w.disk.full.Load() {
		return 0, hearth.Errorf(hearth.CodeStorageFull, "the disk is full")
	}
	return w.Writer.Write(p)
}

// bench is the service over real parts, with a device of ann's that has logs.
type bench struct {
	*testing.T
	service *exports.Service
	store   *sqlite.Store
	queue   queue.Backend
	disk    *fullDisk
	dir     string
	ahead   atomic.Int64 // how far the clock is ahead, nanoseconds
	ann     hearth.Caller
	// orgs are ann's organizations as the service sees them; disabled keeps her out.
	orgs     atomic.Pointer[map[string]hearth.OrgRole]
	disabled atomic.Bool
}

// User knows ann alone.
func (b *bench) User(_ context.Context, id string) (hearth.User, error) {
	if id != "ann" {
		return hearth.User{}, hearth.NotFound("user")
	}
	return hearth.User{ID: id, Role: hearth.RoleUser, Disabled: b.disabled.Load()}, nil
}

func (b *bench) roles(context.Context, string) (map[string]hearth.OrgRole, error) {
	if orgs := b.orgs.Load(); orgs != nil {
		return *orgs, nil
	}
	return nil, nil
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir(), ann: hearth.Caller{UserID: "ann", Role: hearth.RoleUser}}
	var err error
	if b.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())}); err != nil {
		t.Fatal(err)
	}
	files, err := dirblob.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	b.disk = &fullDisk{Store: files}
	if b.queue, err = sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "queue.db")}); err != nil {
		t.Fatal(err)
	}
	b.service, err = exports.New(exports.Options{
		Store: b.store, Schedules: b.store, Users: b, Roles: b.roles, Logs: b.store, Devices: b.store, Jobs: b.queue, Files: b.disk,
		Clock: func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	relay, err := queue.NewRelay(queue.RelayOptions{Outbox: b.store, Queue: b.queue, Wake: b.store.OutboxSignal()})
	if err != nil {
		t.Fatal(err)
	}
	worker, err := queue.NewWorker(queue.WorkerOptions{Backend: b.queue, Kinds: b.service.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	for _, start := range []func(context.Context) error{relay.Start, worker.Start} {
		if err := start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, stop := range []func() error{
			func() error { return worker.Stop(ctx) }, func() error { return relay.Stop(ctx) }, b.queue.Close, files.Close, b.store.Close,
		} {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
	devices, err := b.store.CreateDevices(t.Context(), []hearth.Device{{
		ID: "0195b000-0000-7000-8000-000000000001", Name: "meter", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "ann", Version: 1,
		CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	entries := make([]hearth.LogEntry, 1000)
	for i := range entries {
		entries[i] = hearth.LogEntry{Device: devices[0].Key, Event: "e", Value: hearth.Number(float64(i)), At: int64(i)}
	}
	if _, err := b.store.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) order() hearth.Export {
	b.Helper()
	e, err := b.service.Create(b.Context(), b.ann, exports.Order{Type: hearth.ExportLogs, Format: hearth.FormatCSV, Notify: true}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// await polls until the export is as wanted.
func (b *bench) await(id string, status hearth.ExportStatus) hearth.Export {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		e, err := b.service.Export(b.Context(), b.ann, id)
		if err != nil {
			b.Fatal(err)
		}
		if e.Status == status {
			return e
		}
		if time.Now().After(deadline) {
			b.Fatalf("the export is %+v, not %s", e, status)
		}
	}
}

// files returns the finished and the temporary files.
func (b *bench) files() []string {
	b.Helper()
	finished, err := filepath.Glob(filepath.Join(b.dir, "exports", "*"))
	if err != nil {
		b.Fatal(err)
	}
	temporary, err := filepath.Glob(filepath.Join(b.dir, ".tmp", "*"))
	if err != nil {
		b.Fatal(err)
	}
	return append(finished, temporary...)
}

func TestAFullDiskFailsTheExportAndARetrySucceeds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.disk.full.Store(true)
	ordered := b.order()
	failed := b.await(ordered.ID, hearth.ExportFailed)
	if failed.Failure == nil || failed.Failure.Code != hearth.CodeStorageFull || failed.Result != nil {
		t.Errorf("it failed with %+v", failed.Failure)
	}
	if left := b.files(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	b.disk.full.Store(false)
	for { // the job is dead a moment after the export failed
		err := b.queue.Retry(t.Context(), ordered.Job)
		if err == nil {
			break
		}
		if hearth.ErrorCode(err) != hearth.CodeConflict {
			t.Fatal(err)
		}
	}
	done := b.await(ordered.ID, hearth.ExportCompleted)
	if done.Failure != nil || done.Result.Records != 1000 || len(b.files()) != 1 {
		t.Errorf("after the retry it is %+v, files %v", done, b.files())
	}
	page, err := b.queue.List(t.Context(), queue.Filter{Kind: exports.JobNotify})
	for err == nil && len(page.Jobs) < 2 && t.Context().Err() == nil {
		page, err = b.queue.List(t.Context(), queue.Filter{Kind: exports.JobNotify})
	}
	if err != nil || !strings.Contains(string(page.Jobs[1].Payload), `"status":"failed","force_mail":true`) ||
		!strings.Contains(string(page.Jobs[0].Payload), `"status":"completed"`) {
		t.Errorf("the notices are %+v, %v", page.Jobs, err)
	}
}

func TestCleaningTakesWhatExpiredAndWhatNobodyOwns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	old := b.await(b.order().ID, hearth.ExportCompleted)
	file, err := b.service.Open(t.Context(), b.ann, old.ID)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(file); err != nil || int64(len(data)) != old.Result.Size || file.Close() != nil {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
	_, err = blob.Write(t.Context(), b.disk, blob.File{Key: "exports/" + old.ID + ".another", Fill: func(w io.Writer) error {
		_, err := io.WriteString(w, "x")
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := b.service.Clean(t.Context()); n != 0 || err != nil || len(b.files()) != 2 {
		t.Errorf("at once: %d %v, files %v", n, err, b.files())
	}
	b.ahead.Store(int64(2 * time.Hour))
	if n, err := b.service.Clean(t.Context()); n != 1 || err != nil || len(b.files()) != 1 {
		t.Errorf("the file of no export: %d %v, files %v", n, err, b.files())
	}
	b.ahead.Store(int64(hearth.ExportTTL + time.Minute))
	if _, err := b.service.Open(t.Context(), b.ann, old.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("an expired file: %v", err)
	}
	if n, err := b.service.Clean(t.Context()); n != 1 || err != nil || len(b.files()) != 0 {
		t.Errorf("an expired export: %d %v, files %v", n, err, b.files())
	}
	if _, err := b.service.Export(t.Context(), b.ann, old.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("an expired export: %v", err)
	}
}

func TestAnExportWhoseJobIsGoneFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	lost := hearth.Export{
		ID: queue.NewID(time.Now()), Job: queue.NewID(time.Now()), UserID: "ann", Type: hearth.ExportLogs, Format: hearth.FormatCSV,
		Compression: hearth.CompressNone, Status: hearth.ExportRunning, Run: "r", CreatedAt: hearth.Millis(time.Now()),
	}
	if err := b.store.CreateExport(t.Context(), lost, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	b.ahead.Store(int64(time.Minute))
	if err := b.service.EndLost(t.Context()); err != nil {
		t.Error(err)
	}
	if e := b.await(lost.ID, hearth.ExportRunning); e.Failure != nil {
		t.Errorf("too early: %+v", e)
	}
	b.ahead.Store(int64(2 * time.Hour))
	if err := b.service.EndLost(t.Context()); err != nil {
		t.Error(err)
	}
	if e := b.await(lost.ID, hearth.ExportFailed); e.Failure == nil || e.Failure.Code != hearth.CodeInternal {
		t.Errorf("it is %+v", e)
	}
}

// The job of an export is over, and its end could not be stored.
func TestAnExportWhoseJobHasEndedFailsSoon(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ended := b.await(b.order().ID, hearth.ExportCompleted)
	lost := ended
	lost.ID, lost.Status, lost.Run, lost.Result, lost.File = queue.NewID(time.Now()), hearth.ExportRunning, "r", nil, ""
	lost.CompletedAt, lost.ExpiresAt = time.Time{}, time.Time{}
	if err := b.store.CreateExport(t.Context(), lost, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	within := time.Now().Add(20 * time.Second)
	for job, err := b.queue.Job(t.Context(), ended.Job); err != nil || !job.State.Ended(); job, err = b.queue.Job(t.Context(), ended.Job) {
		if time.Now().After(within) {
			t.Fatalf("the job is %+v, %v", job, err)
		}
		time.Sleep(time.Millisecond)
	}
	b.ahead.Store(int64(2 * exports.EndLostInterval))
	if err := b.service.EndLost(t.Context()); err != nil {
		t.Error(err)
	}
	if e := b.await(lost.ID, hearth.ExportFailed); e.Failure == nil {
		t.Errorf("it is %+v", e)
	}
	if e := b.await(ended.ID, hearth.ExportCompleted); e.Failure != nil {
		t.Errorf("the other one is %+v", e)
	}
}

func TestARightThatIsLostTakesTheFileAlong(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.ann.Orgs = map[string]hearth.OrgRole{"o": hearth.OrgViewer}
	e := b.await(b.order().ID, hearth.ExportCompleted)
	if _, err := b.service.Open(t.Context(), hearth.Caller{UserID: "ann", Role: hearth.RoleUser}, e.ID); hearth.ErrorCode(err) != hearth.CodeForbidden {
		t.Errorf("after leaving the organization: %v", err)
	}
	if _, err := b.service.Open(t.Context(), hearth.Caller{UserID: "bob", Role: hearth.RoleUser}, e.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("somebody else: %v", err)
	}
	file, err := b.service.Open(t.Context(), b.ann, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}
