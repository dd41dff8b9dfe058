// Package dirblob keeps files in a directory.
package dirblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"time"

	"hearth"
	"hearth/internal/blob"
)

// temporary is the directory of files that are being written. No key can name it: it begins with a dot.
const temporary = ".tmp"

// Store implements blob.Store. Several processes may use one directory at once.
type Store struct {
	root      *os.Root
	closeOnce sync.Once
	closed    error
}

var _ blob.Store = (*Store)(nil)

// Open opens the directory, makes it with mode 0700 if it is not there, and removes what writers that died left behind.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of files cannot be made: %w", translate(err))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the directory of files cannot be opened: %w", translate(err))
	}
	s := &Store{root: root}
	if err := root.Mkdir(temporary, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(translate(err), s.Close())
	}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(translate(err), s.Close())
	}
	return s, nil
}

// sweep removes temporary files that no living writer holds.
func (s *Store) sweep() error {
	names, err := s.names(temporary)
	if err != nil {
		return err
	}
	for _, name := range names {
		name = path.Join(temporary, name)
		f, err := s.root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
		stale, err := lock(f)
		if err == nil && stale {
			err = ignoreNotExist(s.root.Remove(name))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) names(dir string) ([]string, error) {
	d, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, key string) (blob.Reader, error) {
	// Asked before opening: opening a pipe, say, would wait for a writer.
	info, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, translate(err)
	}
	now, err := f.Stat()
	if err != nil {
		return nil, errors.Join(translate(err), f.Close())
	}
	info.Size, info.ModTime = now.Size(), hearth.Millis(now.ModTime())
	return &reader{File: f, ctx: ctx, info: info}, nil
}

type reader struct {
	*os.File
	ctx  context.Context //nolint:containedctx // the contract binds the reader's life to it
	info blob.Info
}

// Info implements blob.Reader.
func (r *reader) Info() blob.Info { return r.info }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.File.Read(p)
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := check(ctx, key); err != nil {
		return blob.Info{}, err
	}
	info, err := s.root.Lstat(key)
	if err != nil {
		return blob.Info{}, translate(err)
	}
	if !info.Mode().IsRegular() {
		return blob.Info{}, hearth.NotFound("file")
	}
	return blob.Info{Key: key, Size: info.Size(), ModTime: hearth.Millis(info.ModTime())}, nil
}

// Delete implements blob.Store. Directories stay, empty as they may be.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := s.Stat(ctx, key)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if err := ignoreNotExist(s.root.Remove(key)); err != nil {
		return translate(err)
	}
	return translate(s.syncDir(path.Dir(key)))
}

// Ping implements blob.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := s.root.Stat(temporary)
	if errors.Is(err, fs.ErrNotExist) {
		return unavailable(err)
	}
	return translate(err)
}

// Close implements blob.Store.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closed = s.root.Close() })
	return s.closed
}

// syncDir makes the entries of a directory durable.
func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return blob.ValidateKey(key)
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// translate returns an error of the system one of our codes.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &hearth.Error{Code: hearth.CodeStorageFull, Message: "the disk is full", RetryAfter: 30 * time.Second, Cause: err}
	case errors.Is(err, fs.ErrNotExist):
		return hearth.NotFound("file")
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return &hearth.Error{Code: hearth.CodeConflict, Message: "another file is in the way", Cause: err}
	case errors.Is(err, fs.ErrClosed), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ESTALE):
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the storage of files does not answer", RetryAfter: time.Second, Cause: err}
}
