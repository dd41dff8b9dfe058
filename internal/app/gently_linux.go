package app

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// leastNice is the priority of work that has time: a thirtieth of what a request gets where both want the processor.
const leastNice = 15

// leastIO is the last of the eight levels of best effort, as ioprio_set(2) writes it.
const leastIO = 2<<13 | 7

// lowerPriority puts the calling goroutine on a thread of its own, of low priority. The thread ends with the goroutine. Where
// the system does not allow it, the work goes on as before.
func lowerPriority() {
	runtime.LockOSThread()
	lowerThread(unix.Gettid())
}

// lowerProcess returns a whole process that low priority, and one processor at most: threads to come have it from those that are.
func lowerProcess() {
	runtime.GOMAXPROCS(1)
	threads, _ := os.ReadDir("/proc/self/task") // without it the process goes on as before
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			lowerThread(id)
		}
	}
}

// lowerThread does what the system allows.
func lowerThread(id int) {
	const whoThread = 1 // of ioprio_set
	if err := unix.Setpriority(unix.PRIO_PROCESS, id, leastNice); err != nil {
		return
	}
	_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoThread, uintptr(id), leastIO)
	_ = errno
}
