package packet

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// body reads the fields of a packet's body. After the first failure, which err keeps, every field is zero.
type body struct {
	rest []byte
	err  error
}

func (b *body) fail(err error) {
	if b.err == nil {
		b.err = err
	}
	b.rest = nil
}

func (b *body) bytes(n int) []byte {
	if n > len(b.rest) {
		b.fail(malformed("a packet ends within a field"))
		return nil
	}
	field := b.rest[:n:n]
	b.rest = b.rest[n:]
	return field
}

func (b *body) uint8() byte {
	if field := b.bytes(1); field != nil {
		return field[0]
	}
	return 0
}

func (b *body) uint16() uint16 {
	if field := b.bytes(2); field != nil {
		return binary.BigEndian.Uint16(field)
	}
	return 0
}

func (b *body) uint32() uint32 {
	if field := b.bytes(4); field != nil {
		return binary.BigEndian.Uint32(field)
	}
	return 0
}

// varint reads a number of up to four bytes.
func (b *body) varint() int {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		c := b.uint8()
		n |= int(c&0x7F) << shift
		if c < 0x80 {
			return n
		}
	}
	b.fail(malformed("a number has more than four bytes"))
	return 0
}

// binary reads bytes with their length before them.
func (b *body) binary() []byte { return b.bytes(int(b.uint16())) }

// text reads a string: UTF-8 without NUL.
func (b *body) text() string {
	field := b.binary()
	if !utf8.Valid(field) || bytes.IndexByte(field, 0) >= 0 {
		b.fail(malformed("a string is not UTF-8, or has a NUL"))
		return ""
	}
	return string(field)
}

// packetID reads the id of a packet, which is never 0.
func (b *body) packetID() uint16 {
	id := b.uint16()
	if id == 0 && b.err == nil {
		b.fail(protocolError("a packet has the id 0"))
	}
	return id
}

// end wants nothing to be left.
func (b *body) end() error {
	if b.err == nil && len(b.rest) > 0 {
		b.fail(malformed("a packet is longer than its fields"))
	}
	return b.err
}

// Will is what a device wants to have published when its connection is lost.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Delay is in seconds.
	Delay uint32
}

// Connect is a CONNECT.
type Connect struct {
	Version   Version
	Clean     bool
	KeepAlive uint16 // seconds
	ClientID  string
	Will      *Will // nil: none
	Username  string
	Password  []byte

	// SessionExpiry is in seconds; 0xFFFFFFFF is for ever. A session of MQTT 3.1.1 that is not clean has that one.
	SessionExpiry uint32
	// ReceiveMaximum is how many PUBLISHes of QoS 1 the client accepts at once.
	ReceiveMaximum uint16
	// MaximumPacketSize is the largest packet that the client accepts; 0: any.
	MaximumPacketSize uint32
	// Problems says that the client accepts reason strings.
	Problems   bool
	AuthMethod string
}

// DecodeConnect decodes the body of a CONNECT. With an unsupported version, only Version is set, and the *Error has UnsupportedVersion.
func DecodeConnect(data []byte) (c Connect, err error) {
	b := &body{rest: data}
	name, level := b.text(), Version(b.uint8())
	switch {
	case b.err != nil:
		return c, b.err
	case name == "MQIsdp" && level == 3, name == "MQTT" && level != V311 && level != V5:
		c.Version = level
		return c, &Error{UnsupportedVersion, "the version of the protocol is not supported"}
	case name != "MQTT":
		return c, malformed("the protocol is not MQTT")
	}
	c.Version = level
	flags := b.uint8()
	c.Clean, c.KeepAlive, c.ReceiveMaximum, c.Problems = flags&2 != 0, b.uint16(), 0xFFFF, true
	if flags&1 != 0 {
		b.fail(malformed("a reserved flag is set"))
	}
	if level == V5 {
		c.properties(b)
	} else if !c.Clean {
		c.SessionExpiry = 0xFFFFFFFF
	}
	c.ClientID = b.text()
	if hasWill, qos := flags&4 != 0, flags>>3&3; hasWill && qos < 3 {
		c.Will = decodeWill(b, level)
		c.Will.QoS, c.Will.Retain = qos, flags&0x20 != 0
	} else if flags&0x3C != 0 {
		b.fail(malformed("the flags of the will are not valid"))
	}
	if flags&0x80 != 0 {
		c.Username = b.text()
	}
	if flags&0x40 != 0 {
		c.Password = bytes.Clone(b.binary())
	}
	return c, b.end()
}

func (c *Connect) properties(b *body) {
	b.properties(func(id property, number uint32, text []byte) bool {
		switch id {
		case propSessionExpiry:
			c.SessionExpiry = number
		case propReceiveMaximum:
			c.ReceiveMaximum = uint16(number)
			return number > 0
		case propMaximumPacketSize:
			c.MaximumPacketSize = number
			return number > 0
		case propRequestProblems:
			c.Problems = number == 1
			return number <= 1
		case propRequestResponses:
			return number <= 1
		case propAuthMethod:
			c.AuthMethod = string(text)
		case propTopicAliasMaximum, propAuthData:
		default:
			return false
		}
		return true
	})
}

func decodeWill(b *body, version Version) *Will {
	w := &Will{}
	if version == V5 {
		b.properties(func(id property, number uint32, _ []byte) bool {
			switch id {
			case propWillDelay:
				w.Delay = number
			case propPayloadFormat:
				return number <= 1
			case propMessageExpiry, propContentType, propResponseTopic, propCorrelation:
			default:
				return false
			}
			return true
		})
	}
	w.Topic, w.Payload = b.text(), bytes.Clone(b.binary())
	return w
}

// Publish is a PUBLISH.
type Publish struct {
	Dup    bool
	QoS    byte
	Retain bool
	// Topic is "" where Alias stands for it.
	Topic string
	// ID is 0 at QoS 0.
	ID uint16
	// Alias is the topic's alias; 0: none. It is the client's.
	Alias   uint16
	Payload []byte
	// Expiry is for how many seconds the message is of use; 0: for ever.
	Expiry uint32
}

// DecodePublish decodes a PUBLISH. Its Payload is a part of data.
func DecodePublish(h Header, data []byte, version Version) (p Publish, err error) {
	b := &body{rest: data}
	p.Dup, p.QoS, p.Retain = h.Flags&8 != 0, h.Flags>>1&3, h.Flags&1 != 0
	switch {
	case p.QoS == 3:
		return p, malformed("there is no QoS 3")
	case p.Dup && p.QoS == 0:
		return p, malformed("a packet of QoS 0 is marked as sent again")
	}
	p.Topic = b.text()
	if p.QoS > 0 {
		p.ID = b.packetID()
	}
	hasAlias := false
	if version == V5 {
		b.properties(func(id property, number uint32, _ []byte) bool {
			switch id {
			case propTopicAlias:
				p.Alias, hasAlias = uint16(number), true
			case propMessageExpiry:
				p.Expiry = number
			case propPayloadFormat:
				return number <= 1
			case propContentType, propResponseTopic, propCorrelation:
			default:
				return false
			}
			return true
		})
	}
	p.Payload = b.rest
	switch {
	case b.err != nil:
	case hasAlias && p.Alias == 0:
		b.fail(&Error{TopicAliasInvalid, "a topic alias is 0"})
	case p.Topic == "" && !hasAlias:
		b.fail(protocolError("a topic is empty"))
	case strings.ContainsAny(p.Topic, "+#"):
		b.fail(&Error{TopicNameInvalid, "a topic has a wildcard"})
	}
	return p, b.err
}

// DecodePuback decodes a PUBACK.
func DecodePuback(data []byte, version Version) (id uint16, reason Reason, err error) {
	b := &body{rest: data}
	id = b.packetID()
	if version == V5 && len(b.rest) > 0 {
		reason = Reason(b.uint8())
		b.reasonProperties(false)
	}
	return id, reason, b.end()
}

// reasonProperties reads the properties that follow a reason, if there are any. sessionExpiry says that they may have one.
func (b *body) reasonProperties(sessionExpiry bool) (expiry uint32, hasExpiry bool) {
	if len(b.rest) == 0 {
		return 0, false
	}
	b.properties(func(id property, number uint32, _ []byte) bool {
		if id == propSessionExpiry && sessionExpiry {
			expiry, hasExpiry = number, true
			return true
		}
		return id == propReasonString
	})
	return expiry, hasExpiry
}

// maxTopics bounds the filters of one packet: kept, each takes many times the bytes of a short one. It is more than a session may have.
const maxTopics = 4096

// tooMany refuses a packet with more filters than maxTopics.
func (b *body) tooMany(filters int) {
	if filters == maxTopics {
		b.fail(&Error{QuotaExceeded, "a packet has more than 4096 topic filters"})
	}
}

// Filter is one topic filter of a SUBSCRIBE.
type Filter struct {
	Topic string
	QoS   byte
}

// DecodeSubscribe decodes a SUBSCRIBE.
func DecodeSubscribe(data []byte, version Version) (id uint16, filters []Filter, err error) {
	b := &body{rest: data}
	id = b.packetID()
	if version == V5 {
		b.properties(func(id property, _ uint32, _ []byte) bool {
			if id == propSubscriptionID {
				b.fail(&Error{SubscriptionIDsNotGiven, "subscription identifiers are not supported"})
			}
			return id == propSubscriptionID
		})
	}
	for b.err == nil && len(b.rest) > 0 {
		if b.tooMany(len(filters)); b.err != nil {
			break
		}
		topic, options := b.text(), b.uint8()
		unused := byte(0xFC)
		if version == V5 {
			unused = 0xC0
		}
		switch {
		case b.err != nil:
		case options&unused != 0, options&3 == 3, version == V5 && options>>4&3 == 3:
			b.fail(malformed("the options of a subscription are not valid"))
		case topic == "":
			b.fail(malformed("a topic filter is empty"))
		default:
			filters = append(filters, Filter{topic, options & 3})
		}
	}
	if b.err == nil && len(filters) == 0 {
		b.fail(protocolError("a SUBSCRIBE has no filter"))
	}
	return id, filters, b.err
}

// DecodeUnsubscribe decodes an UNSUBSCRIBE.
func DecodeUnsubscribe(data []byte, version Version) (id uint16, topics []string, err error) {
	b := &body{rest: data}
	id = b.packetID()
	if version == V5 {
		b.properties(func(property, uint32, []byte) bool { return false })
	}
	for b.err == nil && len(b.rest) > 0 {
		if b.tooMany(len(topics)); b.err != nil {
			break
		}
		if topic := b.text(); topic != "" {
			topics = append(topics, topic)
		} else {
			b.fail(malformed("a topic filter is empty"))
		}
	}
	if b.err == nil && len(topics) == 0 {
		b.fail(protocolError("an UNSUBSCRIBE has no filter"))
	}
	return id, topics, b.err
}

// Disconnect is a DISCONNECT of a client.
type Disconnect struct {
	Reason Reason
	// SessionExpiry is the one that counts from now on, if HasExpiry.
	SessionExpiry uint32
	HasExpiry     bool
}

// DecodeDisconnect decodes a DISCONNECT.
func DecodeDisconnect(data []byte, version Version) (d Disconnect, err error) {
	b := &body{rest: data}
	if version == V5 && len(data) > 0 {
		d.Reason = Reason(b.uint8())
		d.SessionExpiry, d.HasExpiry = b.reasonProperties(true)
	}
	return d, b.end()
}

// DecodeEmpty checks the body of a packet that has none, such as a PINGREQ.
func DecodeEmpty(data []byte) error { return (&body{rest: data}).end() }
