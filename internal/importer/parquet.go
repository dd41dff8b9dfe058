package importer

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

// parquet imports the logs of a Parquet file.
func (i *Importer) parquet(ctx context.Context, o Import) (_ Progress, err error) {
	_, caller, err := i.caller(ctx, o.Owner)
	if err != nil {
		return Progress{}, err
	}
	file, err := i.openParquet(ctx, o.File)
	if err != nil {
		return Progress{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return Progress{}, err
	}
	progress := func(p archive.Progress) Progress {
		// The rows say how much of the file was read.
		done := (p.Before + p.Rows + p.Skipped) * info.Size() / max(1, p.Total)
		return Progress{Rows: p.Rows, Before: p.Before, Skipped: p.Skipped, Devices: p.Devices, Read: done, Size: info.Size()}
	}
	in := archive.Import{
		File: file, Size: info.Size(), Sink: archiveSink{&storeSink{Importer: i, caller: caller, organization: o.OrganizationID}}, SkipInvalid: o.SkipInvalid,
		Progress: func(p archive.Progress) {
			if o.Progress != nil {
				o.Progress(progress(p))
			}
		},
	}
	if i.Retention > 0 {
		in.Oldest = i.Clock.Now().Add(-i.Retention)
	}
	p, err := in.Run(ctx)
	return progress(p), err
}

// openParquet opens a file, or copies one of the archive from the blob store into a temporary file.
func (i *Importer) openParquet(ctx context.Context, name string) (*os.File, error) {
	file, err := os.Open(name)
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(name, archive.Prefix) {
		return file, err
	}
	from, err := i.Files.Open(ctx, name)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil, fmt.Errorf("there is neither a file %s nor one of that key in the blob store", name)
	}
	if err != nil {
		return nil, err
	}
	file, err = os.CreateTemp(i.DataDir, "import-*"+archive.Suffix)
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

// archiveSink is a storeSink for the rows of a Parquet file.
type archiveSink struct{ *storeSink }

// Create implements archive.Sink.
func (s archiveSink) Create(ctx context.Context, wanted []archive.Device) error {
	devices := make([]csvDevice, len(wanted))
	for i, device := range wanted {
		devices[i] = csvDevice(device)
	}
	_, err := s.storeSink.Create(ctx, devices)
	return err
}

// Ingest implements archive.Sink.
func (s archiveSink) Ingest(ctx context.Context, batch archive.Batch) error {
	_, err := s.Telemetry.Ingest(ctx, s.caller, telemetry.Batch{
		Devices: batch.Devices, Entries: batch.Entries, Checkpoint: &batch.Checkpoint,
		Place: func(index int) string { return fmt.Sprintf("row %d", batch.Rows[index]) },
	})
	return err
}
