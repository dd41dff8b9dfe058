package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth"
	"hearth/internal/blob"
)

// Place is where archives are kept.
type Place interface {
	// Write keeps what fill writes under that name, whole and durable, or not at all; CodeConflict if the name is taken.
	Write(ctx context.Context, name string, fill func(io.Writer) error) (File, error)
	// Open opens a file; CodeNotFound.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the archives, the newest first.
	List(ctx context.Context) ([]File, error)
	// Remove removes a file; one that is not there is no error.
	Remove(ctx context.Context, name string) error
}

// File is an archive that is kept.
type File struct {
	Name string
	// Size is in bytes; At is when it was written, by its name.
	Size int64
	At   time.Time
	// Scheduled tells that the schedule made it, and retention may remove it.
	Scheduled bool
}

// Encrypted reports whether the archive is encrypted, by its name.
func (f File) Encrypted() bool { return strings.HasSuffix(f.Name, cryptSuffix) }

// Names are "hearth-" and the time, "hearth-auto-" for those of the schedule.
const (
	namePrefix  = "hearth-"
	autoPrefix  = namePrefix + "auto-"
	nameTime    = "20060102t150405z"
	plainSuffix = ".tar"
	cryptSuffix = ".tar.enc"
)

// NameOf returns the name of an archive made at that time.
func NameOf(at time.Time, scheduled, encrypted bool) string {
	prefix, suffix := namePrefix, plainSuffix
	if scheduled {
		prefix = autoPrefix
	}
	if encrypted {
		suffix = cryptSuffix
	}
	return prefix + at.UTC().Format(nameTime) + suffix
}

// fileOf reads a name; ok is false for files that are not ours.
func fileOf(name string, size int64) (f File, ok bool) {
	f = File{Name: name, Size: size}
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return f, false
	}
	if auto, ok := strings.CutPrefix(name, autoPrefix); ok {
		f.Scheduled, rest = true, auto
	}
	plain, ok := strings.CutSuffix(rest, cryptSuffix)
	if !ok {
		if plain, ok = strings.CutSuffix(rest, plainSuffix); !ok {
			return f, false
		}
	}
	at, err := time.Parse(nameTime, plain)
	f.At = at.UTC()
	return f, err == nil
}

func newestFirst(files []File) []File {
	sort.Slice(files, func(i, j int) bool {
		a, b := &files[i], &files[j]
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Name, a.Name)) < 0
	})
	return files
}

// Folder keeps archives in a directory, which it makes with mode 0700.
type Folder struct{ Path string }

var _ Place = Folder{}

// Prepare makes the folder where there is none. It fails where no backup can be written.
func (f Folder) Prepare() error {
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return fmt.Errorf("make backup_dir: %w", err)
	}
	if err := unix.Access(f.Path, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("backup_dir %s cannot be written to: %w", f.Path, err)
	}
	return nil
}

// Write implements Place.
func (f Folder) Write(_ context.Context, name string, fill func(io.Writer) error) (File, error) {
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return File{}, err
	}
	size, err := WriteFile(filepath.Join(f.Path, name), fill)
	file, _ := fileOf(name, size)
	return file, err
}

// Open implements Place.
func (f Folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(f.Path, filepath.Base(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hearth.NotFound("backup")
	}
	return file, err
}

// List implements Place.
func (f Folder) List(context.Context) ([]File, error) {
	entries, err := os.ReadDir(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []File
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if file, ok := fileOf(entry.Name(), info.Size()); ok {
			files = append(files, file)
		}
	}
	return newestFirst(files), err
}

// Remove implements Place.
func (f Folder) Remove(_ context.Context, name string) error {
	err := os.Remove(filepath.Join(f.Path, filepath.Base(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const (
	partialPrefix = ".hearth-backup-"
	partialSuffix = ".partial"
	// partialAge is the age from which a file that a killed backup left behind is removed.
	partialAge = 24 * time.Hour
)

// WriteFile writes a file beside its final place, mode 0600, makes it durable and links it there, so that nobody ever sees
// half of it; CodeConflict if there is a file already.
func WriteFile(path string, fill func(io.Writer) error) (size int64, err error) {
	taken := hearth.Errorf(hearth.CodeConflict, "there is a file %s already", path)
	if _, err := os.Lstat(path); err == nil {
		return 0, taken
	}
	dir := filepath.Dir(path)
	dropPartials(dir)
	file, err := os.CreateTemp(dir, partialPrefix+"*"+partialSuffix) // with mode 0600
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	err = fill(&steadyFile{file: file})
	if err == nil {
		err = file.Sync()
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr, file.Close()); err != nil {
		return 0, err
	}
	if err := os.Link(file.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return 0, taken
		}
		return 0, err
	}
	return info.Size(), syncDir(dir)
}

// steadyFile brings what is written to the disk in small steps: one large step at the end would keep the commits of a database
// on the same disk waiting.
type steadyFile struct {
	file *os.File
	left int
}

// steadyStep is how many bytes a step has.
const steadyStep = 2 << 20

// Write implements io.Writer.
func (f *steadyFile) Write(data []byte) (int, error) {
	n, err := f.file.Write(data)
	if f.left += n; err == nil && f.left >= steadyStep {
		f.left, err = 0, f.file.Sync()
	}
	return n, err
}

// dropPartials removes what backups that were killed long ago left behind. What cannot be removed stays.
func dropPartials(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, partialPrefix+"*"+partialSuffix))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > partialAge {
			_ = os.Remove(path)
		}
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Blobs keeps archives in the object storage, under the prefix "backups/".
type Blobs struct{ Store blob.Store }

var _ Place = Blobs{}

const blobPrefix = "backups/"

// Write implements Place.
func (b Blobs) Write(ctx context.Context, name string, fill func(io.Writer) error) (File, error) {
	_, err := b.Store.Stat(ctx, blobPrefix+name)
	if err == nil {
		return File{}, hearth.Errorf(hearth.CodeConflict, "there is a backup %s already", name)
	}
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		return File{}, err
	}
	info, err := blob.Write(ctx, b.Store, blob.File{Key: blobPrefix + name, Fill: fill})
	file, _ := fileOf(name, info.Size)
	return file, err
}

// Open implements Place.
func (b Blobs) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.Store.Open(ctx, blobPrefix+name)
}

// List implements Place.
func (b Blobs) List(ctx context.Context) ([]File, error) {
	var files []File
	list := blob.ListOptions{Prefix: blobPrefix}
	for {
		page, err := b.Store.List(ctx, list)
		if err != nil {
			return nil, err
		}
		for _, info := range page.Files {
			if file, ok := fileOf(strings.TrimPrefix(info.Key, blobPrefix), info.Size); ok {
				files = append(files, file)
			}
		}
		if page.Next == "" {
			return newestFirst(files), nil
		}
		list.After = page.Next
	}
}

// Remove implements Place.
func (b Blobs) Remove(ctx context.Context, name string) error {
	return b.Store.Delete(ctx, blobPrefix+name)
}

// Prune removes the schedule's archives but the newest keep, and returns how many it removed. Those that people made stay.
func Prune(ctx context.Context, place Place, keep int) (removed int, err error) {
	files, err := place.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		if !file.Scheduled {
			continue
		}
		if keep--; keep >= 0 {
			continue
		}
		if err := place.Remove(ctx, file.Name); err != nil {
			return removed, fmt.Errorf("remove the old backup %s: %w", file.Name, err)
		}
		removed++
	}
	return removed, nil
}
