package dirblob

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"hearth"
	"hearth/internal/blob"
)

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, key string) (blob.Writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	// A sweep of another process may take a file between its making and its locking: then it is made again.
	for range 10 {
		w, err := s.create(ctx, key)
		if w != nil || err != nil {
			return w, translate(err)
		}
	}
	return nil, unavailable(errors.New("temporary files vanish"))
}

// create returns nil and no error when the file was swept away.
func (s *Store) create(ctx context.Context, key string) (blob.Writer, error) {
	name := path.Join(temporary, rand.Text())
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close(), s.root.Remove(name))
	}
	if _, err := s.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil, f.Close()
	}
	return &writer{s: s, ctx: ctx, key: key, name: name, f: f}, nil
}

type writer struct {
	s    *Store
	ctx  context.Context //nolint:containedctx // the contract binds the writer's life to it
	key  string
	name string
	f    *os.File
	err  error
	over bool
}

var errOver = errors.New("the file was committed or aborted before")

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if err := w.alive(); err != nil {
		return 0, err
	}
	n, err := w.f.Write(p)
	if err != nil {
		w.err = translate(err)
	}
	return n, w.err
}

func (w *writer) alive() error {
	switch {
	case w.over:
		return errOver
	case w.err != nil:
		return w.err
	}
	return w.ctx.Err()
}

// Commit implements blob.Writer: the content reaches the disk before its name does, and the name before Commit returns.
func (w *writer) Commit() (blob.Info, error) {
	if err := w.alive(); err != nil {
		return blob.Info{}, errors.Join(err, w.Abort())
	}
	info, err := w.commit()
	if err != nil {
		return blob.Info{}, errors.Join(translate(err), w.Abort())
	}
	return info, nil
}

func (w *writer) commit() (blob.Info, error) {
	if err := w.f.Sync(); err != nil {
		return blob.Info{}, err
	}
	stat, err := w.f.Stat()
	if err != nil {
		return blob.Info{}, err
	}
	dir := path.Dir(w.key)
	if err := w.s.makeDirs(dir); err != nil {
		return blob.Info{}, err
	}
	if err := w.s.root.Rename(w.name, w.key); err != nil {
		return blob.Info{}, err
	}
	w.over = true
	info := blob.Info{Key: w.key, Size: stat.Size(), ModTime: hearth.Millis(stat.ModTime())}
	return info, errors.Join(w.s.syncDir(dir), w.f.Close())
}

// Abort implements blob.Writer.
func (w *writer) Abort() error {
	if w.over {
		return nil
	}
	w.over = true
	return translate(errors.Join(ignoreNotExist(w.s.root.Remove(w.name)), w.f.Close()))
}

// makeDirs makes dir and what is above it, durably.
func (s *Store) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	done := ""
	for part := range strings.SplitSeq(dir, "/") {
		above := path.Join(".", done)
		done = path.Join(done, part)
		err := s.root.Mkdir(done, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.syncDir(above); err != nil {
			return err
		}
	}
	return nil
}
