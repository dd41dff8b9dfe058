package exports

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"hearth"
)

// The bounds of what a Parquet file holds back: rows of a group, and rows of one call.
const (
	groupRows = 128 << 10
	batchRows = 1024
)

// parquetFile writes rows of one type.
type parquetFile[T any] struct {
	writer *parquet.GenericWriter[T]
	batch  []T
}

func newParquet[T any](out *sink, compression hearth.ExportCompression) *parquetFile[T] {
	var codec compress.Codec = &parquet.Uncompressed
	switch compression {
	case hearth.CompressGzip:
		codec = &parquet.Gzip
	case hearth.CompressZstd:
		codec = &parquet.Zstd
	case hearth.CompressNone:
	}
	return &parquetFile[T]{
		writer: parquet.NewGenericWriter[T](out, parquet.MaxRowsPerRowGroup(groupRows), parquet.Compression(codec),
			parquet.CreatedBy("hearth", "", ""), parquet.WriteBufferSize(64<<10)),
		batch: make([]T, 0, batchRows),
	}
}

func (p *parquetFile[T]) add(row T) error {
	p.batch = append(p.batch, row)
	if len(p.batch) < batchRows {
		return nil
	}
	return p.flush()
}

func (p *parquetFile[T]) flush() error {
	_, err := p.writer.Write(p.batch)
	p.batch = p.batch[:0]
	return err
}

// close writes the rest and the file's footer.
func (p *parquetFile[T]) close() error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.writer.Close()
}
