package figures

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/api/admin"
)

// cpuMeter knows how many processors were in use since it was asked before.
type cpuMeter struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	mean float64
}

func (m *cpuMeter) process() admin.ProcessFigures {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // of oneself it cannot fail
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	m.mu.Lock()
	if past := time.Since(m.at); m.at.IsZero() || past >= time.Second {
		if !m.at.IsZero() {
			m.mean = (used - m.used).Seconds() / past.Seconds()
		}
		m.at, m.used = time.Now(), used
	}
	mean := m.mean
	m.mu.Unlock()
	return admin.ProcessFigures{CPU: mean, Memory: resident(), Goroutines: runtime.NumGoroutine()}
}

// resident returns the bytes of memory that the process holds; where the system does not say, what the Go runtime asked for.
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
