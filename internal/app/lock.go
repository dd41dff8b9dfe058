package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir lets one server at a time have a data directory.
func lockDir(dir string) (unlock func() error, err error) {
	unlock, err = lockFile(filepath.Join(dir, "hearth.lock"))
	if err != nil {
		return nil, fmt.Errorf("another hearth serves %s already: %w", dir, err)
	}
	return unlock, nil
}

// lockFile takes a lock that one process at a time has. It goes with the process, however that ends.
func lockFile(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}
