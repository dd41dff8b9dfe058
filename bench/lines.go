package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// lines are connections of HTTP that one goroutine reads from and writes to: clients share the machine with the server, and a goroutine for
// each costs as much as a part of what is measured.
type lines struct {
	epoll  int
	fds    []int
	in     [][]byte // what was read of an answer that is not whole
	events []syscall.EpollEvent
	buffer []byte
}

// openLines opens so many connections.
func openLines(host string, n int) (l *lines, err error) {
	addr, err := netip.ParseAddrPort(host)
	if err != nil {
		return nil, err
	}
	l = &lines{in: make([][]byte, n), events: make([]syscall.EpollEvent, 256), buffer: make([]byte, 16<<10)}
	if l.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.fds = append(l.fds, fd)
		err = errors.Join(
			syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
			syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}),
			syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}))
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	return l, nil
}

func (l *lines) close() error {
	err := syscall.Close(l.epoll)
	for _, fd := range l.fds {
		err = errors.Join(err, syscall.Close(fd))
	}
	return err
}

// send writes a request, which is small enough to go at once.
func (l *lines) send(i int, request []byte) error {
	n, err := syscall.Write(l.fds[i], request)
	if err == nil && n < len(request) {
		err = fmt.Errorf("%d of %d bytes of a request were written", n, len(request))
	}
	return err
}

// receive calls got for each answer that is whole now, or comes within the wait. The body is valid during the call.
func (l *lines) receive(wait time.Duration, got func(i, status int, body []byte) error) error {
	n, err := syscall.EpollWait(l.epoll, l.events, int(wait.Milliseconds()))
	if err != nil && !errors.Is(err, syscall.EINTR) {
		return err
	}
	for _, event := range l.events[:max(n, 0)] {
		i := int(event.Fd)
		n, err := syscall.Read(l.fds[i], l.buffer)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || n == 0:
			return errors.Join(fmt.Errorf("connection %d was closed after %.100q", i, l.in[i]), err)
		}
		l.in[i] = append(l.in[i], l.buffer[:n]...)
		status, body, whole, err := answerIn(l.in[i])
		if err != nil {
			return err
		}
		if whole {
			if err := got(i, status, body); err != nil {
				return err
			}
			l.in[i] = l.in[i][:0]
		}
	}
	return nil
}

// answerIn returns the answer that data is, which has a Content-Length or no body.
func answerIn(data []byte) (status int, body []byte, whole bool, err error) {
	head, body, ended := bytes.Cut(data, []byte("\r\n\r\n"))
	if !ended {
		return 0, nil, false, nil
	}
	if status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return 0, nil, false, err
	}
	length := 0
	if _, after, ok := bytes.Cut(head, []byte("\r\nContent-Length: ")); ok {
		text, _, _ := bytes.Cut(after, []byte("\r"))
		if length, err = strconv.Atoi(string(text)); err != nil {
			return 0, nil, false, err
		}
	}
	return status, body, len(body) >= length, nil
}
