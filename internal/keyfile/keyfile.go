// Package keyfile keeps files of keys: for their owner alone, durable, written whole or not at all, and shared by processes
// that may make or change them at the same moment.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxSize bounds what is read, in bytes.
const maxSize = 1 << 20

// Version identifies the content of a file.
type Version struct{ stat fs.FileInfo }

// Read returns the content of the file and its version. It refuses a file that others may read or that has more than 1 MiB. The
// error of a file that is not there is fs.ErrNotExist.
func Read(path string) (content []byte, version Version, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, version, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	stat, err := file.Stat()
	if err != nil {
		return nil, version, err
	}
	if mode := stat.Mode().Perm(); mode&0o077 != 0 {
		return nil, version, fmt.Errorf("%s may be read by others (mode %04o): make it 0600", path, mode)
	}
	content, err = io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(content) > maxSize {
		err = fmt.Errorf("%s is damaged: it has more than %d bytes", path, maxSize)
	}
	return content, Version{stat}, err
}

// Changed reports whether the file is not what Read returned with that version.
func Changed(path string, since Version) (bool, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return !os.SameFile(stat, since.stat) || !stat.ModTime().Equal(since.stat.ModTime()) || stat.Size() != since.stat.Size(), nil
}

// Create makes the file, with mode 0600. Of several processes that do so at once the first wins, as a whole; a file that is
// there stays as it is, which is no error.
func Create(path string, content []byte) error {
	return replace(path, content, func(temporary string) error {
		err := os.Link(temporary, path)
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		return errors.Join(err, os.Remove(temporary))
	})
}

// Replace returns the file another content, with mode 0600.
func Replace(path string, content []byte) error {
	return replace(path, content, func(temporary string) error {
		err := os.Rename(temporary, path)
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
		return err
	})
}

// replace writes a durable file next to path, renames it to path by put, and makes that durable too.
func replace(path string, content []byte, put func(temporary string) error) error {
	folder := filepath.Dir(path)
	file, err := os.CreateTemp(folder, ".keys-*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := put(file.Name()); err != nil {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
