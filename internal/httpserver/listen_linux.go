package httpserver

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func setPeerTimeout(fd uintptr, timeout time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
}

// refuseNew makes the kernel drop every request for a new connection to the listener. Connections that are open, or about to
// be, go on.
func refuseNew(listener net.Listener) error {
	// The filter sees TCP segments from their header on: its flags are byte 13. SYN alone opens a connection.
	const flags, syn, ack = 13, 0x02, 0x10
	const none, whole = 0, 0xffff
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: none},
		{Code: unix.BPF_RET | unix.BPF_K, K: whole},
	}
	return control(listener, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
}

// backlog returns the number of pending connections; 0 if the kernel does not report it.
func backlog(listener net.Listener) (n int) {
	_ = control(listener, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Unacked) // of a listener, tcp(7) has nothing to say of it; the kernel's tcp_get_info has
		}
		return err
	})
	return n
}

func control(listener net.Listener, do func(fd int) error) error {
	conn, ok := listener.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = do(int(fd)) })
	return errors.Join(err, failure)
}
