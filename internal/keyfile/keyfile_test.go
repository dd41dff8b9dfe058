package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestOfManyThatCreateAFileOneWinsAsAWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	if _, _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := Create(path, []byte(strings.Repeat(fmt.Sprint(i%10), 1000))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	content, version, err := Read(path)
	if err != nil || len(content) != 1000 || strings.Count(string(content), string(content[0])) != 1000 {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if changed, err := Changed(path, version); changed || err != nil {
		t.Errorf("changed by nobody: %v, %v", changed, err)
	}
	if err := Replace(path, content); err != nil {
		t.Fatal(err)
	}
	if changed, err := Changed(path, version); !changed || err != nil {
		t.Errorf("replaced by the same: %v, %v", changed, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files are left over: %v, %v", files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
}

func TestAFileThatCannotBeTrustedIsNotRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	if err := Create(path, []byte("precious")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if content, _, err := Read(path); err == nil || len(content) > 0 || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %v: %q, %v", mode, content, err)
		}
	}
	if err := Replace(path, make([]byte, maxSize+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(path); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a huge file: %v", err)
	}
	if err := Create(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("a file was made below a file")
	}
}
