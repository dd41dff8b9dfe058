package bridge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"hearth/internal/dialect"
	"hearth/internal/mqtt/packet"
)

const (
	// dialTimeout bounds the way to a CONNACK, answerTimeout the wait for a SUBACK or PUBACK, writeTimeout one write.
	dialTimeout   = 10 * time.Second
	answerTimeout = 20 * time.Second
	writeTimeout  = 10 * time.Second
	keepAlive     = 30 * time.Second
	// maxPacket is the largest packet that is read: Zigbee2MQTT's list of devices is long.
	maxPacket = 4 << 20
	// window is how many messages a broker may send before the first is acknowledged, and how many wait to be stored; windowBytes bounds the latter.
	window      = 1000
	windowBytes = 32 << 20
)

// connection is the one of this process to a broker, as an MQTT client.
type connection struct {
	net     net.Conn
	reader  *bufio.Reader
	version packet.Version
	// shared says that the broker has shared subscriptions.
	shared    bool
	maxPacket int // that the broker accepts; 0: any
	keepAlive time.Duration
	// arrived has what was read; space is signalled when what waits was taken.
	arrived chan struct{}
	space   chan struct{}

	mu      sync.Mutex
	waiting []arrival
	bytes   int
	lastID  uint16
	answers map[uint16]chan error // of SUBSCRIBEs and PUBLISHes
	failed  error
	done    chan struct{}

	writing sync.Mutex
}

// arrival is a message that a broker sent.
type arrival struct {
	dialect.Message
	id uint16 // 0: it is not to be acknowledged
	at time.Time
}

// errVersion says that a broker does not know MQTT 5.
var errVersion = errors.New("the broker does not speak MQTT 5")

// refusedError says that a broker refuses the login.
type refusedError struct{ reason packet.Reason }

func (e refusedError) Error() string {
	switch e.reason { //nolint:exhaustive // the others have their number
	case packet.NotAuthorized, 0x86:
		return "the broker refuses the user name or the password"
	case packet.ClientIDNotValid:
		return "the broker refuses the client identifier"
	case packet.ServerUnavailable, packet.ServerBusy:
		return "the broker is not available"
	}
	return "the broker refuses the connection (" + e.reason.String() + ")"
}

// dial connects to the broker of a URL and logs in.
func dial(ctx context.Context, address string, login packet.Connect) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := open(ctx, address)
	if err != nil {
		return nil, err
	}
	c := &connection{
		net: nc, reader: bufio.NewReaderSize(nc, 32<<10), version: login.Version, keepAlive: keepAlive, arrived: make(chan struct{}, 1),
		space: make(chan struct{}, 1), answers: map[uint16]chan error{}, done: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.login(login)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	return c, nil
}

func open(ctx context.Context, address string) (net.Conn, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	secure := u.Scheme == "mqtts"
	port := u.Port()
	switch {
	case port != "":
	case secure:
		port = "8883"
	default:
		port = "1883"
	}
	at := net.JoinHostPort(u.Hostname(), port)
	if secure {
		return (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", at)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", at)
}

func (c *connection) login(login packet.Connect) error {
	login.KeepAlive, login.ReceiveMaximum, login.MaximumPacketSize = uint16(keepAlive/time.Second), window, maxPacket
	if _, err := c.net.Write(packet.AppendConnect(nil, login)); err != nil {
		return err
	}
	h, body, err := c.next()
	switch {
	case errors.Is(err, io.EOF) && login.Version == packet.V5:
		return errVersion // brokers of old close the connection
	case err != nil:
		return err
	case h.Type != packet.CONNACK:
		return errors.New("what answers is no broker")
	}
	accepted, err := packet.DecodeConnack(body, login.Version)
	switch {
	case err != nil:
		return err
	case accepted.Version != login.Version || accepted.Reason == packet.UnsupportedVersion:
		return errVersion
	case accepted.Reason != packet.Success:
		return refusedError{accepted.Reason}
	}
	if accepted.KeepAlive > 0 {
		c.keepAlive = time.Duration(accepted.KeepAlive) * time.Second
	}
	c.shared, c.maxPacket = accepted.Shared, int(accepted.MaximumPacketSize)
	return nil
}

// next reads one packet.
func (c *connection) next() (h packet.Header, body []byte, err error) {
	if h, err = packet.ReadHeader(c.reader); err != nil {
		return h, nil, err
	}
	if h.Length > maxPacket {
		return h, nil, fmt.Errorf("the broker sent a packet of %d bytes", h.Length)
	}
	body = make([]byte, h.Length)
	if _, err = io.ReadFull(c.reader, body); err != nil {
		return h, nil, err
	}
	return h, body, nil
}

// run reads until the connection ends, and closes it.
func (c *connection) run() {
	pinging := make(chan struct{})
	go c.ping(pinging)
	err := c.read()
	close(pinging)
	c.end(err)
}

// end ends the connection for a reason; the first one counts.
func (c *connection) end(err error) {
	c.mu.Lock()
	first := c.failed == nil
	if first {
		c.failed = err
		close(c.done)
	}
	c.mu.Unlock()
	if first {
		_ = c.net.Close()
	}
}

// why returns why the connection has ended.
func (c *connection) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// leave says goodbye to the broker and ends the connection.
func (c *connection) leave() {
	_ = c.write(packet.AppendLeave(nil))
	c.end(net.ErrClosed)
}

func (c *connection) ping(stop <-chan struct{}) {
	ticker := time.NewTicker(c.keepAlive / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if c.write(packet.AppendPingreq(nil)) != nil {
				return
			}
		case <-stop:
			return
		}
	}
}

func (c *connection) read() error {
	for {
		if c.reader.Buffered() == 0 {
			_ = c.net.SetReadDeadline(time.Now().Add(c.keepAlive + answerTimeout))
		}
		h, body, err := c.next()
		if err != nil {
			return err
		}
		switch h.Type { //nolint:exhaustive // the others are errors
		case packet.PUBLISH:
			p, err := packet.DecodePublish(h, body, c.version)
			if err != nil {
				return err
			}
			if !c.push(arrival{dialect.Message{Topic: p.Topic, Payload: p.Payload, Retained: p.Retain}, p.ID, time.Now()}) {
				return net.ErrClosed
			}
		case packet.PUBACK:
			id, reason, err := packet.DecodePuback(body, c.version)
			if err != nil {
				return err
			}
			if reason >= packet.Unspecified {
				err = fmt.Errorf("the broker refuses a message (%s)", reason)
			}
			c.answered(id, err)
		case packet.SUBACK:
			id, reasons, err := packet.DecodeSuback(body, c.version)
			if err != nil {
				return err
			}
			for _, reason := range reasons {
				if reason >= packet.Unspecified {
					err = fmt.Errorf("the broker refuses a subscription (%s)", reason)
				}
			}
			c.answered(id, err)
		case packet.PINGRESP:
		case packet.DISCONNECT:
			return errors.New("the broker closed the connection")
		default:
			return errors.New("the broker sent a packet that is not expected")
		}
	}
}

// push keeps a message until it is taken, and waits while too many are kept. It reports whether it did before the connection's end.
func (c *connection) push(one arrival) bool {
	c.mu.Lock()
	for len(c.waiting) >= window || len(c.waiting) > 0 && c.bytes+len(one.Topic)+len(one.Payload) > windowBytes {
		c.mu.Unlock()
		select {
		case <-c.space:
		case <-c.done:
			return false
		}
		c.mu.Lock()
	}
	c.waiting = append(c.waiting, one)
	c.bytes += len(one.Topic) + len(one.Payload)
	c.mu.Unlock()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
	return true
}

// take returns the messages that wait.
func (c *connection) take() []arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.waiting
	c.waiting, c.bytes = nil, 0
	select {
	case c.space <- struct{}{}:
	default:
	}
	return taken
}

func (c *connection) answered(id uint16, err error) {
	c.mu.Lock()
	answer := c.answers[id]
	delete(c.answers, id)
	c.mu.Unlock()
	if answer != nil {
		answer <- err
	}
}

// ask sends a packet with an id of its own and returns what is answered. It fails where too many wait for theirs.
func (c *connection) ask(fill func(id uint16) []byte) (<-chan error, error) {
	answer := make(chan error, 1)
	c.mu.Lock()
	if len(c.answers) >= window {
		c.mu.Unlock()
		return nil, errors.New("the broker does not acknowledge messages")
	}
	for {
		if c.lastID++; c.lastID != 0 && c.answers[c.lastID] == nil {
			break
		}
	}
	id := c.lastID
	c.answers[id] = answer
	c.mu.Unlock()
	return answer, c.write(fill(id))
}

func (c *connection) await(answer <-chan error) error {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return err
	case <-c.done:
		return c.why()
	case <-timer.C:
		return errors.New("the broker does not answer")
	}
}

// subscribe subscribes to filters with QoS 1.
func (c *connection) subscribe(topics []string) error {
	filters := make([]packet.Filter, len(topics))
	for i, topic := range topics {
		filters[i] = packet.Filter{Topic: topic, QoS: 1}
	}
	answer, err := c.ask(func(id uint16) []byte { return packet.AppendSubscribe(nil, c.version, id, filters) })
	if err != nil {
		return err
	}
	return c.await(answer)
}

// publish sends a message with QoS 1, and returns what the broker answers.
func (c *connection) publish(m dialect.Message) (<-chan error, error) {
	if !packet.ValidTopic(m.Topic) || c.maxPacket > 0 && len(m.Topic)+len(m.Payload)+16 > c.maxPacket {
		return nil, fmt.Errorf("a message to %.100q has no valid topic, or is larger than the broker accepts", m.Topic)
	}
	return c.ask(func(id uint16) []byte {
		return packet.AppendPublish(nil, c.version, packet.Publish{Topic: m.Topic, Payload: m.Payload, QoS: 1, ID: id})
	})
}

// acknowledge acknowledges messages, in their order.
func (c *connection) acknowledge(all []arrival) error {
	var out []byte
	for i := range all {
		if all[i].id != 0 {
			out = packet.AppendPuback(out, c.version, all[i].id, packet.Success, "")
		}
	}
	return c.write(out)
}

func (c *connection) write(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.net.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.net.Write(out); err != nil {
		c.end(err)
		return err
	}
	return nil
}
