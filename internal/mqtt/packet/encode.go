package packet

import "encoding/binary"

// appendPacket appends a packet whose body is written by fill.
func appendPacket(dst []byte, first byte, fill func([]byte) []byte) []byte {
	// The body is written behind room for the longest header, and moved where the header is shorter.
	const room = 5
	start := len(dst)
	dst = append(dst, first, 0, 0, 0, 0)
	dst = fill(dst)
	n := len(dst) - start - room
	head := appendVarint(dst[start+1:start+1], n)
	copy(dst[start+1+len(head):], dst[start+room:])
	return dst[:start+1+len(head)+n]
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendText(dst []byte, text string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

// appendProperties appends properties that fill writes, of up to 127 bytes without texts.
func appendProperties(dst []byte, fill func([]byte) []byte) []byte {
	var scratch [256]byte
	written := fill(scratch[:0])
	return append(appendVarint(dst, len(written)), written...)
}

// MaxReasonString is where a reason string is cut, in bytes.
const MaxReasonString = 200

func appendReason(dst []byte, text string) []byte {
	return appendProperties(dst, func(dst []byte) []byte {
		if text == "" {
			return dst
		}
		return appendText(append(dst, byte(propReasonString)), cut(text))
	})
}

// cut returns the beginning of a text that fits a reason string.
func cut(text string) string {
	if len(text) <= MaxReasonString {
		return text
	}
	end := MaxReasonString
	for end > 0 && text[end]&0xC0 == 0x80 { // not within a character
		end--
	}
	return text[:end]
}

// Connack is a CONNACK.
type Connack struct {
	SessionPresent bool
	Reason         Reason
	// The following are sent to clients of MQTT 5 alone, with Success alone but for Text.
	Text              string // the reason in words; "": none
	SessionExpiry     uint32
	ReceiveMaximum    uint16
	MaximumPacketSize uint32
	TopicAliasMaximum uint16
	KeepAlive         uint16 // 0: the client's
	ClientID          string // "": the client's
}

// codes311 are the codes of MQTT 3.1.1 for the reasons of a CONNACK; every other reason is 5, not authorized.
func code311(reason Reason) byte {
	switch reason {
	case Success:
		return 0
	case UnsupportedVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case ServerUnavailable, ServerBusy, ShuttingDown:
		return 3
	}
	return 5
}

// AppendConnack appends a CONNACK. A server of this package supports QoS 1, and neither retained messages, subscription identifiers nor
// shared subscriptions: it says so.
func AppendConnack(dst []byte, version Version, c Connack) []byte {
	return appendPacket(dst, byte(CONNACK)<<4, func(dst []byte) []byte {
		present := byte(0)
		if c.SessionPresent && c.Reason == Success {
			present = 1
		}
		if version != V5 {
			return append(dst, present, code311(c.Reason))
		}
		dst = append(dst, present, byte(c.Reason))
		if c.Reason != Success {
			return appendReason(dst, c.Text)
		}
		return appendProperties(dst, func(dst []byte) []byte {
			dst = append(dst, byte(propMaximumQoS), 1, byte(propRetainAvailable), 0, byte(propSubscriptionIDs), 0, byte(propSharedSubscription), 0)
			dst = binary.BigEndian.AppendUint32(append(dst, byte(propSessionExpiry)), c.SessionExpiry)
			dst = binary.BigEndian.AppendUint16(append(dst, byte(propReceiveMaximum)), c.ReceiveMaximum)
			dst = binary.BigEndian.AppendUint32(append(dst, byte(propMaximumPacketSize)), c.MaximumPacketSize)
			dst = binary.BigEndian.AppendUint16(append(dst, byte(propTopicAliasMaximum)), c.TopicAliasMaximum)
			if c.KeepAlive > 0 {
				dst = binary.BigEndian.AppendUint16(append(dst, byte(propServerKeepAlive)), c.KeepAlive)
			}
			if c.ClientID != "" {
				dst = appendText(append(dst, byte(propAssignedClientID)), c.ClientID)
			}
			return dst
		})
	})
}

// AppendPublish appends a PUBLISH.
func AppendPublish(dst []byte, version Version, p Publish) []byte {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	if p.Dup {
		first |= 8
	}
	return appendPacket(dst, first, func(dst []byte) []byte {
		dst = appendText(dst, p.Topic)
		if p.QoS > 0 {
			dst = binary.BigEndian.AppendUint16(dst, p.ID)
		}
		if version == V5 {
			dst = appendProperties(dst, func(dst []byte) []byte {
				if p.Expiry == 0 {
					return dst
				}
				return binary.BigEndian.AppendUint32(append(dst, byte(propMessageExpiry)), p.Expiry)
			})
		}
		return append(dst, p.Payload...)
	})
}

// AppendPuback appends a PUBACK. In MQTT 3.1.1 it has no reason. text is the reason in words; "": none.
func AppendPuback(dst []byte, version Version, id uint16, reason Reason, text string) []byte {
	if version != V5 || reason == Success {
		return append(dst, byte(PUBACK)<<4, 2, byte(id>>8), byte(id))
	}
	return appendPacket(dst, byte(PUBACK)<<4, func(dst []byte) []byte {
		return appendReason(append(dst, byte(id>>8), byte(id), byte(reason)), text)
	})
}

// AppendSuback appends a SUBACK with a reason for each filter: the granted QoS, or a failure, which is 0x80 in MQTT 3.1.1.
func AppendSuback(dst []byte, version Version, id uint16, reasons []Reason) []byte {
	return appendPacket(dst, byte(SUBACK)<<4, func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint16(dst, id)
		if version == V5 {
			dst = append(dst, 0)
		}
		for _, reason := range reasons {
			if version != V5 && reason >= Unspecified {
				reason = Unspecified
			}
			dst = append(dst, byte(reason))
		}
		return dst
	})
}

// AppendUnsuback appends an UNSUBACK with a reason for each filter, which MQTT 3.1.1 has none of.
func AppendUnsuback(dst []byte, version Version, id uint16, reasons []Reason) []byte {
	return appendPacket(dst, byte(UNSUBACK)<<4, func(dst []byte) []byte {
		dst = binary.BigEndian.AppendUint16(dst, id)
		if version != V5 {
			return dst
		}
		dst = append(dst, 0)
		for _, reason := range reasons {
			dst = append(dst, byte(reason))
		}
		return dst
	})
}

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

// AppendDisconnect appends a DISCONNECT of a server, which MQTT 5 alone has. text is the reason in words; "": none.
func AppendDisconnect(dst []byte, reason Reason, text string) []byte {
	return appendPacket(dst, byte(DISCONNECT)<<4, func(dst []byte) []byte {
		return appendReason(append(dst, byte(reason)), text)
	})
}
