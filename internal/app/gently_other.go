//go:build !linux

package app

// lowerPriority does nothing: only Linux has priorities of single threads.
func lowerPriority() {}
