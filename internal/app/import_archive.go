package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"hearth"
	"hearth/internal/core/archive"
	"hearth/internal/core/telemetry"
)

// importArchive brings the logs of a Parquet file back.
func (a *App) importArchive(ctx context.Context, o Import) (_ ImportProgress, err error) {
	_, caller, err := a.importCaller(ctx, o.Owner)
	if err != nil {
		return ImportProgress{}, err
	}
	file, err := a.openParquet(ctx, o.File)
	if err != nil {
		return ImportProgress{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return ImportProgress{}, err
	}
	progress := func(p archive.Progress) ImportProgress {
		// How much of the file was read is told by its rows.
		done := (p.Before + p.Rows + p.Skipped) * info.Size() / max(1, p.Total)
		return ImportProgress{Rows: p.Rows, Before: p.Before, Skipped: p.Skipped, Read: done, Size: info.Size()}
	}
	in := archive.Import{
		File: file, Size: info.Size(), Sink: &archiveSink{app: a, caller: caller}, SkipInvalid: o.SkipInvalid,
		Progress: func(p archive.Progress) {
			if o.Progress != nil {
				o.Progress(progress(p))
			}
		},
	}
	if a.config.Retention > 0 {
		in.Oldest = a.options.Clock.Now().Add(-a.config.Retention)
	}
	p, err := in.Run(ctx)
	return progress(p), err
}

// openParquet opens a file, or takes one of the archive out of the blob store into a temporary file.
func (a *App) openParquet(ctx context.Context, name string) (*os.File, error) {
	file, err := os.Open(name)
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(name, archive.Prefix) {
		return file, err
	}
	from, err := a.files.Open(ctx, name)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil, fmt.Errorf("there is neither a file %s nor one of that key in the blob store", name)
	}
	if err != nil {
		return nil, err
	}
	file, err = os.CreateTemp(a.config.DataDir, "import-*"+archive.Suffix)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	// Nothing is left of it when it is closed, or the program dies.
	_, copied := io.Copy(file, from)
	if err := errors.Join(copied, from.Close(), os.Remove(file.Name())); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// archiveSink stores what a Parquet file has by the same rules as everything else.
type archiveSink struct {
	app    *App
	caller hearth.Caller
}

// Writable implements archive.Sink.
func (s *archiveSink) Writable(ctx context.Context, ids []string) (map[string]bool, error) {
	devices, err := s.app.fleet.Resolve(ctx, s.caller, ids)
	if err != nil {
		return nil, err
	}
	writable := map[string]bool{}
	for i, device := range devices {
		writable[ids[i]] = device != nil && s.caller.Access(*device)&hearth.MayReport != 0
	}
	return writable, nil
}

// Ingest implements archive.Sink.
func (s *archiveSink) Ingest(ctx context.Context, batch archive.Batch) error {
	return s.app.telemetry.Ingest(ctx, s.caller, telemetry.Batch{
		Devices: batch.Devices, Entries: batch.Entries, Checkpoint: &batch.Checkpoint,
		Place: func(index int) string { return fmt.Sprintf("row %d", batch.Rows[index]) },
	})
}

// Checkpoint implements archive.Sink.
func (s *archiveSink) Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	return s.app.store.ImportCheckpoint(ctx, id)
}
