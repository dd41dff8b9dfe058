package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/apitest"
)

// smallDisk is a file system of the test's own that can be filled and emptied.
type smallDisk struct {
	t   *testing.T
	dir string
}

// newSmallDisk mounts a file system of that many bytes in memory. Without the right to mount there is nothing to test with:
// that is said, and where everything must be tested it is a failure.
func newSmallDisk(t *testing.T, bytes int) *smallDisk {
	t.Helper()
	dir := t.TempDir()
	switch err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=0700", bytes)); {
	case err == nil:
	case errors.Is(err, unix.EPERM) && os.Getenv("CI") == "":
		t.Skip("a small file system can be mounted by root alone: run this test as root")
	default:
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err, unix.Unmount(dir, unix.MNT_DETACH))
		}
	})
	return &smallDisk{t, dir}
}

func (d *smallDisk) free() int {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int(s.Bavail) * int(s.Bsize)
}

// fill takes all space but that many bytes; empty returns it back.
func (d *smallDisk) fill(leave int) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		n := min(d.free()-leave, len(block))
		if n <= 0 {
			return
		}
		if _, err := f.Write(block[:n]); err != nil && !errors.Is(err, unix.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

func (d *smallDisk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) files(parts ...string) (names []string) {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(append([]string{d.dir}, parts...)...))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// code returns a problem's code.
func codeOf(a apitest.Answer) string {
	var p struct{ Code string }
	_ = json.Unmarshal(a.Body, &p)
	return p.Code
}

const fillingLogs = 100_000 // 15 MB as JSON, 1 MB in the store

// The disk that an export fills gets its space back, the owner learns why, and the same export works once there is room.
func TestAnExportThatFillsTheDiskFailsAndWorksWhenTriedAgain(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t, 64<<20)
	s := serveIn(t, disk.dir)
	ann, _ := s.signup("ann@example.com")
	ann.sendLogs(ann.device("meter"), fillingLogs)
	order := map[string]any{"type": "logs", "format": "json"}
	disk.fill(3 << 20)
	var e exportOf
	ann.do("POST", "/exports", order, 202).Into(t, &e)
	ended := func(want string) func() string {
		return func() string {
			ann.do("GET", "/exports/"+e.ID, nil, 200).Into(t, &e)
			if e.Status != want {
				return e.Status
			}
			return ""
		}
	}
	within(t, 20*time.Second, "the export fails", ended("failed"))
	if e.Error == nil || e.Error.Code != "storage_full" || e.Result != nil {
		t.Errorf("the failed export is %+v", e)
	}
	if left := append(disk.files("files", ".tmp"), disk.files("files", "exports")...); len(left) != 0 {
		t.Errorf("the failed export left %q", left)
	}
	if free := disk.free(); free < 1<<20 {
		t.Errorf("%d bytes are free after it", free)
	}
	var notices struct{ Items []struct{ Type string } }
	within(t, 10*time.Second, "the owner is told", func() string {
		ann.do("GET", "/notifications", nil, 200).Into(t, &notices)
		if len(notices.Items) == 1 && notices.Items[0].Type == "export_failed" {
			return ""
		}
		return fmt.Sprint(notices)
	})
	// As an administrator does it, beside the server.
	var job string
	within(t, 10*time.Second, "the job is dead", func() string {
		out := mustRun(t, command(s.dir, "jobs", "list", "--queue", "export", "--state", "dead"))
		fields := strings.Fields(lastLine(out))
		if len(fields) < 4 || fields[2] != "export.run" {
			return out
		}
		job = fields[0]
		return ""
	})
	disk.empty()
	mustRun(t, command(s.dir, "jobs", "retry", job))
	within(t, 30*time.Second, "the export works when tried again", ended("completed"))
	checkExport(t, ann, e, fillingLogs)
	if left := disk.files("files", ".tmp"); len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
	if files := disk.files("files", "exports"); len(files) != 1 {
		t.Errorf("the files are %q", files)
	}
}

// batch sends the next n values, and notes what became of them.
func (l *crashLoad) batch(t *testing.T, c *client, n int) apitest.Answer {
	t.Helper()
	items := make([]map[string]any, n)
	for i := range items {
		items[i] = map[string]any{"device_id": l.device, "event": "count", "value": l.next + i}
	}
	a, err := c.send(t.Context(), "POST", "/logs", items)
	if err != nil {
		t.Error(err)
	}
	if a.Status == 201 {
		for i := range items {
			l.acked[l.next+i] = true
		}
	}
	l.next += n
	return a
}

// What was acknowledged on a disk that fills up is there; what was not, was refused by the right code; and it goes on at once.
func TestAFullDiskRefusesWritesLosesNothingAndTakesThemAgainWhenThereIsSpace(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t, 24<<20)
	s := serveIn(t, disk.dir)
	ann, _ := s.signup("ann@example.com")
	loads := make([]*crashLoad, 4)
	for i := range loads {
		loads[i] = &crashLoad{device: ann.device(fmt.Sprint("device ", i)), next: i * 10_000_000, acked: map[int]bool{}}
	}
	for round := range 3 {
		disk.fill(0)
		var wg sync.WaitGroup
		refused := make([]apitest.Answer, len(loads))
		for i, l := range loads {
			wg.Go(func() {
				for refused[i].Status == 0 || refused[i].Status == 201 { // the room that the store holds already
					refused[i] = l.batch(t, ann, 1000)
				}
			})
		}
		wg.Wait()
		for _, a := range refused {
			if a.Status != 507 || codeOf(a) != "storage_full" || a.Header.Get("Retry-After") == "" {
				t.Fatalf("round %d: the full disk is answered with %d %v %s", round, a.Status, a.Header, a.Body)
			}
		}
		if a := ann.do("GET", "/devices/"+loads[0].device+"/logs?range=7d&limit=1", nil, 200); len(a.Body) == 0 {
			t.Error("reads do not go on")
		}
		if a, err := ann.send(t.Context(), "POST", "/devices", map[string]any{"name": "one more", "type": "t"}); err != nil || a.Status != 507 && a.Status != 201 {
			t.Errorf("a device on a full disk: %d %s %v", a.Status, a.Body, err)
		}
		disk.empty()
		back := time.Now()
		for _, l := range loads {
			within(t, time.Until(back.Add(time.Second)), "logs are taken again", func() string {
				if a := l.batch(t, ann, 100); a.Status != 201 {
					return fmt.Sprintf("%d %s", a.Status, a.Body)
				}
				return ""
			})
		}
		t.Logf("round %d: logs were taken again %s after there was space", round, time.Since(back))
	}
	check := func(when string) {
		for i, l := range loads {
			found := l.stored(t, ann)
			for v := range l.acked {
				if found[v] != 1 {
					t.Errorf("%s: the acknowledged value %d is stored %d times", when, v, found[v])
				}
			}
			for v, n := range found {
				if n != 1 || !l.acked[v] {
					t.Errorf("%s: device %d has the value %d %d times, acknowledged %v", when, i, v, n, l.acked[v])
				}
			}
		}
	}
	check("at once")
	s.kill()
	s.start()
	check("after a crash")
	s.stop()
	checkIntegrity(t, filepath.Join(s.dir, "hearth.db"))
}
