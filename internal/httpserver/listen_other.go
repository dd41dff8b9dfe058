//go:build !linux

package httpserver

import (
	"errors"
	"net"
	"time"
)

// setPeerTimeout leaves silent peers to the write deadlines and keep-alives where the system knows no such setting.
func setPeerTimeout(uintptr, time.Duration) error { return nil }

// refuseNew is Linux's.
func refuseNew(net.Listener) error { return errors.ErrUnsupported }

// backlog is Linux's.
func backlog(net.Listener) int { return 0 }
