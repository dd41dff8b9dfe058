package s3blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"hearth"
	"hearth/internal/blob"
)

// abortGrace is how long an upload whose writer's context ended may take to tidy up at the storage.
const abortGrace = 15 * time.Second

// Create implements blob.Store. One part is held in memory.
func (s *Store) Create(ctx context.Context, key string) (blob.Writer, error) {
	if err := errors.Join(ctx.Err(), blob.ValidateKey(key)); err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	w := &writer{ctx: ctx, key: key, to: to, done: make(chan struct{})}
	// The upload outlives ctx a little: the parts that were sent are removed by it.
	upload, end := context.WithCancel(context.WithoutCancel(ctx))
	w.unwatch = context.AfterFunc(ctx, func() {
		to.CloseWithError(context.Cause(ctx))
		select {
		case <-w.done:
		case <-time.After(abortGrace):
			end()
		}
	})
	go func() {
		defer close(w.done)
		defer end()
		err := s.upload(upload, key, from)
		w.err = translate(ctx, err)
		if err == nil {
			w.stat, w.err = s.Stat(upload, key)
		}
		// The writer's side learns of a failure at its next Write.
		from.CloseWithError(errors.Join(w.err, io.ErrClosedPipe))
	}()
	return w, nil
}

// small is the size up to which a file goes in one request.
const small = 1 << 20

// upload sends what from returns. Nothing is there when it fails, also when from does.
func (s *Store) upload(ctx context.Context, key string, from io.Reader) error {
	o := minio.PutObjectOptions{PartSize: s.partSize, ContentType: "application/octet-stream", DisableContentSha256: true}
	head := make([]byte, small)
	n, err := io.ReadFull(from, head)
	head = head[:n]
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		_, err = s.core.Client.PutObject(ctx, s.bucket, s.prefix+key, bytes.NewReader(head), int64(n), o)
	case err == nil:
		_, err = s.core.Client.PutObject(ctx, s.bucket, s.prefix+key, io.MultiReader(bytes.NewReader(head), from), -1, o)
	}
	return err
}

type writer struct {
	ctx     context.Context //nolint:containedctx // the contract binds the writer's life to it
	key     string
	to      *io.PipeWriter
	unwatch func() bool
	over    bool
	// err and stat are the upload's end, readable once done is closed.
	done chan struct{}
	err  error
	stat blob.Info
}

var (
	errOver    = errors.New("the file was committed or aborted before")
	errAborted = errors.New("the file was aborted")
)

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.over {
		return 0, errOver
	}
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.to.Write(p)
	if err != nil {
		return n, w.failure(err)
	}
	return n, nil
}

// failure returns the upload's own error, if it has ended, and else err.
func (w *writer) failure(err error) error {
	select {
	case <-w.done:
		if w.err != nil {
			return w.err
		}
	default:
		if w.ctx.Err() == nil {
			<-w.done
			return w.failure(err)
		}
	}
	return err
}

// Commit implements blob.Writer.
func (w *writer) Commit() (blob.Info, error) {
	if w.over {
		return blob.Info{}, errOver
	}
	if err := w.ctx.Err(); err != nil {
		return blob.Info{}, errors.Join(err, w.Abort())
	}
	w.over = true
	w.to.Close()
	<-w.done
	w.unwatch()
	return w.stat, w.err
}

// Abort implements blob.Writer: what was sent is removed at the storage when it returns.
func (w *writer) Abort() error {
	if w.over {
		return nil
	}
	w.over = true
	w.to.CloseWithError(errAborted)
	<-w.done
	w.unwatch()
	return nil
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, key string) (blob.Reader, error) {
	info, etag, err := s.stat(ctx, key)
	if err != nil {
		return nil, err
	}
	return &reader{s: s, ctx: ctx, info: info, etag: etag}, nil
}

// reader asks for the rest of the file when it is read after Open or Seek. Every answer must carry the first one's ETag.
type reader struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // the contract binds the reader's life to it
	info   blob.Info
	etag   string
	at     int64
	body   io.ReadCloser
	closed bool
}

// Info implements blob.Reader.
func (r *reader) Info() blob.Info { return r.info }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, unavailable(errors.New("the reader is closed"))
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.at >= r.info.Size {
		return 0, io.EOF
	}
	if r.body == nil {
		if err := r.ask(); err != nil {
			return 0, err
		}
	}
	n, err := r.body.Read(p)
	r.at += int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.at < r.info.Size:
		return n, unavailable(io.ErrUnexpectedEOF)
	case err != nil && !errors.Is(err, io.EOF):
		return n, translate(r.ctx, err)
	case errors.Is(err, io.EOF) && n > 0:
		return n, nil
	}
	return n, err
}

func (r *reader) ask() error {
	var o minio.GetObjectOptions
	if err := errors.Join(o.SetRange(r.at, r.info.Size-1), o.SetMatchETag(r.etag)); err != nil {
		return err
	}
	body, now, _, err := r.s.core.GetObject(r.ctx, r.s.bucket, r.s.prefix+r.info.Key, o)
	if err != nil {
		return translate(r.ctx, err)
	}
	if now.ETag != r.etag {
		return errors.Join(replaced(errors.New("another ETag")), body.Close())
	}
	r.body = body
	return nil
}

// Seek implements io.Seeker. It asks for nothing yet.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.info.Size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return r.at, hearth.Errorf(hearth.CodeRangeNotSatisfiable, "the place is before the file's beginning")
	}
	if offset != r.at && r.body != nil {
		r.body.Close()
		r.body = nil
	}
	r.at = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.closed = true
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
