// Package memory finds out how much memory the process may use, and what parts of it are for.
package memory

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// The shares of the memory that there is: of the Go heap, for bodies that are worked on, which cost a few times their size, and for the cache.
const (
	heapShare   = 0.8
	bodiesShare = 16
	cacheShare  = 8
	maxBodies   = 256 << 20
)

// Limit is how many bytes the heap of the process may have; 0: there is no limit.
type Limit int64

// Find returns the limit: GOMEMLIMIT, or a share of what the machine's control group allows, which the garbage collector is told.
func Find() Limit {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return Limit(limit)
	}
	// Version 2 of control groups, then 1, as a container sees its own.
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit <= 0 || limit >= math.MaxInt64>>1 { // max, or all there is
			return 0
		}
		heap := int64(heapShare * float64(limit))
		debug.SetMemoryLimit(heap)
		return Limit(heap)
	}
	return 0
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
