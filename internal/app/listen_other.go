//go:build !linux

package app

import (
	"errors"
	"net"
	"time"
)

// setPeerTimeout leaves silent peers to the write deadlines and keep-alives where the system knows no such setting.
func setPeerTimeout(uintptr, time.Duration) error { return nil }

// admitNobody is Linux's.
func admitNobody(net.Listener) error { return errors.ErrUnsupported }

// backlog is Linux's.
func backlog(net.Listener) int { return 0 }
