package exports

import (
	"context"
	"errors"
	"fmt"

	"hearth"
)

// produce writes the export's file and makes it visible. When it fails, no file is left.
func (r *running) produce(ctx context.Context) (result *hearth.ExportResult, err error) {
	file, err := r.s.o.Files.Create(ctx, r.key())
	if err != nil {
		return nil, err
	}
	around := r.export.Compression
	if r.export.Format == hearth.FormatParquet {
		around = hearth.CompressNone // it compresses inside
	}
	out, err := newSink(ctx, file, around)
	if err != nil {
		return nil, errors.Join(err, file.Abort())
	}
	defer func() { err = errors.Join(err, out.abandon()) }()
	switch r.export.Type {
	case hearth.ExportLogs:
		err = r.writeLogs(ctx, out)
	case hearth.ExportUsage:
		err = r.s.o.Snapshot(ctx, func(ctx context.Context) error { return writeReport(r, out, usageColumns, r.usage(ctx)) })
	case hearth.ExportDevices:
		err = r.s.o.Snapshot(ctx, func(ctx context.Context) error { return writeReport(r, out, deviceColumns, r.fleet(ctx)) })
	default:
		err = fmt.Errorf("the export type %q is unknown", r.export.Type)
	}
	if err != nil {
		return nil, err
	}
	r.enter(stepStoring)
	size, sum, err := out.finish()
	if err != nil {
		return nil, err
	}
	return &hearth.ExportResult{FileName: fileName(r.export), Size: size, SHA256: sum, Records: r.records.Load()}, nil
}
