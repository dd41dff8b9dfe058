package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir lets one server at a time have a data directory. The lock goes with the process, however it ends.
func lockDir(dir string) (unlock func() error, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "hearth.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, file.Close())
		return nil, fmt.Errorf("another hearth serves %s already: %w", dir, err)
	}
	return file.Close, nil
}
