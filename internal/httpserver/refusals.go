package httpserver

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
)

// ownHeaders are those of the answers that net/http writes to what it cannot read as a request. No answer of a handler has exactly these.
const ownHeaders = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// maxOwn is longer than every answer of net/http's own.
const maxOwn = 512

// conn is a connection whose answers by net/http itself are replaced by those of refused. Everything else passes as it is.
type conn struct {
	net.Conn
	refused func(remote string, status int) []byte
	closed  func()
}

// Write implements net.Conn. net/http writes each answer of its own in one piece.
func (c *conn) Write(data []byte) (int, error) {
	status := ownStatus(data)
	if status == 0 || c.refused == nil {
		return c.Conn.Write(data)
	}
	if _, err := c.Conn.Write(c.refused(c.RemoteAddr().String(), status)); err != nil {
		return 0, err
	}
	return len(data), nil
}

// ReadFrom implements io.ReaderFrom: the kernel sends files.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// CloseWrite ends what is sent. net/http calls it before it waits for a client to read a refusal.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return c.Conn.Close()
}

// ownStatus returns the status of an answer that net/http wrote by itself; 0 for everything else. The status is the client's fault: a version
// or an encoding of HTTP that is not known is a bad request like any other.
func ownStatus(data []byte) int {
	const version = len("HTTP/1.1 ")
	if len(data) > maxOwn || len(data) < version+3 || !bytes.HasPrefix(data, []byte("HTTP/1.")) {
		return 0
	}
	line, body, plain := bytes.Cut(data, []byte(ownHeaders))
	status, err := strconv.Atoi(string(data[version : version+3]))
	switch {
	case err != nil:
		return 0
	case plain && (bytes.Equal(body, line[version:]) || status == http.StatusNotImplemented):
	case status == http.StatusExpectationFailed && bytes.HasSuffix(data, []byte("\r\n\r\n")): // which no handler answers
	default:
		return 0
	}
	if status >= http.StatusInternalServerError {
		return http.StatusBadRequest
	}
	return status
}
