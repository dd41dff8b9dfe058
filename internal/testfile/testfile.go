// Package testfile returns tests copies of files that take long to make. Only tests import it.
package testfile

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// File returns tests copies of a file that takes long to make. It is made once a process.
type File struct {
	// Make writes the file to path, where nothing is yet.
	Make func(path string) error

	once sync.Once
	data []byte
	err  error
}

// Copy writes a copy to path, unless a file is there. It makes the folder.
func (f *File) Copy(tb testing.TB, path string) {
	tb.Helper()
	f.once.Do(func() { f.data, f.err = f.make() })
	if f.err != nil {
		tb.Fatalf("make the file that tests begin with: %v", f.err)
	}
	if err := f.write(path); err != nil {
		tb.Fatal(err)
	}
}

func (f *File) write(path string) error {
	if _, err := os.Stat(path); err == nil || !os.IsNotExist(err) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, f.data, 0o600)
}

// make makes the file in a folder of its own, which does not end with the test that asks first.
func (f *File) make() (data []byte, err error) {
	dir, err := os.MkdirTemp("", "hearth-test")
	if err != nil {
		return nil, err
	}
	defer func() {
		if again := os.RemoveAll(dir); err == nil {
			err = again
		}
	}()
	path := filepath.Join(dir, "file")
	if err := f.Make(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
