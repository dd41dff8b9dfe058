package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"hearth"
	"hearth/internal/app"
	"hearth/internal/importer"
)

type importCommand struct {
	Settings
	File            string `arg:"" help:"CSV file with a header, plain, gzip or zstd; an export of logs in any format; a Parquet file of the archive, or its key in the file storage; or - for the standard input."`
	Owner           string `placeholder:"E" help:"E-mail address of the owner of the devices. Default: the first administrator."`
	Organization    string `placeholder:"ID" help:"Organization of the owner that the devices belong to."`
	DeviceColumn    string `default:"device" placeholder:"NAME" help:"Column of the device's name (default: device)."`
	TypeColumn      string `default:"type" placeholder:"NAME" help:"Column of the device's type; it may be missing (default: type)."`
	EventColumn     string `default:"event" placeholder:"NAME" help:"Column of the event (default: event)."`
	ValueColumn     string `default:"value" placeholder:"NAME" help:"Column of the value (default: value)."`
	TimestampColumn string `default:"timestamp" placeholder:"NAME" help:"Column of the time (default: timestamp)."`
	Event           string `placeholder:"NAME" help:"Event of every row, in place of a column."`
	Type            string `placeholder:"NAME" help:"Type of every new device, in place of a column."`
	Device          string `placeholder:"NAME" help:"Device of every row, in place of a column."`
	Wide            bool   `help:"Each column but those of the device, its type and the time is an event."`

	Delimiter  string   `placeholder:"CHAR" help:"What separates columns: one of , ; | : or tab (default: a comma)."`
	Decimal    string   `placeholder:"CHAR" help:"The decimal sign of numbers: . or , (default: a point)."`
	Encoding   string   `placeholder:"NAME" help:"utf-8, utf-16le, utf-16be or latin1. A byte order mark counts for more (default: utf-8)."`
	TimeFormat string   `placeholder:"FORMAT" help:"rfc3339, unix, unix_ms, or a layout such as '%d.%m.%Y %H:%M' (default: rfc3339)."`
	TimeZone   string   `placeholder:"ZONE" help:"Zone of times without an offset, such as Europe/Berlin (default: UTC)."`
	Map        []string `placeholder:"TEXT=VALUE,..." help:"What cells stand for, such as on=true,off=false."`

	SkipInvalid bool `help:"Skip invalid rows, count them and name the first; without it, the import stops."`
	DryRun      bool `help:"Print the first 10 rows as they are understood, and store nothing."`
}

// Help says what the flags cannot.
func (c *importCommand) Help() string {
	return "Imports logs and creates the devices that they name. An interrupted import continues where it stopped, and a file " +
		"that was imported before adds only what was appended to it: nothing is added twice. It may run while a server runs. " +
		"The logs of an export go to the devices with the ids in it, which are created where they do not exist; those of a file of the archive to " +
		"the devices that --owner may write to. The columns of both are known. The standard input is kept in a temporary file in the data directory while it is " +
		"imported: the same text, given again, goes on where it stopped. Reading the file with other options is another import."
}

// Run imports the file.
func (c *importCommand) Run(ctx context.Context, p *Process) error {
	o := importer.Import{
		File: c.File, Stdin: p.Stdin, Owner: c.Owner, OrganizationID: c.Organization, Event: c.Event, Type: c.Type, SkipInvalid: c.SkipInvalid,
		Columns: importer.Columns{Device: c.DeviceColumn, Type: c.TypeColumn, Event: c.EventColumn, Value: c.ValueColumn, Timestamp: c.TimestampColumn},
		Format: importer.Format{
			Delimiter: c.Delimiter, Decimal: c.Decimal, Encoding: c.Encoding, TimeZone: c.TimeZone, TimeFormat: c.TimeFormat,
			Device: c.Device, Wide: c.Wide, Map: c.Map,
		},
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	if c.DryRun {
		return preview(p.Stdout, o)
	}
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		show := newImportDisplay(p.Stderr)
		o.Progress = show.update
		progress, err := app.Import(ctx, s, o)
		show.end()
		for _, row := range progress.Invalid {
			_, _ = fmt.Fprintln(p.Stderr, "skipped", row)
		}
		if more := progress.Skipped - int64(len(progress.Invalid)); more > 0 && len(progress.Invalid) > 0 {
			_, _ = fmt.Fprintf(p.Stderr, "skipped %d more\n", more)
		}
		if progress.Rows > 0 || err == nil {
			_, printed := fmt.Fprintln(p.Stdout, summaryOf(progress, time.Since(show.start)))
			err = errors.Join(readable(err), printed)
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			_, _ = fmt.Fprintln(p.Stderr, "run it again to go on where it stopped")
		}
		return readable(err)
	})
}

// previewRows is how many rows a dry run prints.
const previewRows = 10

// preview prints the first rows of a file.
func preview(out io.Writer, o importer.Import) error {
	rows, err := o.Preview(time.Now(), previewRows)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "line\ttimestamp\tdevice\ttype\tevent\tvalue\tvalue type")
	for _, row := range rows {
		if row.Problem != "" {
			_, _ = fmt.Fprintf(table, "%d\t%s\n", row.Line, row.Problem)
			continue
		}
		value := row.Log.Value
		text := fmt.Sprint(value)
		if value.Kind() == hearth.TextKind {
			text = strconv.Quote(value.Text())
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%q\t%q\t%s\t%s\t%s\n",
			row.Line, time.UnixMilli(row.Log.At).UTC().Format("2006-01-02T15:04:05.000Z"), row.Device, row.Type, row.Log.Event, text, value.Kind())
	}
	return errors.Join(readable(err), table.Flush())
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
