package backup

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// leastNice is the priority of backups: a thirtieth of the processor time of a request where both are ready to run.
const leastNice = 15

// leastIO is the last of the eight levels of best effort, as ioprio_set(2) writes it.
const leastIO = 2<<13 | 7

// lowerPriority puts the calling goroutine on a thread of its own, of low priority. The thread ends with the goroutine. Where
// the system does not allow it, the work goes on as before.
func lowerPriority() {
	runtime.LockOSThread()
	lowerThread(unix.Gettid())
}

// lowerProcess sets that low priority for the whole process, and one processor at most: new threads inherit it.
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
