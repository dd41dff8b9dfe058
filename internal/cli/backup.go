package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"hearth/internal/app"
	"hearth/internal/backup"
	"hearth/internal/observe"
)

type backupCommand struct {
	Create  backupCreateCommand  `cmd:"" help:"Write a backup of the whole store. Works while a server runs."`
	List    backupListCommand    `cmd:"" help:"List the backups that are kept where the configuration says."`
	Verify  backupVerifyCommand  `cmd:"" help:"Read a whole backup and check its sums, its counts and the chain of the audit."`
	Restore backupRestoreCommand `cmd:"" help:"Restore a backup into an empty store and compare."`
}

type backupCreateCommand struct {
	Settings
	File   string `arg:"" optional:"" help:"New file. Default: named by the time, in backup_dir or the file storage."`
	ToBlob bool   `help:"Keep the backup in the file storage (blob_url), whatever backup_dir says."`
}

type backupListCommand struct{ Settings }

type backupVerifyCommand struct {
	Settings
	File string `arg:"" help:"A file, or a name that hearth backup list shows."`
}

type backupRestoreCommand struct {
	Settings
	File string `arg:"" help:"A file, or a name that hearth backup list shows."`
	To   string `placeholder:"URL" help:"The empty store: sqlite:PATH (a data directory) or mongodb://… Default: the configuration's."`
}

type migrateCommand struct {
	Settings
	From string `required:"" placeholder:"URL" help:"The store that moves: sqlite:PATH (a data directory) or mongodb://…"`
	To   string `required:"" placeholder:"URL" help:"The empty store that it moves into."`
}

// Help says what the flags cannot.
func (c *migrateCommand) Help() string {
	return "Copies everything of one store into another, empty one, reads it back and compares. Stop every server first: a SQLite store is " +
		"read-only meanwhile. An interrupted move continues when it is called again; until it has succeeded, " +
		"no server starts on the new store. The old one is not changed."
}

// Run archives the store.
func (c *backupCreateCommand) Run(ctx context.Context, p *Process) error {
	if c.File != "" && c.ToBlob {
		return usageError{fmt.Errorf("--to-blob and a file exclude each other")}
	}
	return restoring(p, &c.Settings, func(b backup.Operator, show *recordDisplay) error {
		file, manifest, err := b.Create(ctx, backup.Order{File: c.File, ToBlob: c.ToBlob})
		show.end()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.Stdout, "%s: %d bytes, %d users, %d devices, %d logs, %d audit entries, in %s\n", file.Name, file.Size,
			manifest.Records("users"), manifest.Records("devices"), manifest.Records("logs"), manifest.Records("audit"),
			time.Since(show.start).Round(time.Millisecond))
		return err
	})
}

// Run lists archives.
func (c *backupListCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	files, err := backup.Operator{Config: cfg, Stores: app.BackupStores(nil, nil)}.List(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	row(table, "NAME", "MADE", "BYTES", "BY")
	for _, f := range files {
		by := "hand"
		if f.Scheduled {
			by = "schedule"
		}
		row(table, f.Name, f.At.Format(time.RFC3339), fmt.Sprint(f.Size), by)
	}
	return table.Flush()
}

// Run verifies an archive.
func (c *backupVerifyCommand) Run(ctx context.Context, p *Process) error {
	return restoring(p, &c.Settings, func(b backup.Operator, show *recordDisplay) error {
		manifest, err := b.Verify(ctx, c.File)
		show.end()
		if err != nil {
			return err
		}
		return printManifest(p.Stdout, manifest, "the archive is whole")
	})
}

// Run restores an archive.
func (c *backupRestoreCommand) Run(ctx context.Context, p *Process) error {
	return restoring(p, &c.Settings, func(b backup.Operator, show *recordDisplay) error {
		manifest, err := b.Restore(ctx, c.File, c.To)
		show.end()
		if err != nil {
			return err
		}
		return printManifest(p.Stdout, manifest, "restored in "+time.Since(show.start).Round(time.Millisecond).String()+
			"; the store holds what the archive holds, and its rollups agree with its logs")
	})
}

// Run moves a store.
func (c *migrateCommand) Run(ctx context.Context, p *Process) error {
	return restoring(p, &c.Settings, func(b backup.Operator, show *recordDisplay) error {
		streams, err := b.Move(ctx, c.From, c.To)
		show.end()
		if err != nil {
			return err
		}
		return printManifest(p.Stdout, backup.Manifest{Streams: streams}, "moved in "+time.Since(show.start).Round(time.Millisecond).String()+
			"; both stores hold the same")
	})
}

// restoring does something that needs no running program.
func restoring(p *Process, s *Settings, do func(backup.Operator, *recordDisplay) error) error {
	cfg, err := s.load(p)
	if err != nil {
		return err
	}
	logger, closer, err := observe.NewLogger(observe.LogOptions{Writer: p.Stderr, Level: cfg.LogLevel, Format: cfg.LogFormat, Dir: cfg.LogDir})
	if err != nil {
		return err
	}
	defer func() { _ = closer.Close() }()
	show := newRecordDisplay(p.Stderr)
	return do(backup.Operator{Config: cfg, Stores: app.BackupStores(logger, nil), Version: Version(), Progress: show.update}, show)
}

func printManifest(w io.Writer, m backup.Manifest, end string) error {
	if m.ID != "" {
		if _, err := fmt.Fprintf(w, "archive %s of %s, from a %s store of hearth %s\n", m.ID, m.CreatedAt.Format(time.RFC3339), m.Store, m.Program); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range m.Streams {
		row(table, s.Name, fmt.Sprint(s.Records))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, end)
	return err
}

// recordDisplay shows how far work on records has come: a bar on a terminal, a line now and then elsewhere.
type recordDisplay struct {
	out   io.Writer
	start time.Time
	told  time.Time
	isBar bool
	bar   *progressbar.ProgressBar
	step  string
}

func newRecordDisplay(out io.Writer) *recordDisplay {
	now := time.Now()
	file, ok := out.(*os.File)
	return &recordDisplay{out: out, start: now, told: now, isBar: ok && term.IsTerminal(int(file.Fd()))}
}

func (d *recordDisplay) update(p backup.Progress) {
	now := time.Now()
	if !d.isBar {
		if now.Sub(d.told) < lineEvery {
			return
		}
		d.told = now
		of := ""
		if p.Total > 0 {
			of = fmt.Sprintf(" of %d", p.Total)
		}
		_, _ = fmt.Fprintf(d.out, "%s: %d%s records\n", p.Step, p.Records, of)
		return
	}
	if d.bar == nil || d.step != p.Step {
		d.end()
		total := p.Total
		if total <= 0 {
			total = -1
		}
		d.step = p.Step
		d.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(d.out), progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("records"), progressbar.OptionSetDescription(p.Step))
	}
	_ = d.bar.Set64(p.Records) // what cannot be shown stops no work
}

func (d *recordDisplay) end() {
	if d.bar != nil {
		_ = d.bar.Finish()
		d.bar = nil
	}
}
