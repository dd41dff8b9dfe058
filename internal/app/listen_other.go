//go:build !linux

package app

import "time"

// setPeerTimeout leaves silent peers to the write deadlines and keep-alives where the system knows no such setting.
func setPeerTimeout(uintptr, time.Duration) error { return nil }
