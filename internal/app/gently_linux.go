package app

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// leastNice is the priority of work that has time: a sixteenth of what a request gets where both want the processor.
const leastNice = 15

// lowerPriority puts the calling goroutine on a thread of its own, of low priority. The thread ends with the goroutine. Where
// the system does not allow it, the work goes on as before.
func lowerPriority() {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), leastNice)
}
