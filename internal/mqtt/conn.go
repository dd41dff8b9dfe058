package mqtt

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"time"

	"hearth/internal/mqtt/packet"
)

// readBuffer is that of each connection, in bytes: thousands are idle.
const readBuffer = 2 << 10

// conn is a connection that packets pass over.
type conn struct {
	net    net.Conn
	reader *bufio.Reader
	once   sync.Once
	// writing is held by who writes. Nothing waits to be written but what they write.
	writing sync.Mutex
}

func newConn(nc net.Conn) *conn {
	return &conn{net: nc, reader: bufio.NewReaderSize(nc, readBuffer)}
}

func (c *conn) close() { c.once.Do(func() { _ = c.net.Close() }) }

// write writes packets. A connection that does not accept them in time is closed.
func (c *conn) write(packets []byte) error {
	if len(packets) == 0 {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.net.Write(packets)
	}
	if err != nil {
		c.close()
	}
	return err
}

// bodies are buffers of the bodies of packets: what is decoded of one keeps nothing of it.
type bodies struct{ pool sync.Pool }

// pooledBody is the size of those that are kept for the next.
const pooledBody = 4 << 10

// read reads the body of a packet, and returns what returns its buffer to the pool.
func (b *bodies) read(c *conn, length int) (body []byte, release func(), err error) {
	if length > pooledBody {
		body = make([]byte, length)
		_, err = io.ReadFull(c.reader, body)
		return body, func() {}, err
	}
	buffer, _ := b.pool.Get().(*[pooledBody]byte)
	if buffer == nil {
		buffer = new([pooledBody]byte)
	}
	_, err = io.ReadFull(c.reader, buffer[:length])
	return buffer[:length], func() { b.pool.Put(buffer) }, err
}

// readUnknown reads the body of a packet before the login: memory grows with what has arrived, not with the length that is claimed.
func readUnknown(c *conn, h packet.Header) ([]byte, error) {
	var body bytes.Buffer
	n, err := io.Copy(&body, io.LimitReader(c.reader, int64(h.Length)))
	if err == nil && n < int64(h.Length) {
		err = io.ErrUnexpectedEOF
	}
	return body.Bytes(), err
}
