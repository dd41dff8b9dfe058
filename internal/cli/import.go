package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"hearth/internal/app"
	"hearth/internal/importer"
)

type importCommand struct {
	Settings
	File            string `arg:"" help:"CSV file with a header, plain, gzip or zstd; an export of logs in any format; or a Parquet file of the archive, or its key in the file storage."`
	Owner           string `placeholder:"E" help:"E-mail address of the owner of the devices. Default: the first administrator."`
	Organization    string `placeholder:"ID" help:"Organization of the owner that the devices belong to."`
	DeviceColumn    string `default:"device" placeholder:"NAME" help:"Column of the device's name (default: device)."`
	TypeColumn      string `default:"type" placeholder:"NAME" help:"Column of the device's type; it may be missing (default: type)."`
	EventColumn     string `default:"event" placeholder:"NAME" help:"Column of the event (default: event)."`
	ValueColumn     string `default:"value" placeholder:"NAME" help:"Column of the value (default: value)."`
	TimestampColumn string `default:"timestamp" placeholder:"NAME" help:"Column of the RFC 3339 time (default: timestamp)."`
	Event           string `placeholder:"NAME" help:"Event of every row, in place of a column."`
	Type            string `placeholder:"NAME" help:"Type of every new device, in place of a column."`
	SkipInvalid     bool   `help:"Skip invalid rows and count them; without it, the import stops."`
}

// Help says what the flags cannot.
func (c *importCommand) Help() string {
	return "Imports logs and creates the devices that they name. An interrupted import continues where it stopped, and a file " +
		"that was imported before adds only what was appended to it: nothing is added twice. It may run while a server runs. " +
		"The logs of an export go to the devices with the ids in it, which are created where they do not exist; those of a file of the archive to " +
		"the devices that --owner may write to. The columns of both are known."
}

// Run imports the file.
func (c *importCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		show := newImportDisplay(p.Stderr)
		progress, err := app.Import(ctx, s, importer.Import{
			File: c.File, Owner: c.Owner, OrganizationID: c.Organization, Event: c.Event, Type: c.Type, SkipInvalid: c.SkipInvalid,
			Columns: importer.Columns{
				Device: c.DeviceColumn, Type: c.TypeColumn, Event: c.EventColumn, Value: c.ValueColumn, Timestamp: c.TimestampColumn,
			},
			Progress: show.update,
		})
		show.end()
		if progress.Rows > 0 || err == nil {
			_, printed := fmt.Fprintln(p.Stdout, summaryOf(progress, time.Since(show.start)))
			err = errors.Join(readable(err), printed)
		}
		return readable(err)
	})
}

// summaryOf says in a line what an import did.
func summaryOf(p importer.Progress, took time.Duration) string {
	text := fmt.Sprintf("imported %d rows in %s (%.0f rows/s), made %d devices", p.Rows, took.Round(time.Millisecond), rate(p.Rows, took), p.Devices)
	if p.Before > 0 {
		text += fmt.Sprintf("; %d rows were imported before", p.Before)
	}
	if p.Skipped > 0 {
		text += fmt.Sprintf("; %d wrong rows were passed over", p.Skipped)
	}
	return text
}

func rate(rows int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(rows) / took.Seconds()
}

// lineEvery is how often progress is told where there is no terminal.
const lineEvery = 5 * time.Second

// importDisplay shows how far an import has come: a bar on a terminal, a line now and then elsewhere.
type importDisplay struct {
	out   io.Writer
	start time.Time
	told  time.Time
	isBar bool
	bar   *progressbar.ProgressBar
}

func newImportDisplay(out io.Writer) *importDisplay {
	now := time.Now()
	file, ok := out.(*os.File)
	return &importDisplay{out: out, start: now, told: now, isBar: ok && term.IsTerminal(int(file.Fd()))}
}

func (d *importDisplay) update(p importer.Progress) {
	now := time.Now()
	if !d.isBar {
		if now.Sub(d.told) >= lineEvery {
			d.told = now
			_, _ = fmt.Fprintf(d.out, "%d rows, %.0f rows/s%s\n", p.Rows, rate(p.Rows, now.Sub(d.start)), percentage(p))
		}
		return
	}
	if d.bar == nil {
		total := p.Size
		if total <= 0 {
			total = -1
		}
		d.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(d.out), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(false))
	}
	d.bar.Describe(fmt.Sprintf("%d rows, %.0f rows/s", p.Rows, rate(p.Rows, now.Sub(d.start))))
	_ = d.bar.Set64(p.Read) // what cannot be shown stops no import
}

func percentage(p importer.Progress) string {
	if p.Size <= 0 {
		return ""
	}
	return fmt.Sprintf(", %d %% of the file", 100*p.Read/p.Size)
}

func (d *importDisplay) end() {
	if d.bar != nil {
		_ = d.bar.Finish()
	}
}
