// Package backup writes a store into one portable archive, reads such an archive back, and moves a store into another.
// docs/guides/backup.md describes the archive's format.
package backup

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth/internal/store/archive"
)

// Format is the version of the archive's format that this package writes, and the newest that it reads.
const Format = 1

// ErrDamaged says that an archive is not as it was written, or is none at all.
var ErrDamaged = errors.New("the archive is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Header begins an archive.
type Header struct {
	Format int `json:"format"`
	// ID is the archive's alone.
	ID string `json:"id"`
	// Program is the version of the hearth that wrote it, Store the kind of store that it is from.
	Program   string    `json:"program"`
	Store     string    `json:"store"`
	CreatedAt time.Time `json:"created_at"`
}

// Manifest ends an archive: it says what must have come before.
type Manifest struct {
	Header
	Streams []Stream `json:"streams"`
}

// Records returns the number of records of the stream with that name.
func (m Manifest) Records(name string) int64 {
	for _, s := range m.Streams {
		if s.Name == name {
			return s.Records
		}
	}
	return 0
}

// Stream sums up the records of one kind.
type Stream struct {
	Name    string `json:"name"`
	Records int64  `json:"records"`
	// Bytes and SHA256 (hex) are of the stream as it is written, uncompressed.
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Digest (hex) is of the set of records, whatever their order: stores of two kinds give the same.
	Digest string `json:"digest"`
}

// Progress is how far work has come. Records counts those of all kinds; Total is 0 where it is not known.
type Progress struct {
	// Step is "reading", "writing", "verifying", "restoring" or "comparing".
	Step    string
	Records int64
	Total   int64
}

// digest sums up a set of records: each record's hash is added, so that their order does not matter.
type digest struct {
	records  int64
	low, top uint64
}

func (d digest) String() string {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(d.low>>(8*i)), byte(d.top>>(8*i))
	}
	return hex.EncodeToString(b[:])
}

// check refuses what this program cannot read.
func (h Header) check() error {
	switch {
	case h.Format < 1 || h.ID == "":
		return damaged("its header names no format")
	case h.Format > Format:
		return fmt.Errorf("the archive has format %d, which is newer than this program's %d: use a newer program", h.Format, Format)
	}
	return nil
}

// kindAt returns where the kind of a part stands in the order of an archive.
func kindAt(kinds []string, part *archive.Part) (int, error) {
	at := slices.Index(kinds, part.Kind)
	if at < 0 {
		return 0, fmt.Errorf("there is no kind %q", part.Kind)
	}
	return at, nil
}
