// Package brotli stands in for the Brotli compressor that the Parquet library registers. hearth writes no Brotli, and reads only its own
// files; the real one is 0.8 MB of the program (docs/adr/0016-what-the-binary-weighs.md).
package brotli

import (
	"errors"
	"io"
)

var errNoBrotli = errors.New("brotli is not a part of this program")

// WriterOptions have what the Parquet library sets.
type WriterOptions struct{ Quality, LGWin int }

// Writer refuses to write.
type Writer struct{}

// NewWriterOptions returns a Writer.
func NewWriterOptions(io.Writer, WriterOptions) *Writer { return &Writer{} }

// Reset does nothing.
func (*Writer) Reset(io.Writer) {}

// Write fails.
func (*Writer) Write([]byte) (int, error) { return 0, errNoBrotli }

// Close fails.
func (*Writer) Close() error { return errNoBrotli }

// Reader refuses to read.
type Reader struct{}

// NewReader returns a Reader.
func NewReader(io.Reader) *Reader { return &Reader{} }

// Reset fails.
func (*Reader) Reset(io.Reader) error { return errNoBrotli }

// Read fails.
func (*Reader) Read([]byte) (int, error) { return 0, errNoBrotli }
