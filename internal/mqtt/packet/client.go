package packet

import (
	"encoding/binary"
	"strings"
)

// AppendConnect appends a CONNECT of a client without a will. Of c, MaximumPacketSize and ReceiveMaximum are left out where they are 0.
func AppendConnect(dst []byte, c Connect) []byte {
	return appendPacket(dst, byte(CONNECT)<<4, func(dst []byte) []byte {
		flags := byte(0)
		if c.Clean {
			flags |= 2
		}
		if c.Username != "" {
			flags |= 0x80
		}
		if c.Password != nil {
			flags |= 0x40
		}
		dst = append(appendText(dst, "MQTT"), byte(c.Version), flags)
		dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
		if c.Version == V5 {
			dst = appendProperties(dst, func(dst []byte) []byte {
				if c.SessionExpiry > 0 {
					dst = binary.BigEndian.AppendUint32(append(dst, byte(propSessionExpiry)), c.SessionExpiry)
				}
				if c.ReceiveMaximum > 0 {
					dst = binary.BigEndian.AppendUint16(append(dst, byte(propReceiveMaximum)), c.ReceiveMaximum)
				}
				if c.MaximumPacketSize > 0 {
					dst = binary.BigEndian.AppendUint32(append(dst, byte(propMaximumPacketSize)), c.MaximumPacketSize)
				}
				return dst
			})
		}
		dst = appendText(dst, c.ClientID)
		if c.Username != "" {
			dst = appendText(dst, c.Username)
		}
		if c.Password != nil {
			dst = appendText(dst, string(c.Password))
		}
		return dst
	})
}

// Accepted is a broker's CONNACK.
type Accepted struct {
	Version        Version // that of the CONNACK: a broker that does not know MQTT 5 answers in 3.1.1
	SessionPresent bool
	Reason         Reason
	Text           string // the reason in words; "": none was given
	KeepAlive      uint16 // 0: the client's
	ReceiveMaximum uint16
	// MaximumPacketSize is the largest packet that the broker accepts; 0: any.
	MaximumPacketSize uint32
	// Shared says that the broker has shared subscriptions, as far as it says so.
	Shared bool
}

// DecodeConnack decodes the body of the CONNACK that answers a CONNECT of that version.
func DecodeConnack(data []byte, version Version) (a Accepted, err error) {
	b := &body{rest: data}
	a = Accepted{Version: version, ReceiveMaximum: 0xFFFF, Shared: version == V5}
	a.SessionPresent, a.Reason = b.uint8()&1 != 0, Reason(b.uint8())
	if version != V5 || len(data) == 2 {
		a.Version, a.Shared = V311, false
		a.Reason = reasonOf311(a.Reason)
		return a, b.end()
	}
	b.properties(func(id property, number uint32, text []byte) bool {
		switch id {
		case propReceiveMaximum:
			a.ReceiveMaximum = uint16(number)
		case propMaximumPacketSize:
			a.MaximumPacketSize = number
		case propServerKeepAlive:
			a.KeepAlive = uint16(number)
		case propSharedSubscription:
			a.Shared = number == 1
		case propReasonString:
			a.Text = string(text)
		}
		return true
	})
	return a, b.end()
}

// reasonOf311 returns the reason of MQTT 5 for a code of MQTT 3.1.1.
func reasonOf311(code Reason) Reason {
	switch code {
	case 0:
		return Success
	case 1:
		return UnsupportedVersion
	case 2:
		return ClientIDNotValid
	case 3:
		return ServerUnavailable
	}
	return NotAuthorized
}

// AppendSubscribe appends a SUBSCRIBE.
func AppendSubscribe(dst []byte, version Version, id uint16, filters []Filter) []byte {
	return appendPacket(dst, byte(SUBSCRIBE)<<4|2, func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint16(dst, id)
		if version == V5 {
			dst = append(dst, 0)
		}
		for _, f := range filters {
			dst = append(appendText(dst, f.Topic), f.QoS)
		}
		return dst
	})
}

// DecodeSuback decodes a SUBACK.
func DecodeSuback(data []byte, version Version) (id uint16, reasons []Reason, err error) {
	b := &body{rest: data}
	id = b.packetID()
	if version == V5 {
		b.properties(func(id property, _ uint32, _ []byte) bool { return id == propReasonString })
	}
	for _, reason := range b.rest {
		reasons = append(reasons, Reason(reason))
	}
	return id, reasons, b.err
}

// AppendPingreq appends a PINGREQ.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendLeave appends the DISCONNECT of a client.
func AppendLeave(dst []byte) []byte { return append(dst, byte(DISCONNECT)<<4, 0) }

// ValidTopic reports whether a topic may be published on.
func ValidTopic(topic string) bool {
	return topic != "" && len(topic) <= 0xFFFF && !strings.ContainsAny(topic, "+#\x00")
}
