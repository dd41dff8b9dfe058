package exports

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hearth"
	"hearth/internal/blob"
)

// The memory of a file under way: sinkBuffers buffers of sinkBuffer bytes, next to the compressor's window.
const (
	sinkBuffer  = 256 << 10
	sinkBuffers = 4
	zstdWindow  = 1 << 20
)

// sink takes a file's content from the goroutine that makes it to one that compresses, sums and stores it, through a few
// buffers that go round. Its methods are for one goroutine; finish or abandon ends it.
type sink struct {
	// buf is being filled: who writes appends to it and calls full now and then.
	buf []byte

	ctx    context.Context //nolint:containedctx // the sink lives no longer than the run
	ready  chan []byte
	free   chan []byte
	failed chan struct{}
	worker sync.WaitGroup
	err    error // the worker's; read after failed is closed or the worker has ended

	file   blob.Writer
	out    io.WriteCloser // the compressor, or a no-op around summed
	summed *summed
}

// summed counts and hashes what it passes on.
type summed struct {
	to   io.Writer
	sum  hash.Hash
	size int64
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.sum.Write(p[:n])
	s.size += int64(n)
	return n, err
}

type noClose struct{ io.Writer }

func (noClose) Close() error { return nil }

func newSink(ctx context.Context, file blob.Writer, compression hearth.ExportCompression) (*sink, error) {
	s := &sink{
		ctx: ctx, buf: make([]byte, 0, sinkBuffer+sinkBuffer/8), file: file,
		ready: make(chan []byte, sinkBuffers), free: make(chan []byte, sinkBuffers), failed: make(chan struct{}),
		summed: &summed{to: file, sum: sha256.New()},
	}
	for range sinkBuffers - 1 {
		s.free <- make([]byte, 0, cap(s.buf))
	}
	var err error
	switch compression {
	case hearth.CompressGzip:
		s.out, err = gzip.NewWriterLevel(s.summed, gzip.DefaultCompression)
	case hearth.CompressZstd:
		s.out, err = zstd.NewWriter(s.summed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderLevel(zstd.SpeedDefault))
	case hearth.CompressNone:
		s.out = noClose{s.summed}
	default:
		err = fmt.Errorf("the compression %q is unknown", compression)
	}
	if err != nil {
		return nil, err
	}
	ready := s.ready
	s.worker.Go(func() { s.work(ready) })
	return s, nil
}

// work stores what is ready. After a failure it takes no more.
func (s *sink) work(ready <-chan []byte) {
	for p := range ready {
		if s.err != nil {
			continue
		}
		if _, err := s.out.Write(p); err != nil {
			s.err = err
			close(s.failed)
			continue
		}
		s.free <- p[:0]
	}
}

// full hands the buffer over if it is large enough to be worth it. It fails when the run's context or the storage did.
func (s *sink) full() error {
	if len(s.buf) < sinkBuffer {
		return nil
	}
	return s.flush()
}

func (s *sink) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	s.ready <- s.buf // there is a place for every buffer
	s.buf = nil
	select {
	case s.buf = <-s.free:
		return s.ctx.Err()
	case <-s.failed:
		return s.err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	if err := s.full(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish stores the rest and makes the file visible.
func (s *sink) finish() (size int64, sum string, err error) {
	err = s.flush()
	s.stop()
	err = errors.Join(err, s.err)
	if err == nil {
		err = s.out.Close()
	}
	if err != nil {
		return 0, "", errors.Join(err, s.file.Abort())
	}
	info, err := s.file.Commit()
	if err == nil && info.Size != s.summed.size {
		err = fmt.Errorf("%d bytes were stored, not %d", info.Size, s.summed.size)
	}
	return s.summed.size, hex.EncodeToString(s.summed.sum.Sum(nil)), err
}

// abandon drops the file. After finish or abandon it does nothing.
func (s *sink) abandon() error {
	s.stop()
	return s.file.Abort()
}

func (s *sink) stop() {
	if s.ready != nil {
		close(s.ready)
		s.ready = nil
	}
	s.worker.Wait()
}
