package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/config"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite"
)

// Restoring says what a command of archives and stores works with.
type Restoring struct {
	Config   *config.Config
	Logger   *slog.Logger
	Clock    hearth.Clock
	Progress func(BackupProgress)
}

// open returns what opens the archive of that name: a file, or one that the configuration's place keeps.
func (r Restoring) open(ctx context.Context, k *keeper, name string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		file, err := os.Open(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || name != filepath.Base(name) {
			return file, err
		}
		kept, err := placeOf(r.Config, k.files).Open(ctx, name)
		if hearth.ErrorCode(err) == hearth.CodeNotFound || hearth.ErrorCode(err) == hearth.CodeValidationFailed {
			return nil, fmt.Errorf("there is no file %s, and no backup of that name: hearth backup list shows them", name)
		}
		return kept, err
	}
}

// VerifyBackup reads an archive whole and checks everything that can be checked without a store.
func VerifyBackup(ctx context.Context, r Restoring, name string) (_ BackupManifest, err error) {
	k, err := openKeeper(r.Config)
	if err != nil {
		return BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, k.files.Close()) }()
	in, err := r.open(ctx, k, name)()
	if err != nil {
		return BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return backup.Read(ctx, in, backup.ReadOptions{Keys: k.keys(), Progress: r.Progress})
}

// RestoreBackup restores an archive into the empty store at the URL to ("" is the configuration's) and compares.
func RestoreBackup(ctx context.Context, r Restoring, name, to string) (_ BackupManifest, err error) {
	k, err := openKeeper(r.Config)
	if err != nil {
		return BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, k.files.Close()) }()
	open := r.open(ctx, k, name)
	// Before a store is made for it.
	if in, err := open(); err != nil {
		return BackupManifest{}, err
	} else if err := in.Close(); err != nil {
		return BackupManifest{}, err
	}
	target, err := r.openURL(ctx, to)
	if err != nil {
		return BackupManifest{}, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	return backup.Restore(ctx, backup.RestoreOptions{Open: open, Keys: k.keys(), To: target, Clock: r.Clock, Progress: r.Progress})
}

// MoveStore copies the store at one URL into the empty one at another and compares them.
func MoveStore(ctx context.Context, r Restoring, from, to string) (_ []backup.Stream, err error) {
	source, err := r.openURL(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	if mark, err := source.Restoring(ctx); err == nil {
		return nil, fmt.Errorf("--from is half restored itself (from %s)", mark.Source)
	}
	target, err := r.openURL(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, target.close()) }()
	if source.name == target.name {
		return nil, errors.New("--from and --to are the same store")
	}
	options := backup.MoveOptions{From: source, Name: source.name, To: target, Clock: r.Clock, Progress: r.Progress, Recheck: true}
	if f, ok := source.backupStore.(freezer); ok {
		thaw, err := f.Freeze(ctx)
		if err != nil {
			return nil, fmt.Errorf("make --from read-only: %w", err)
		}
		defer thaw()
		options.Recheck = false
	}
	return backup.Move(ctx, options)
}

// backupStore is a store that can be archived and restored.
type backupStore interface {
	backup.Target
	Close() error
}

// freezer is a store that can be made read-only for every process.
type freezer interface {
	Freeze(ctx context.Context) (thaw func(), err error)
}

// openedStore is a store of its own, no part of an App.
type openedStore struct {
	backupStore
	// name is the URL without secrets.
	name  string
	close func() error
}

// openURL opens the store at sqlite:PATH (a file, or a data directory) or mongodb://…; "" is the configuration's. A data
// directory is locked, so that no server works on it.
func (r Restoring) openURL(ctx context.Context, url string) (*openedStore, error) {
	if url == "" {
		if url = r.Config.StoreURL; url == "" {
			url = "sqlite:" + r.Config.DataDir
		}
	}
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return r.openDistributed(ctx, url)
	}
	if path = strings.TrimPrefix(path, "//"); path == "" {
		return nil, errors.New("sqlite: needs a path, as in sqlite:/var/lib/hearth")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) != ".db" {
		path = filepath.Join(path, "hearth.db")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("stop the server first: %w", err)
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, Clock: r.Clock, Logger: r.Logger})
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &openedStore{backupStore: store, name: "sqlite:" + path, close: func() error { return errors.Join(store.Close(), unlock()) }}, nil
}

// openDistributed opens a store that several machines share.
func (r Restoring) openDistributed(ctx context.Context, text string) (*openedStore, error) {
	if !strings.HasPrefix(text, "mongodb://") && !strings.HasPrefix(text, "mongodb+srv://") {
		return nil, errors.New("the store must be sqlite:PATH or mongodb://…")
	}
	store, err := mongodb.Open(ctx, mongodb.Options{URI: text, Clock: r.Clock, Logger: r.Logger})
	if err != nil {
		return nil, err
	}
	return &openedStore{backupStore: store, name: nameOfURI(text), close: store.Close}, nil
}

// nameOfURI returns a URI without its credentials and options.
func nameOfURI(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}
