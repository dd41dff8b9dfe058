//go:build !linux

package backup

import "runtime"

// lowerPriority does nothing: only Linux has priorities of single threads.
func lowerPriority() {}

// lowerProcess leaves the other processors to others.
func lowerProcess() { runtime.GOMAXPROCS(1) }
