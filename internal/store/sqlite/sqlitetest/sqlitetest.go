// Package sqlitetest returns new databases to the tests of other packages: most of their time would go into making the schema.
package sqlitetest

import (
	"context"
	"path/filepath"
	"testing"

	"hearth/internal/store/sqlite"
	"hearth/internal/testfile"
)

var empty = testfile.File{Make: func(path string) error { // a cache
	s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	return s.Close()
}}

// File returns the path of the database in a data directory. If there is none, it writes one as sqlite.Open leaves a new one.
func File(tb testing.TB, dir string) (path string) {
	tb.Helper()
	path = filepath.Join(dir, "hearth.db")
	empty.Copy(tb, path)
	return path
}
