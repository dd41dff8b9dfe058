package testserver

import (
	"context"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// The ports of tests: below those that systems assign, to clients too. One of those may be another process
// before it is used, or while its server is restarted.
const (
	firstPort = 10_000
	ports     = 10_000
)

// given counts the ports that this process returned. Tests of several packages run at once: each begins at another port.
var given atomic.Int64

// FreeAddr returns a loopback address ("127.0.0.1:port") that is free, and returns it only once.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for range ports {
		addr := net.JoinHostPort("127.0.0.1", strconv.FormatInt(firstPort+(int64(os.Getpid())*101+given.Add(1))%ports, 10))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err == nil {
			_ = listener.Close()
			return addr
		}
	}
	tb.Fatal("no port is free")
	return ""
}
