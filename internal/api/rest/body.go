package rest

import (
	"bufio"
	"errors"
	"hash"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"

	"hearth"
)

// requestBody reads a body for an operation: bounded as it comes over the wire and as it reads after its encoding was
// undone, with every failure turned into the client's (CodeMalformedBody, or *http.MaxBytesError for 413).
type requestBody struct {
	wire   io.ReadCloser
	reader io.Reader // wire, or what undoes its encoding; nil until the first read of a compressed body
	limit  int64
	left   int64
	// digest hashes what was read, for a request with an Idempotency-Key.
	digest hash.Hash
}

// bound puts a requestBody in front of the request's body. CodeUnsupportedMediaType for an encoding other than gzip.
// One whose Content-Length is over the limit is refused before any of it is read, with *http.MaxBytesError.
func bound(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit}
	}
	if r.Body == nil || r.Body == http.NoBody {
		r.Body = http.NoBody
		return nil
	}
	body := &requestBody{wire: http.MaxBytesReader(w, r.Body, limit), limit: limit, left: limit}
	if encodings := r.Header.Values("Content-Encoding"); len(encodings) > 0 {
		switch strings.ToLower(strings.TrimSpace(strings.Join(encodings, ","))) {
		case "", "identity":
			body.reader = body.wire
		case "gzip", "x-gzip":
			r.ContentLength = -1
		default:
			w.Header().Set("Accept-Encoding", "gzip")
			return hearth.Errorf(hearth.CodeUnsupportedMediaType, "a body may be compressed with gzip alone")
		}
		r.Header.Del("Content-Encoding")
	} else {
		body.reader = body.wire
	}
	r.Body = body
	return nil
}

// Read returns more of the body.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.reader == nil {
		unzip, err := newUnzip(b.wire)
		if err != nil {
			return 0, bodyError(err)
		}
		b.reader = unzip
	}
	n, err := b.reader.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), &http.MaxBytesError{Limit: b.limit}
	}
	b.left -= int64(n)
	if b.digest != nil {
		b.digest.Write(p[:n])
	}
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = bodyError(err)
	}
	return n, err
}

// maxGzipMembers bounds the gzip files that a body may consist of, one behind the other: an empty one has 23 bytes, and costs as much as a large one.
const maxGzipMembers = 1000

// unzip reads a body that is compressed with gzip.
type unzip struct {
	gzip.Reader
	wire    *bufio.Reader
	members int
}

func newUnzip(wire io.Reader) (*unzip, error) {
	u := &unzip{wire: bufio.NewReader(wire)}
	return u, u.next()
}

// next begins with the next member.
func (u *unzip) next() error {
	if u.members++; u.members > maxGzipMembers {
		return hearth.Errorf(hearth.CodeMalformedBody, "the body consists of more than %d members of gzip", maxGzipMembers)
	}
	err := u.Reset(u.wire)
	u.Multistream(false)
	return err
}

// Read implements io.Reader.
func (u *unzip) Read(p []byte) (int, error) {
	for {
		n, err := u.Reader.Read(p)
		if n > 0 || err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
			if err == io.EOF { //nolint:errorlint // as above: there may be another member
				err = nil
			}
			return n, err
		}
		if _, err := u.wire.Peek(1); err != nil {
			return 0, err
		}
		if err := u.next(); err != nil {
			return 0, err
		}
	}
}

// Close ends the body.
func (b *requestBody) Close() error { return b.wire.Close() }

// bodyError turns the failure to read a body into the client's: none of them is the server's fault.
func bodyError(err error) error {
	if _, ours := errors.AsType[*hearth.Error](err); ours || isTooLarge(err) {
		return err
	}
	message := "the body could not be read to its end"
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		message = "the body did not arrive in time"
	}
	return &hearth.Error{Code: hearth.CodeMalformedBody, Message: message, Cause: err}
}

// ReadBody returns the whole body of a request, which is of JSON: CodeUnsupportedMediaType for another. A body over 64 KiB is held
// against the bounds of CheckJSON while it is read, and what breaks one is read no further; checked reports that it was.
func ReadBody(r *http.Request, maxItems int) (body []byte, checked bool, err error) {
	return readBody(r, func(decoder *jsontext.Decoder) error { return checkJSON(decoder, maxItems) })
}

// readBody returns the whole body of a request, which is of JSON: CodeUnsupportedMediaType for another. A body over 64 KiB is read by check, and
// no further where that refuses it; checked reports that it was.
func readBody(r *http.Request, check func(*jsontext.Decoder) error) (body []byte, checked bool, err error) {
	if r.Body == http.NoBody {
		return nil, false, nil
	}
	in := arriving{from: r.Body}
	if r.ContentLength > 0 {
		// The header is a promise, not a fact: it saves growing, no more.
		in.announced = r.ContentLength
		in.read = make([]byte, 0, min(r.ContentLength+1, freeBody))
	}
	for len(in.read) < freeBody && !in.ended {
		if err := in.more(); err != nil {
			return nil, false, err
		}
	}
	switch {
	case len(in.read) == 0:
		return nil, false, nil
	case !IsJSON(r.Header):
		return nil, false, hearth.Errorf(hearth.CodeUnsupportedMediaType, "the body must be application/json")
	case in.ended:
		return in.read, false, nil
	}
	if err := in.check(check); err != nil {
		return nil, false, in.orTooLarge(err)
	}
	return in.read, true, nil
}

// IsJSON reports whether the headers describe a body of JSON in UTF-8, or say nothing.
func IsJSON(header http.Header) bool {
	values := header.Values("Content-Type")
	if len(values) == 0 || len(values) == 1 && (values[0] == "application/json" || values[0] == "") {
		return true
	}
	if len(values) > 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(values[0])
	charset, named := params["charset"]
	return err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}
