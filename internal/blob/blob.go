// Package blob keeps files under keys: exports, archives. A file is written as a stream and becomes visible whole, or not at
// all.
package blob

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"hearth"
)

// Store keeps files. Every method is safe for concurrent use.
//
// Errors: CodeNotFound for a key without a file, CodeValidationFailed for a key that ValidateKey refuses, CodeStorageFull when
// there is no space, CodeUnavailable when the storage does not answer. A ctx that ends returns its own error.
//
// Do not keep a file under "a" and another under "a/b": a directory cannot, and refuses the second with CodeConflict.
type Store interface {
	// Create begins a file. Nothing is visible under key before the writer's Commit; what is there until then stays
	// readable. Two writers of one key do not disturb each other: who commits last wins, whole. ctx is the life of the writer:
	// when it ends, Write and Commit fail.
	Create(ctx context.Context, key string) (Writer, error)
	// Open opens a file for reading, from any place. A reader returns the bytes that were there when it was opened, also while
	// the file is replaced or deleted; where the storage cannot, it fails with CodeConflict (replaced) or CodeNotFound
	// (deleted), and never returns a mix. ctx is the life of the reader.
	Open(ctx context.Context, key string) (Reader, error)
	// Stat describes a file.
	Stat(ctx context.Context, key string) (Info, error)
	// Delete removes a file, durably; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List returns files in the order of their keys' bytes.
	List(ctx context.Context, o ListOptions) (Page, error)
	// Ping reports whether the storage answers.
	Ping(ctx context.Context) error
	// Close ends the use.
	Close() error
}

// Writer writes one file. It is for one goroutine.
type Writer interface {
	io.Writer
	// Commit makes the file visible and durable. After an error nothing is visible, save that CodeUnavailable may leave it open
	// whether the file is there. Commit fails when a Write failed.
	Commit() (Info, error)
	// Abort drops what was written and frees its space. After Commit it does nothing, so that it can be deferred.
	Abort() error
}

// Reader reads one file. It is for one goroutine.
type Reader interface {
	io.ReadSeekCloser
	// Info describes the file that is read.
	Info() Info
}

// Info describes a file.
type Info struct {
	Key string
	// Size is in bytes.
	Size int64
	// ModTime is when it was committed, by the storage's clock.
	ModTime time.Time
}

// ListOptions narrow a list.
type ListOptions struct {
	// Prefix is what the keys start with: of the characters of a key; "" is all.
	Prefix string
	// After, if set, returns only keys after it.
	After string
	// Limit is 1 to MaxLimit; 0 is MaxLimit.
	Limit int
}

// Page is one page of a list.
type Page struct {
	Files []Info
	// Next is the After of the next page; "" on the last page.
	Next string
}

// Limits of keys and pages.
const (
	// MaxKey is the longest key in bytes, MaxSegment the longest part of it between slashes.
	MaxKey     = 512
	MaxSegment = 200
	// MaxLimit is the largest page.
	MaxLimit = 1000
)

// ValidateKey fails with CodeValidationFailed unless key is 1 to MaxKey bytes of [a-z0-9._-], in parts of 1 to MaxSegment
// bytes between single slashes, none of which begins with a dot: so that no key can leave a directory or name a hidden file.
func ValidateKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return badKey("must be 1 to %d bytes", MaxKey)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || len(part) > MaxSegment || part[0] == '.' {
			return badKey("must have parts of 1 to %d bytes between slashes, none beginning with a dot", MaxSegment)
		}
	}
	if !onlyKeyBytes(key) {
		return badKey("must be of a-z, 0-9, '.', '_', '-' and '/'")
	}
	return nil
}

// Normalize returns o with its default, or fails with CodeValidationFailed.
func (o ListOptions) Normalize() (ListOptions, error) {
	o.Limit = cmp.Or(o.Limit, MaxLimit)
	if o.Limit < 0 || o.Limit > MaxLimit {
		return o, hearth.Invalid(hearth.FieldError{Location: "limit", Message: fmt.Sprintf("must be 1 to %d", MaxLimit)})
	}
	if len(o.Prefix) > MaxKey || len(o.After) > MaxKey || !onlyKeyBytes(o.Prefix) || !onlyKeyBytes(o.After) {
		return o, badKey("must be of a-z, 0-9, '.', '_', '-' and '/'")
	}
	return o, nil
}

func onlyKeyBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/' {
			return false
		}
	}
	return true
}

func badKey(format string, args ...any) error {
	return hearth.Invalid(hearth.FieldError{Location: "key", Message: fmt.Sprintf(format, args...)})
}

// Write creates the file that fill writes: it is committed when fill returns nil, and dropped otherwise.
func Write(ctx context.Context, s Store, file File) (Info, error) {
	w, err := s.Create(ctx, file.Key)
	if err != nil {
		return Info{}, err
	}
	defer w.Abort() //nolint:errcheck // the error that matters is returned; after Commit this does nothing
	if err := file.Fill(w); err != nil {
		return Info{}, err
	}
	return w.Commit()
}

// File is a file to write.
type File struct {
	Key string
	// Fill writes the content.
	Fill func(w io.Writer) error
}
