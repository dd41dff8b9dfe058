// Package doctor checks a whole installation and says what should be changed. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth"
	"hearth/internal/backup"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/timetext"
)

// Line is the result of one check.
type Line struct {
	Check string
	// OK is false for what should be changed; Text then says what is wrong, and Change what to do.
	OK     bool
	Text   string
	Change string
}

// SQLite is the state of a SQLite database.
type SQLite struct {
	// Exists reports whether there is a database; nothing else counts if not.
	Exists bool
	// Version is the schema's, Newest the program's.
	Version, Newest int64
	// Missing are tables, indexes and triggers that the schema lacks; Damage is what SQLite finds wrong with the file.
	Missing, Damage []string
	// Journal is the size of the write-ahead log in bytes.
	Journal int64
	// Restoring names what the store is half restored from; "" if it is not.
	Restoring string
}

// Options say what is checked and how the databases are read.
type Options struct {
	Config *config.Config
	Clock  hearth.Clock
	// SQLite examines the database at a path, MongoDB the one at a URI, without changing anything.
	SQLite  func(ctx context.Context, path string) (SQLite, error)
	MongoDB func(ctx context.Context, uri string) (MongoDB, error)
	// Files opens the storage of files at a URL; "" is the directory.
	Files func(url, dir string) (blob.Store, error)
}

// Check examines everything that an installation needs and changes nothing; servers may run meanwhile. Returns one line a
// check.
func Check(ctx context.Context, options Options) []Line {
	d := &doctor{Options: options, cfg: options.Config, now: options.Clock.Now()}
	d.configuration()
	d.dataDir()
	d.folder("backup directory", "backup_dir", d.cfg.BackupDir)
	d.folder("log directory", "log_dir", d.cfg.LogDir)
	d.certificate()
	d.clock()
	d.disk()
	d.database(ctx)
	d.storage(ctx)
	d.redis(ctx)
	d.backups(ctx)
	return d.lines
}

type doctor struct {
	Options
	cfg   *config.Config
	now   time.Time
	lines []Line
}

func (d *doctor) okf(check, format string, args ...any) {
	d.lines = append(d.lines, Line{Check: check, OK: true, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) badf(check, change, format string, args ...any) {
	d.lines = append(d.lines, Line{Check: check, Change: change, Text: fmt.Sprintf(format, args...)})
}

// configuration judges settings that are valid and unwise.
func (d *doctor) configuration() {
	const check = "configuration"
	switch {
	case d.cfg.BcryptCost < 10:
		d.badf(check, "leave bcrypt_cost at its default", "password hashes are made at cost %d: they are quick to guess", d.cfg.BcryptCost)
	case strings.HasPrefix(d.cfg.PublicURL, "http://") && !isLoopback(d.cfg.PublicURL):
		d.badf(check, "put TLS before the server and set public_url to its https:// address", "public_url is not encrypted: links in mail carry tokens")
	case len(d.cfg.RateLimits) == 0:
		d.badf(check, "remove rate_limits=off", "there are no rate limits: passwords can be tried without end")
	default:
		d.okf(check, "valid")
	}
}

func isLoopback(url string) bool {
	host := strings.TrimPrefix(url, "http://")
	for _, name := range []string{"localhost", "127.", "[::1]"} {
		if strings.HasPrefix(host, name) {
			return true
		}
	}
	return false
}

// ownerOf returns the number of the user that a file belongs to; 0 where the system knows none.
func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return 0
}

// keyFiles are the secrets in the data directory.
func keyFiles() []string {
	return []string{"keys.json", "field-keys.json", "idempotency.key", "invitations.key", "hearth.db", "queue.db", "bus.db"}
}

func (d *doctor) dataDir() {
	const check = "data directory"
	dir := d.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.okf(check, "%s is not there yet; the first start makes it", dir)
		return
	case err != nil:
		d.badf(check, "let the user that runs hearth read it", "%v", err)
		return
	case !info.IsDir():
		d.badf(check, "set data_dir to a directory", "%s is no directory", dir)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		d.badf(check, "chmod 700 "+dir, "others may look into %s (mode %o)", dir, mode)
		return
	}
	for _, name := range keyFiles() {
		file, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err != nil: // not there yet
		case file.Mode().Perm()&0o077 != 0:
			d.badf(check, "chmod 600 "+filepath.Join(dir, name), "others may read %s (mode %o)", name, file.Mode().Perm())
			return
		case ownerOf(file) != ownerOf(info):
			d.badf(check, "chown it to the user that the server runs as, and run commands as that user", "%s belongs to user %d and the directory to user %d",
				name, ownerOf(file), ownerOf(info))
			return
		}
	}
	if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
		d.badf(check, "chown it to the user that runs hearth", "%s cannot be written to: %v", dir, err)
		return
	}
	d.okf(check, "%s is private and can be written to", dir)
}

// folder examines a folder that is set: a start makes one that is not there yet.
func (d *doctor) folder(check, setting, dir string) {
	if dir == "" {
		return
	}
	change := "set " + setting + " to a directory that the user that runs hearth can write to"
	existing, info, err := Existing(dir)
	if err == nil && info.IsDir() {
		err = unix.Access(existing, unix.W_OK|unix.X_OK)
	}
	switch {
	case err != nil:
		d.badf(check, change, "%s cannot be written to: %v", dir, err)
	case !info.IsDir():
		d.badf(check, change, "%s is no directory", existing)
	case existing != dir:
		d.okf(check, "%s is not there yet; the next start makes it", dir)
	default:
		d.okf(check, "%s can be written to", dir)
	}
}

// Existing returns the part of a path that exists, and what it is.
func Existing(path string) (string, fs.FileInfo, error) {
	info, err := os.Stat(path)
	for errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	return path, info, err
}

// clockSlack is how far ahead of now a file may have been changed.
const clockSlack = time.Minute

func (d *doctor) clock() {
	const check = "clock"
	newest, name := time.Time{}, ""
	entries, _ := os.ReadDir(d.cfg.DataDir) // what cannot be read, another check tells of
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.ModTime().After(newest) {
			newest, name = info.ModTime(), entry.Name()
		}
	}
	if ahead := newest.Sub(d.now); name != "" && ahead > clockSlack {
		d.badf(check, "set the clock and let it follow a time server (timedatectl set-ntp true)",
			"%s was changed %s from now: the clock was set back", name, ahead.Round(time.Second))
		return
	}
	d.okf(check, "%s", d.now.Format(time.RFC3339))
}

// The least free space of a disk: bytes, and percent.
const (
	leastFree    = 1 << 30
	leastPercent = 5
)

func (d *doctor) disk() {
	const check = "disk"
	dirs := []string{d.cfg.DataDir}
	if d.cfg.BackupDir != "" {
		dirs = append(dirs, d.cfg.BackupDir)
	}
	for _, dir := range dirs {
		existing, _, _ := Existing(dir)
		var stat unix.Statfs_t
		if err := unix.Statfs(existing, &stat); err != nil {
			d.badf(check, "look at the disk", "%s: %v", existing, err)
			continue
		}
		blockSize := uint64(stat.Bsize)
		free, total := stat.Bavail*blockSize, stat.Blocks*blockSize
		text := fmt.Sprintf("%.1f GiB of %.1f free for %s", float64(free)/(1<<30), float64(total)/(1<<30), dir)
		switch {
		case free < leastFree || free*100 < total*leastPercent:
			d.badf(check, "free space, or set retention so that logs do not grow for ever", "%s", text)
		case stat.Files > 0 && stat.Ffree*100 < stat.Files:
			d.badf(check, "remove files", "no inodes are left for %s", dir)
		default:
			d.okf(check, "%s", text)
		}
	}
}

func (d *doctor) database(ctx context.Context) {
	const check = "database"
	if d.cfg.StoreURL != "" {
		d.mongodb(ctx)
		return
	}
	path := filepath.Join(d.cfg.DataDir, "hearth.db")
	e, err := d.SQLite(ctx, path)
	switch {
	case err != nil:
		d.badf(check, "restore the newest backup into an empty data directory", "%s cannot be read: %v", path, err)
	case !e.Exists:
		d.okf(check, "%s is not there yet; the first start makes it", path)
	case e.Restoring != "":
		d.badf(check, "run the same restore or migrate again, or remove "+path, "it is half restored (from %s)", e.Restoring)
	case len(e.Damage) > 0:
		d.badf(check, "stop the server and restore the newest backup into an empty data directory", "SQLite finds damage: %s", strings.Join(e.Damage, "; "))
	case e.Version > e.Newest:
		d.badf(check, "use the newer program", "its schema is %d, newer than this program's %d", e.Version, e.Newest)
	case len(e.Missing) > 0:
		d.badf(check, "restore a backup into an empty data directory, which makes them anew", "its schema lacks %s", strings.Join(e.Missing, ", "))
	case e.Version < e.Newest:
		d.okf(check, "sound; its schema is %d, and the next start brings it to %d", e.Version, e.Newest)
	case e.Journal > maxJournal:
		d.badf(check, "look for a backup or an export that hangs (hearth jobs list), or restart the server",
			"sound, but %d MiB wait in its write-ahead log: something has been reading for long", e.Journal>>20)
	default:
		d.okf(check, "sound; schema %d with every index", e.Version)
	}
}

// maxJournal is how many bytes may wait in the write-ahead log of SQLite.
const maxJournal = 1 << 30

// doctorTimeout bounds each question to another machine.
const doctorTimeout = 10 * time.Second

func (d *doctor) storage(ctx context.Context) {
	const check = "files"
	if d.cfg.BlobURL == "" {
		d.okf(check, "in the data directory")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	files, err := d.Files(d.cfg.BlobURL, "")
	if err == nil {
		err = errors.Join(files.Ping(ctx), files.Close())
	}
	if err != nil {
		d.badf(check, "look at blob_url, its credentials and the bucket", "%v", err)
		return
	}
	d.okf(check, "the object storage answers")
}

func (d *doctor) backups(ctx context.Context) {
	const check = "backups"
	place := backup.Place(backup.Folder{Path: d.cfg.BackupDir})
	if d.cfg.BackupDir == "" {
		if d.cfg.BlobURL == "" {
			// Opening the storage would make the folder.
			if _, err := os.Stat(filepath.Join(d.cfg.DataDir, "files")); err != nil {
				d.newest(check, nil)
				return
			}
		}
		files, err := d.Files(d.cfg.BlobURL, filepath.Join(d.cfg.DataDir, "files"))
		if err != nil {
			d.badf(check, "look at blob_url", "%v", err)
			return
		}
		defer func() { _ = files.Close() }() // it was only read
		place = backup.Blobs{Store: files}
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	kept, err := place.List(ctx)
	if err != nil {
		d.badf(check, "look at backup_dir or blob_url", "the backups cannot be listed: %v", err)
		return
	}
	d.newest(check, kept)
}

// newest judges the newest backup: with a schedule it must not be older than two of its intervals.
func (d *doctor) newest(check string, kept []backup.File) {
	every := d.cfg.BackupSchedule.Every
	switch {
	case every == 0 && len(kept) == 0:
		d.okf(check, "none; backup_schedule=24h makes one a day")
	case every == 0:
		d.okf(check, "the newest is %s; backup_schedule is off", kept[0].Name)
	case len(kept) == 0:
		d.badf(check, "look at hearth jobs list --queue export; the first comes within "+timetext.FormatDuration(every)+" of the first start", "there is none yet")
	case d.now.Sub(kept[0].At) > 2*every:
		d.badf(check, "look at hearth jobs list --queue export", "the newest, %s, is %s old", kept[0].Name, d.now.Sub(kept[0].At).Round(time.Minute))
	default:
		d.okf(check, "the newest is %s", kept[0].Name)
	}
}
