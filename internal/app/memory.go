package app

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

// memoryLimit returns how much memory the heap of this process may have: GOMEMLIMIT, or a share of what the machine's control group allows,
// which the garbage collector is told; 0: there is no limit.
func memoryLimit() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
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
		return heap
	}
	return 0
}

// bodyMemory returns how many bytes of longer bodies are worked on at once.
func bodyMemory(limit int64) int64 {
	if limit == 0 {
		return maxBodies
	}
	return min(limit/bodiesShare, maxBodies)
}
