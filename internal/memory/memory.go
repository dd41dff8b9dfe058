// Package memory finds out how much memory the process may use, and what parts of it are for.
package memory

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
)

// The shares of the memory that there is: of the Go heap, which leaves at least outside for the program itself and for SQLite; for bodies that
// are worked on, which cost a few times their size; for the cache; and, outside of the heap, for the pages that SQLite keeps.
const (
	heapShare   = 0.8
	outside     = 48 << 20
	bodiesShare = 16
	cacheShare  = 8
	pagesShare  = 4
	maxBodies   = 256 << 20
)

// The garbage that lies in a small heap before it is collected: of a heap with a limit, a share of that. A heap that has more in use is collected
// once it has as much garbage as that, as by default.
const (
	garbage      = 32 << 20
	garbageShare = 8
	mostPercent  = 400
)

// Limit is how many bytes the heap of the process may have; 0: there is no limit.
type Limit int64

// Find returns the limit: GOMEMLIMIT, or a share of what the process's control groups allow, which the garbage collector is told.
func Find() Limit {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return Limit(limit)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0 // another system than Linux
	}
	allowed := allowedBy(os.DirFS("/sys/fs/cgroup"), string(own))
	if allowed == 0 {
		return 0
	}
	heap := heapOf(allowed)
	debug.SetMemoryLimit(heap)
	return Limit(heap)
}

// heapOf returns the heap of a process that may have so many bytes in all.
func heapOf(allowed int64) int64 {
	return max(allowed/2, min(int64(heapShare*float64(allowed)), allowed-outside))
}

// allowedBy returns the least that the control groups of a process allow, in bytes; 0: there is no limit. own is its /proc/self/cgroup, of version 2
// ("0::/PATH") or 1 ("N:memory:/PATH"); the limits of the groups above count too. In a container they are at the top, whatever the path says.
func allowedBy(groups fs.FS, own string) (least int64) {
	for line := range strings.Lines(own) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		top, file := ".", "memory.max"
		switch {
		case slices.Contains(strings.Split(controllers, ","), "memory"):
			top, file = "memory", "memory.limit_in_bytes"
		case controllers != "":
			continue
		}
		for dir := path.Join("/", group); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(groups, path.Join(top, dir, file))
			// "max", and in version 1 a number beyond all memory, is no limit.
			limit, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && bad == nil && limit > 0 && limit < math.MaxInt64>>1 && (least == 0 || limit < least) {
				least = limit
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// Bodies returns how many bytes of longer bodies are worked on at once.
func (l Limit) Bodies() int64 {
	if l == 0 {
		return maxBodies
	}
	return min(int64(l)/bodiesShare, maxBodies)
}

// Cache returns how many bytes of answers are kept, if they would be wanted without a limit.
func (l Limit) Cache(wanted uint64) uint64 {
	if l == 0 {
		return wanted
	}
	return min(wanted, uint64(l/cacheShare))
}

// Pages returns how many bytes of its pages a database within the program keeps, if they would be wanted without a limit.
func (l Limit) Pages(wanted int64) int64 {
	if l == 0 {
		return wanted
	}
	return min(wanted, int64(l)/pagesShare)
}

// Garbage returns how many bytes of garbage lie in a small heap before they are collected.
func (l Limit) Garbage() uint64 {
	if l == 0 {
		return garbage
	}
	return uint64(min(int64(l)/garbageShare, garbage))
}

// Pace has the collector let the limit's garbage lie, unless GOGC says when it is to collect. By default, a heap of a few MiB is collected many
// times a second by a busy server.
func (l Limit) Pace() {
	if os.Getenv("GOGC") == "" {
		pace(pacing{l.Garbage(), 100})
	}
}

// pacing is how much garbage may lie, and the percentage that the collector was told last.
type pacing struct {
	garbage uint64
	percent int
}

// pace tells the collector the percentage that fits the heap, and does so again after its next cycle.
func pace(p pacing) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if percent := percentOf(live[0].Value.Uint64(), p.garbage); percent != p.percent {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
	runtime.AddCleanup(&struct{ _ *pacing }{}, pace, p) // nothing refers to it: the next cycle finds it
}

// percentOf returns the least percentage, in steps of 25 from 100, that leaves so much garbage next to what is live.
func percentOf(live, garbage uint64) int {
	const step = 25
	return min(max(100, int(100*garbage/max(1, live))/step*step), mostPercent)
}
