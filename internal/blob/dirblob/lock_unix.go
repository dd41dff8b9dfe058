//go:build unix

package dirblob

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the file's lock, which its process's end returns, and reports whether it was free.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
