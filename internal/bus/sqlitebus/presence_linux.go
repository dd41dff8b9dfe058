package sqlitebus

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// presence tells the ends of a bus whether another one listens: each that does has a shared lock of a file, which the system releases when
// the process ends, however that happens.
type presence struct {
	file *os.File
	conn syscall.RawConn
}

func openPresence(path string) (*presence, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &presence{file, conn}, nil
}

// enter has the others see that this end listens. Entering twice is no error.
func (p *presence) enter() error {
	_, err := p.lock(unix.F_OFD_SETLK, unix.F_RDLCK)
	if errors.Is(err, unix.EINVAL) {
		return nil // there are no such locks here, and alone fails for all
	}
	return err
}

// alone reports whether no other end listens, for certain.
func (p *presence) alone() bool {
	conflict, err := p.lock(unix.F_OFD_GETLK, unix.F_WRLCK)
	return err == nil && conflict == unix.F_UNLCK
}

func (p *presence) lock(command int, kind int16) (conflict int16, err error) {
	lock := unix.Flock_t{Type: kind, Len: 1}
	failed := p.conn.Control(func(fd uintptr) { err = unix.FcntlFlock(fd, command, &lock) })
	return lock.Type, errors.Join(failed, err)
}

// close has the others see that this end is gone. Closing twice is no error.
func (p *presence) close() error {
	if err := p.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
