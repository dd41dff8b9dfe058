package app

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// resident returns the bytes of memory that the process holds; where the system does not tell, what the Go runtime asked for.
func resident() uint64 {
	data, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(data); err == nil && len(fields) > 1 {
		if pages, err := strconv.ParseUint(string(fields[1]), 10, 64); err == nil {
			return pages * uint64(os.Getpagesize())
		}
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Sys
}
