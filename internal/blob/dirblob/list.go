package dirblob

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"hearth"
	"hearth/internal/blob"
)

// List implements blob.Store. A page reads the directories on its way whole, and no others.
func (s *Store) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	o, err := o.Normalize()
	if err != nil {
		return blob.Page{}, err
	}
	w := walk{s: s, ctx: ctx, o: o}
	if err := w.dir("."); err != nil && !errors.Is(err, errEnough) {
		return blob.Page{}, translate(err)
	}
	page := blob.Page{Files: w.found}
	if len(page.Files) > o.Limit {
		page.Files = page.Files[:o.Limit]
		page.Next = page.Files[o.Limit-1].Key
	}
	return page, nil
}

var errEnough = errors.New("the page is full")

// walk collects the files of one page, and one more, which shows that there is a next page.
type walk struct {
	s     *Store
	ctx   context.Context //nolint:containedctx // lives as long as one call
	o     blob.ListOptions
	found []blob.Info
}

// dir goes through a directory in the order of the keys: a directory's name counts with its slash.
func (w *walk) dir(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	names, err := w.s.names(dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	var keys []string
	for _, name := range names {
		key := path.Join(dir, name)
		if blob.ValidateKey(key) != nil {
			continue
		}
		// What neither starts with the prefix nor leads to it can be left out without a look at it.
		if !strings.HasPrefix(key, w.o.Prefix) && !strings.HasPrefix(w.o.Prefix, key) {
			continue
		}
		info, err := w.s.root.Lstat(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			keys = append(keys, key+"/")
		} else if info.Mode().IsRegular() {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := w.entry(key); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(key string) error {
	if dir, isDir := strings.CutSuffix(key, "/"); isDir {
		// All keys of the directory begin with key: they come before After when key does and is no part of it.
		if key < w.o.After && !strings.HasPrefix(w.o.After, key) {
			return nil
		}
		return w.dir(dir)
	}
	if key <= w.o.After || !strings.HasPrefix(key, w.o.Prefix) {
		return nil
	}
	info, err := w.s.Stat(w.ctx, key)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	w.found = append(w.found, info)
	if len(w.found) > w.o.Limit {
		return errEnough
	}
	return nil
}
