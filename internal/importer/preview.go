package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"hearth"
	"hearth/internal/core/archive"
)

// Stdin is the standard input as Import.File.
const Stdin = "-"

// Check checks what is said of the file before anything is read; an error names the flag.
func (o Import) Check() error {
	_, err := checkText(o.Format, o.Columns, o.Event, o.Type)
	return err
}

// Previewed is a log as an import understands it, or what is wrong with a row.
type Previewed struct {
	Line    int64
	Device  string
	Type    string
	Log     hearth.LogEntry // without a device
	Problem string
}

// Preview reads the first logs of a text file, at most limit, and stores nothing.
func (o Import) Preview(now time.Time, limit int) (rows []Previewed, err error) {
	if strings.HasSuffix(o.File, archive.Suffix) {
		return nil, errors.New("--dry-run reads CSV, JSON and NDJSON, not Parquet")
	}
	options := csvImport{Columns: o.Columns, Event: o.Event, Type: o.Type, Format: o.Format}
	if options.format, err = checkText(o.Format, o.Columns, o.Event, o.Type); err != nil {
		return nil, err
	}
	if o.File == Stdin {
		head, err := io.ReadAll(io.LimitReader(o.Stdin, previewBytes))
		if err != nil {
			return nil, fmt.Errorf("read the standard input: %w", err)
		}
		options.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(head))), nil }
	} else {
		options.Open = func() (io.ReadCloser, error) { return os.Open(o.File) }
	}
	r := &run{options: options}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.begin(); err != nil {
		return nil, err
	}
	for len(rows) < limit {
		line, first, err := r.layout.next(r.lines)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil && !errors.Is(err, errLine) {
			return rows, fmt.Errorf("read line %d: %w", r.lines.number, err)
		}
		rows = append(rows, r.layout.preview(line, err, first, now)...)
	}
	return rows[:limit], nil
}

// previewBytes is how much of the standard input a preview reads.
const previewBytes = 4 << 20

// preview returns the logs of a line, or its problem.
func (l *layout) preview(line []byte, failed error, first int64, now time.Time) (rows []Previewed) {
	if failed != nil {
		return []Previewed{{Line: first, Problem: "is longer than 64 KiB"}}
	}
	if len(line) == 0 {
		return nil
	}
	row, problem := l.parse(line, now)
	if problem != "" {
		return []Previewed{{Line: first, Problem: problem}}
	}
	for _, one := range row.readings {
		rows = append(rows, Previewed{
			Line: first, Device: string(row.device), Type: string(row.kind), Log: hearth.LogEntry{Event: one.event, Value: one.value, At: row.at},
		})
	}
	return rows
}

// stdin imports the standard input: a file that is there as long as the import, so that it can be read from the beginning again.
func (i *Importer) stdin(ctx context.Context, o Import) (_ Progress, err error) {
	file, err := os.CreateTemp(i.DataDir, "import-*.tmp")
	if err != nil {
		return Progress{}, err
	}
	// Nothing is left of it when it is closed, or the program dies.
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := os.Remove(file.Name()); err != nil {
		return Progress{}, err
	}
	size, err := io.Copy(file, &untilDone{ctx, o.Stdin})
	if err != nil {
		return Progress{}, fmt.Errorf("read the standard input: %w", err)
	}
	return i.csv(ctx, o, size, func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(file, 0, size)), nil })
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx    context.Context //nolint:containedctx // it lives as long as one copy
	reader io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.reader.Read(p)
}
