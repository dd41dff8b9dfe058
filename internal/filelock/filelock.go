// Package filelock locks files, so that one process at a time works on what they stand for.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock acquires the lock of the file at path, making the file if it is not there. While another process holds it, Lock fails at
// once with an error that says busy. The system releases the lock when the process ends, however that happens.
func Lock(path, busy string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", busy, err), file.Close())
	}
	return file.Close, nil
}

// DataDir lets one server at a time have a data directory.
func DataDir(dir string) (unlock func() error, err error) {
	return Lock(filepath.Join(dir, "hearth.lock"), "another hearth serves "+dir+" already")
}
