package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth"
	"hearth/internal/newid"
)

// descriptors returns those of this process that are open on a file.
func descriptors(t *testing.T, path string) (fds []int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range open {
		if to, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && to == path {
			fd, err := strconv.Atoi(entry.Name())
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
		}
	}
	return fds
}

// A pipe fails every read, write and flush of it as a file. /dev/null fails the flush, and what was written is gone, as it is when a disk
// fails a flush.
const (
	failsAll   = "pipe"
	failsFlush = "/dev/null"
)

// broken has what is done with a file fail until mend is called.
func broken(t *testing.T, path, how string) (mend func()) {
	t.Helper()
	fds := descriptors(t, path)
	if len(fds) == 0 {
		t.Fatalf("nothing has %s open", path)
	}
	ends := make([]int, 2)
	if err := unix.Pipe2(ends, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if how == failsFlush {
		null, err := unix.Open(failsFlush, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(ends[0])
		ends[0] = null
	}
	kept := map[int]int{}
	for _, fd := range fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		kept[fd] = copied
		if err := unix.Dup3(ends[0], fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		for fd, copied := range kept {
			if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && strings.HasPrefix(to, how) {
				if err := unix.Dup3(copied, fd, unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
			}
			_ = unix.Close(copied)
		}
		_ = unix.Close(ends[0])
		_ = unix.Close(ends[1])
	}
}

// looked waits for the look at the logs that a store begins with: a connection that is being opened while the file is broken finds it empty,
// which no disk does.
type looked struct {
	hearth.NoObserver
	once sync.Once
	done chan struct{}
}

func (l *looked) Operation(_ context.Context, name string, _ time.Duration, _ error) {
	if name == "Strays" {
		l.once.Do(func() { close(l.done) })
	}
}

// Writes fail while the disk does, go on within 5 s when it does not, and lose nothing that was acknowledged.
func TestAWriteErrorEndsWithItsCause(t *testing.T) {
	for _, file := range []string{".db-wal", ".db"} {
		for _, how := range []string{failsAll, failsFlush} {
			t.Run(file+" "+filepath.Base(how), func(t *testing.T) { failedWrites(t, file, how) })
		}
	}
}

func failedWrites(t *testing.T, file, how string) {
	path := newFile(t)
	started := looked{done: make(chan struct{})}
	s, err := Open(t.Context(), Options{Path: path, Observer: &started})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	<-started.done
	var stored []string
	write := func(n int) error {
		devices := make([]hearth.Device, n)
		for i := range devices {
			devices[i] = hearth.Device{ID: newid.New(), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u",
				Metadata: []byte(`{"a":"` + strings.Repeat("x", 2000) + `"}`)}
		}
		err := s.write(t.Context(), "CreateDevices", func(t *tx) error { // by one write, however many they are
			scope, err := scopeKey(t, hearth.UserScope("u"))
			for i := 0; err == nil && i < n; i++ {
				_, err = insertDevice(t, devices[i], scope)
			}
			return err
		})
		if err == nil {
			stored = append(stored, devices[0].ID)
		}
		return err
	}
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	mend := broken(t, strings.TrimSuffix(path, ".db")+file, how)
	for range 12 { // more than a checkpoint's worth
		if err := write(1000); err != nil && hearth.ErrorCode(err) != hearth.CodeUnavailable {
			t.Errorf("a write that fails gives %v, want %s", err, hearth.CodeUnavailable)
		}
	}
	if how == failsFlush {
		// Half of a copy that went to /dev/null, and whose flush is of the file, is what no disk does either.
		s.writer.checkpoint.stop()
		<-s.writer.checkpoint.done
	}
	mend()
	deadline := time.Now().Add(5 * time.Second)
	for err := write(1); err != nil; err = write(1) {
		if time.Now().After(deadline) {
			t.Fatalf("5 s after the disk is well again: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, id := range stored {
		if _, err := s.Device(t.Context(), id); err != nil {
			t.Errorf("of %d acknowledged writes: %v", len(stored), err)
		}
	}
}

func TestAReadErrorEndsWithItsCause(t *testing.T) {
	path := newFile(t)
	for _, file := range []string{path, path + "-wal"} {
		t.Run(filepath.Ext(file), func(t *testing.T) {
			s, err := Open(t.Context(), Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			big := make([]hearth.Device, 1000)
			for i := range big {
				big[i] = hearth.Device{ID: fmt.Sprintf("%s%d", file, i), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "u"}
			}
			if _, err := s.CreateDevices(t.Context(), big, hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
			mend := broken(t, file, failsAll)
			failed := 0
			for i := range big {
				if _, err := s.Device(t.Context(), big[i].ID); err != nil {
					failed++
					if hearth.ErrorCode(err) != hearth.CodeUnavailable {
						t.Fatalf("a read that fails gives %v, want %s", err, hearth.CodeUnavailable)
					}
				}
			}
			mend()
			t.Logf("%d reads failed", failed)
			for i := range big {
				if _, err := s.Device(t.Context(), big[i].ID); err != nil {
					t.Fatalf("when the disk is well again: %v", err)
				}
			}
		})
	}
}
