package sqlitequeue_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth"
	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
)

// crashFile, when set, makes the test binary a worker on that file that takes a job and never ends it.
const crashFile = "TEST_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		fmt.Fprintln(os.Stderr, hang(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// crashLease is the lease of the workers in the crash tests.
const crashLease = 800 * time.Millisecond

// hang runs a job for ever and says so on the standard output.
func hang(path string) error {
	ctx := context.Background()
	q, err := sqlitequeue.Open(ctx, sqlitequeue.Options{Path: path})
	if err != nil {
		return err
	}
	w, err := queue.NewWorker(queue.WorkerOptions{Backend: q, Lease: crashLease, Kinds: []queue.Kind{{Name: "test",
		Handler: func(context.Context, *queue.Task) error {
			fmt.Println("running")
			select {}
		}}}})
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	select {}
}

// openAt opens a queue that the test's end closes.
func openAt(t *testing.T, o sqlitequeue.Options) *sqlitequeue.Queue {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "queue.db")
	}
	q, err := sqlitequeue.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func TestAJobOfAKilledProcessRunsAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := openAt(t, sqlitequeue.Options{Path: path})
	id := queue.NewID(time.Now())
	if _, err := q.Enqueue(t.Context(), queue.Job{ID: id, Kind: "test", Queue: queue.Export}); err != nil {
		t.Fatal(err)
	}
	const kills = 5
	for range kills {
		process := exec.CommandContext(t.Context(), os.Args[0])
		process.Env = append(os.Environ(), crashFile+"="+path)
		process.Stderr = os.Stderr
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		// It runs only once the job of the process before was taken back.
		if !bufio.NewScanner(out).Scan() {
			t.Fatal("the process ended without running the job")
		}
		// Longer than a lease: while it lives, the job stays its own.
		time.Sleep(crashLease * 5 / 4)
		if n, err := q.Rescue(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d jobs were taken from a living worker, error %v", n, err)
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
	}

	done := make(chan queue.Job, 1)
	killed := time.Now()
	w, err := queue.NewWorker(queue.WorkerOptions{Backend: q, Lease: crashLease, Kinds: []queue.Kind{{Name: "test",
		Handler: func(_ context.Context, task *queue.Task) error { done <- task.Job; return nil }}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Stop(context.Background()) })
	select {
	case job := <-done:
		if job.ID != id || job.Attempt != 1 || job.Losses != kills {
			t.Fatalf("the job is %+v", job)
		}
		if took := time.Since(killed); took > 2*crashLease {
			t.Errorf("it ran again after %v; the lease is %v", took, crashLease)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the job did not run again")
	}
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.SetVersion(t.Context(), 99); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path}); err == nil {
		t.Fatal("it was opened")
	}
}

func TestAnotherFileThanAQueueIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	text := []byte("not a database, and too long to be taken for an empty one: " + string(make([]byte, 4096)))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path}); err == nil {
		t.Fatal("it was opened")
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("the file was changed (error %v)", err)
	}
}

func TestAFullDiskIsSaidAndOver(t *testing.T) {
	t.Parallel()
	q := openAt(t, sqlitequeue.Options{})
	if err := q.LimitPages(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	payload := fmt.Appendf(nil, `"%060000d"`, 1)
	job := func() queue.Job {
		return queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export, Payload: payload}
	}
	var full error
	for range 50 {
		if _, full = q.Enqueue(t.Context(), job()); full != nil {
			break
		}
	}
	if hearth.ErrorCode(full) != hearth.CodeStorageFull {
		t.Fatalf("the error is %v", full)
	}
	if _, err := q.Counts(t.Context()); err != nil {
		t.Fatalf("reading while full: %v", err)
	}
	if err := q.LimitPages(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job()); err != nil {
		t.Fatalf("after space came back: %v", err)
	}
}

func TestAFullBacklogRefuses(t *testing.T) {
	t.Parallel()
	q := openAt(t, sqlitequeue.Options{MaxBacklog: 2})
	job := func() queue.Job { return queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export} }
	first := job()
	if _, err := q.Enqueue(t.Context(), first, job()); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Fatalf("the error is %v", err)
	}
	if err := q.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job()); err != nil {
		t.Fatalf("after one ended: %v", err)
	}
}

func TestTheFileIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue #1?.db")
	openAt(t, sqlitequeue.Options{Path: path})
	for _, p := range []string{path, path + "-wal"} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, error %v", p, info, err)
		}
	}
}

func TestAFileThatAnotherProcessHoldsIsUnavailableUntilItIsFree(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "queue.db")
	q, other := openAt(t, sqlitequeue.Options{Path: path}), openAt(t, sqlitequeue.Options{Path: path})
	if err := q.WaitForLocks(t.Context(), 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	release, err := other.HoldLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	job := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export}
	if _, err := q.Enqueue(t.Context(), job); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Fatalf("the error is %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), job); err != nil {
		t.Fatalf("after it was free: %v", err)
	}
}
