package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/filelock"
	"hearth/internal/store/archive"
)

// Stores open stores of every kind.
type Stores struct {
	// SQLite opens the database at a path, MongoDB the one at a URI.
	SQLite  func(ctx context.Context, path string) (Store, error)
	MongoDB func(ctx context.Context, uri string) (Store, error)
	// SQLiteSource opens the database at a path to be archived and not written to: its server would wait for that.
	SQLiteSource func(ctx context.Context, path string) (ReadStore, error)
	// Files opens the storage of files at a URL; "" is the directory.
	Files func(url, dir string) (blob.Store, error)
}

// Store is a store that can be archived and restored.
type Store interface {
	Target
	Close() error
}

// ReadStore is a store that is archived and not written to.
type ReadStore interface {
	Source
	Restoring(ctx context.Context) (archive.Restore, error)
	Close() error
}

// Operator does what commands ask of archives and stores, on its own: no server of the process has the store open.
type Operator struct {
	Config   *config.Config
	Stores   Stores
	Version  string // the program's
	Clock    hearth.Clock
	Progress func(Progress)
}

// Order says where a backup goes.
type Order struct {
	// File is the path of a new file; "" is a name of the time, in the place that the configuration names.
	File string
	// ToBlob keeps it in the storage of files, whatever the configuration says.
	ToBlob bool
}

// PlaceOf returns where the configuration keeps backups.
func PlaceOf(cfg *config.Config, files blob.Store) Place {
	if cfg.BackupDir != "" {
		return Folder{Path: cfg.BackupDir}
	}
	return Blobs{Store: files}
}

// RefuseHalfRestored fails for a store whose restore has not ended: it must neither be served from nor written to.
func RefuseHalfRestored(ctx context.Context, store interface {
	Restoring(ctx context.Context) (archive.Restore, error)
}) error {
	mark, err := store.Restoring(ctx)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("the store is half restored (from %s, begun %s): run the same restore or migrate again, which goes on where it stopped, or empty the store",
		mark.Source, mark.StartedAt.Format(time.RFC3339))
}

// Create archives the store as it is now and returns where the archive is; servers may run meanwhile. Nothing is left of an
// archive that fails. The whole process runs at low priority from then on.
func (p Operator) Create(ctx context.Context, o Order) (_ File, _ Manifest, err error) {
	lowerProcess()
	open, address := p.Stores.SQLiteSource, filepath.Join(p.Config.DataDir, "hearth.db")
	if p.Config.StoreURL != "" {
		address = p.Config.StoreURL
		open = func(ctx context.Context, uri string) (ReadStore, error) { return p.Stores.MongoDB(ctx, uri) }
	}
	source, err := open(ctx, address)
	if err != nil {
		return File{}, Manifest{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := RefuseHalfRestored(ctx, source); err != nil {
		return File{}, Manifest{}, err
	}
	files, err := p.openFiles()
	if err != nil {
		return File{}, Manifest{}, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	m := maker{cfg: p.Config, source: source, version: p.Version, clock: p.Clock, progress: p.Progress}
	if o.File != "" {
		return m.writeFile(ctx, o.File)
	}
	place := PlaceOf(p.Config, files)
	if o.ToBlob {
		place = Blobs{Store: files}
	}
	return m.writeTo(ctx, place, false)
}

// maker makes archives of a store.
type maker struct {
	cfg      *config.Config
	source   Source
	version  string
	clock    hearth.Clock
	progress func(Progress)
}

// longestRest bounds the rest after a part, which is about as long as the work on it.
const longestRest = 50 * time.Millisecond

// writeFile makes a new file.
func (m maker) writeFile(ctx context.Context, path string) (File, Manifest, error) {
	var manifest Manifest
	size, err := WriteFile(path, func(w io.Writer) error { return m.fill(ctx, w, &manifest) })
	return File{Name: path, Size: size, At: manifest.CreatedAt}, manifest, err
}

// writeTo makes an archive of a name of the time.
func (m maker) writeTo(ctx context.Context, place Place, scheduled bool) (File, Manifest, error) {
	var manifest Manifest
	name := NameOf(m.clock.Now(), scheduled, len(m.cfg.BackupKeys) > 0)
	file, err := place.Write(ctx, name, func(w io.Writer) error { return m.fill(ctx, w, &manifest) })
	return file, manifest, err
}

// fill writes an archive at low priority.
func (m maker) fill(ctx context.Context, w io.Writer, manifest *Manifest) error {
	var settings bytes.Buffer
	if err := m.cfg.Print(&settings); err != nil {
		return err
	}
	options := WriteOptions{
		From: m.source, Program: m.version, Store: storeKind(m.cfg), Settings: settings.String(), Clock: m.clock, Progress: m.progress,
		Rest: longestRest,
	}
	if len(m.cfg.BackupKeys) > 0 {
		options.Key = m.cfg.BackupKeys[0][:]
	}
	return atLowPriority(func() (err error) {
		*manifest, err = Write(ctx, w, options)
		return err
	})
}

// atLowPriority calls do on a thread of low priority and waits for it.
func atLowPriority(do func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("a backup panicked: %v", p)
			}
		}()
		lowerPriority()
		err = do()
	}()
	<-done
	return err
}

func storeKind(cfg *config.Config) string {
	if cfg.StoreURL == "" {
		return "sqlite"
	}
	kind, _, _ := strings.Cut(cfg.StoreURL, "+")
	kind, _, _ = strings.Cut(kind, ":")
	return kind
}

func (p Operator) openFiles() (blob.Store, error) {
	return p.Stores.Files(p.Config.BlobURL, filepath.Join(p.Config.DataDir, "files"))
}

func (p Operator) keys() [][]byte {
	var keys [][]byte
	for i := range p.Config.BackupKeys {
		keys = append(keys, p.Config.BackupKeys[i][:])
	}
	return keys
}

// List returns the archives that the configuration's place keeps, the newest first.
func (p Operator) List(ctx context.Context) (_ []File, err error) {
	files, err := p.openFiles()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	return PlaceOf(p.Config, files).List(ctx)
}

// open opens the archive of that name: a file, or one that the configuration's place keeps.
func (p Operator) open(ctx context.Context, files blob.Store, name string) (io.ReadCloser, error) {
	file, err := os.Open(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || name != filepath.Base(name) {
		return file, err
	}
	kept, err := PlaceOf(p.Config, files).Open(ctx, name)
	if hearth.ErrorCode(err) == hearth.CodeNotFound || hearth.ErrorCode(err) == hearth.CodeValidationFailed {
		return nil, fmt.Errorf("there is no file %s, and no backup of that name: hearth backup list shows them", name)
	}
	return kept, err
}

// Verify reads an archive whole and checks everything that can be checked without a store.
func (p Operator) Verify(ctx context.Context, name string) (_ Manifest, err error) {
	files, err := p.openFiles()
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	in, err := p.open(ctx, files, name)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return Read(ctx, in, ReadOptions{Keys: p.keys(), Progress: p.Progress})
}

// Restore restores an archive into the empty store at the URL to ("" is the configuration's) and compares.
func (p Operator) Restore(ctx context.Context, name, to string) (_ Manifest, err error) {
	files, err := p.openFiles()
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	open := func() (io.ReadCloser, error) { return p.open(ctx, files, name) }
	// Before a store is made for it.
	if in, err := open(); err != nil {
		return Manifest{}, err
	} else if err := in.Close(); err != nil {
		return Manifest{}, err
	}
	target, err := p.openURL(ctx, to)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	return Restore(ctx, RestoreOptions{Open: open, Keys: p.keys(), To: target, Clock: p.Clock, Progress: p.Progress})
}

// Move copies the store at one URL into the empty one at another and compares them.
func (p Operator) Move(ctx context.Context, from, to string) (_ []Stream, err error) {
	source, err := p.openURL(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	if mark, err := source.Restoring(ctx); err == nil {
		return nil, fmt.Errorf("--from is half restored itself (from %s)", mark.Source)
	}
	target, err := p.openURL(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, target.close()) }()
	if source.name == target.name {
		return nil, errors.New("--from and --to are the same store")
	}
	options := MoveOptions{From: source, Name: source.name, To: target, Clock: p.Clock, Progress: p.Progress, Recheck: true}
	if f, ok := source.Store.(freezer); ok {
		thaw, err := f.Freeze(ctx)
		if err != nil {
			return nil, fmt.Errorf("make --from read-only: %w", err)
		}
		defer thaw()
		options.Recheck = false
	}
	return Move(ctx, options)
}

// freezer is a store that can be made read-only for every process.
type freezer interface {
	Freeze(ctx context.Context) (thaw func(), err error)
}

// openedStore is a store that a URL names.
type openedStore struct {
	Store
	// name is the URL without secrets.
	name  string
	close func() error
}

// openURL opens the store at sqlite:PATH (a file, or a data directory) or mongodb://…; "" is the configuration's. A data
// directory is locked, so that no server works on it.
func (p Operator) openURL(ctx context.Context, url string) (*openedStore, error) {
	if url == "" {
		if url = p.Config.StoreURL; url == "" {
			url = "sqlite:" + p.Config.DataDir
		}
	}
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return p.openMongoDB(ctx, url)
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
	unlock, err := filelock.DataDir(dir)
	if err != nil {
		return nil, fmt.Errorf("stop the server first: %w", err)
	}
	store, err := p.Stores.SQLite(ctx, path)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &openedStore{Store: store, name: "sqlite:" + path, close: func() error { return errors.Join(store.Close(), unlock()) }}, nil
}

func (p Operator) openMongoDB(ctx context.Context, uri string) (*openedStore, error) {
	if !strings.HasPrefix(uri, "mongodb://") && !strings.HasPrefix(uri, "mongodb+srv://") {
		return nil, errors.New("the store must be sqlite:PATH or mongodb://…")
	}
	store, err := p.Stores.MongoDB(ctx, uri)
	if err != nil {
		return nil, err
	}
	return &openedStore{Store: store, name: nameOfURI(uri), close: store.Close}, nil
}

// nameOfURI returns a URI without its credentials and options.
func nameOfURI(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}
