// Package mqtttest is a device that sends MQTT packets as a test wants them, also wrong ones.
package mqtttest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"hearth/internal/mqtt/packet"
)

// patience is how long a packet is waited for.
const patience = 15 * time.Second

// Device is a connection.
type Device struct {
	tb      testing.TB
	version packet.Version
	conn    net.Conn
	reader  *bufio.Reader
}

// Packet is one that the server sent.
type Packet struct {
	packet.Header
	Body []byte
}

// Connect is a CONNECT, in plain fields.
type Connect struct {
	Version            packet.Version // 0: MQTT 3.1.1
	ClientID           string
	Username, Password string
	KeepAlive          uint16
	// Persistent leaves out Clean Session, or Clean Start.
	Persistent bool
	// Properties are those of MQTT 5, encoded.
	Properties               []byte
	WillTopic, WillPayload   string
	WillProperties           []byte
	WillQoS                  byte
	WillRetain, HasEmptyWill bool
}

// Dial connects and sends nothing.
func Dial(tb testing.TB, addr string, version packet.Version) *Device {
	tb.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return Over(tb, conn, version)
}

// Over speaks over a connection that is there.
func Over(tb testing.TB, conn net.Conn, version packet.Version) *Device {
	if version == 0 {
		version = packet.V311
	}
	return &Device{tb: tb, version: version, conn: conn, reader: bufio.NewReader(conn)}
}

// Login connects and logs in; the server must accept.
func Login(tb testing.TB, addr string, c Connect) *Device {
	tb.Helper()
	d := Dial(tb, addr, c.Version)
	if connack := d.Connect(c); connack.Body[1] != 0 {
		tb.Fatalf("CONNECT was answered % x", connack.Body)
	}
	return d
}

// Connect sends a CONNECT and returns the CONNACK.
func (d *Device) Connect(c Connect) Packet {
	d.tb.Helper()
	d.Send(Encode(c))
	return d.Want(packet.CONNACK)
}

// Encode returns a CONNECT.
func Encode(c Connect) []byte {
	if c.Version == 0 {
		c.Version = packet.V311
	}
	flags := byte(0)
	if !c.Persistent {
		flags |= 2
	}
	hasWill := c.WillTopic != "" || c.HasEmptyWill
	if hasWill {
		flags |= 4 | c.WillQoS<<3
		if c.WillRetain {
			flags |= 0x20
		}
	}
	if c.Username != "" {
		flags |= 0x80
	}
	if c.Password != "" {
		flags |= 0x40
	}
	body := append(Text("MQTT"), byte(c.Version), flags, byte(c.KeepAlive>>8), byte(c.KeepAlive))
	properties := func(p []byte) {
		if c.Version == packet.V5 {
			body = append(append(body, byte(len(p))), p...)
		}
	}
	properties(c.Properties)
	body = append(body, Text(c.ClientID)...)
	if hasWill {
		properties(c.WillProperties)
		body = append(append(body, Text(c.WillTopic)...), Text(c.WillPayload)...)
	}
	for _, text := range []string{c.Username, c.Password} {
		if text != "" {
			body = append(body, Text(text)...)
		}
	}
	return Raw(byte(packet.CONNECT)<<4, body)
}

// Text returns a string as packets have it.
func Text(text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

// Raw returns a packet.
func Raw(first byte, body []byte) []byte {
	out := []byte{first}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), body...)
}

// Send sends bytes.
func (d *Device) Send(data []byte) {
	d.tb.Helper()
	if err := d.SendMaybe(data); err != nil {
		d.tb.Fatal(err)
	}
}

// SendMaybe sends bytes that the server may not want.
func (d *Device) SendMaybe(data []byte) error {
	_ = d.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := d.conn.Write(data)
	return err
}

// Publish sends a message, with the id at QoS 1.
func (d *Device) Publish(topic, payload string, id uint16) {
	d.tb.Helper()
	d.Send(d.Message(topic, payload, id))
}

// Message returns a PUBLISH.
func (d *Device) Message(topic, payload string, id uint16) []byte {
	p := packet.Publish{Topic: topic, Payload: []byte(payload), ID: id}
	if id != 0 {
		p.QoS = 1
	}
	return packet.AppendPublish(nil, d.version, p)
}

// Acknowledged publishes a message with QoS 1 and waits for its PUBACK, whose reason it returns.
func (d *Device) Acknowledged(topic, payload string, id uint16) packet.Reason {
	d.tb.Helper()
	d.Publish(topic, payload, id)
	ack := d.Want(packet.PUBACK)
	if got := binary.BigEndian.Uint16(ack.Body); got != id {
		d.tb.Fatalf("%d was acknowledged, not %d", got, id)
	}
	if len(ack.Body) > 2 {
		return packet.Reason(ack.Body[2])
	}
	return packet.Success
}

// Subscribe subscribes to one topic and returns the reason of the SUBACK.
func (d *Device) Subscribe(topic string, qos byte) packet.Reason {
	d.tb.Helper()
	body := []byte{0, 99}
	if d.version == packet.V5 {
		body = append(body, 0)
	}
	d.Send(Raw(byte(packet.SUBSCRIBE)<<4|2, append(append(body, Text(topic)...), qos)))
	suback := d.Want(packet.SUBACK)
	return packet.Reason(suback.Body[len(suback.Body)-1])
}

// Ack acknowledges a message.
func (d *Device) Ack(id uint16) {
	d.tb.Helper()
	d.Send(packet.AppendPuback(nil, d.version, id, packet.Success, ""))
}

// Next returns the next packet; an error where the connection ends.
func (d *Device) Next() (p Packet, err error) {
	_ = d.conn.SetReadDeadline(time.Now().Add(patience))
	if p.Header, err = packet.ReadHeader(d.reader); err != nil {
		return p, err
	}
	p.Body = make([]byte, p.Length)
	_, err = io.ReadFull(d.reader, p.Body)
	return p, err
}

// Want returns the next packet, which must be of that type.
func (d *Device) Want(want packet.Type) Packet {
	d.tb.Helper()
	p, err := d.Next()
	if err != nil || p.Type != want {
		d.tb.Fatalf("got a packet of type %d (% .40x), %v; want type %d", p.Type, p.Body, err, want)
	}
	return p
}

// Message is one that the server published.
type Message struct {
	packet.Publish
	Text string
}

// Received returns the next message of the server.
func (d *Device) Received() Message {
	d.tb.Helper()
	p := d.Want(packet.PUBLISH)
	m, err := packet.DecodePublish(p.Header, p.Body, d.version)
	if err != nil {
		d.tb.Fatal(err)
	}
	return Message{m, fmt.Sprintf("%s %s", m.Topic, m.Payload)}
}

// Closed returns the reason of the DISCONNECT with which the server ends the connection; Success without one.
func (d *Device) Closed() packet.Reason {
	d.tb.Helper()
	reason := packet.Success
	for {
		p, err := d.Next()
		switch {
		case err == nil && p.Type == packet.DISCONNECT:
			reason = packet.Reason(p.Body[0])
		case err == nil:
		default:
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				d.tb.Fatal("the connection does not end")
			}
			return reason
		}
	}
}

// Close ends the connection without a DISCONNECT.
func (d *Device) Close() { _ = d.conn.Close() }
