package app

import (
	"context"
	"net"
	"syscall"
	"time"
)

// peerTimeout is how long a client may leave what was sent to it unconfirmed, or take nothing at all, before its
// connection is closed. A client that vanished without a word (its network is gone) would else hold a stream for as long
// as the kernel repeats itself: a quarter of an hour.
const peerTimeout = 60 * time.Second

// listen opens a TCP listener whose connections end when their peer is silent for timeout.
func listen(ctx context.Context, addr string, timeout time.Duration) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failure error
		// Connections take the setting over from their listener.
		if err := raw.Control(func(fd uintptr) { failure = setPeerTimeout(fd, timeout) }); err != nil {
			return err
		}
		return failure
	}}
	return config.Listen(ctx, "tcp", addr)
}
