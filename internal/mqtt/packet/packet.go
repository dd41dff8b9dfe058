// Package packet reads and writes the packets of MQTT 3.1.1 and 5 that pass between a server and a device.
//
// It reads what a client sends and writes what a server sends, and the other way round what a client needs of a broker. What it reads is bounded by the caller, who reads a packet's body before it is
// decoded; decoding allocates no more than a small multiple of that body. A packet that breaks the protocol is an *Error with the reason that
// MQTT 5 has for it.
package packet

import (
	"errors"
	"fmt"
	"io"
)

// Type is the type of a packet.
type Type byte

// The types.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

// Version is the level of the protocol.
type Version byte

// The versions.
const (
	V311 Version = 4
	V5   Version = 5
)

// Reason is a reason code of MQTT 5.
type Reason byte

// The reasons of a server.
const (
	Success                 Reason = 0x00
	DisconnectWithWill      Reason = 0x04
	NoSubscriptionExisted   Reason = 0x11
	Unspecified             Reason = 0x80
	Malformed               Reason = 0x81
	ProtocolError           Reason = 0x82
	UnsupportedVersion      Reason = 0x84
	ClientIDNotValid        Reason = 0x85
	NotAuthorized           Reason = 0x87
	ServerUnavailable       Reason = 0x88
	ServerBusy              Reason = 0x89
	ShuttingDown            Reason = 0x8B
	BadAuthMethod           Reason = 0x8C
	KeepAliveTimeout        Reason = 0x8D
	TakenOver               Reason = 0x8E
	TopicNameInvalid        Reason = 0x90
	TopicAliasInvalid       Reason = 0x94
	TooLarge                Reason = 0x95
	QuotaExceeded           Reason = 0x97
	PayloadFormatInvalid    Reason = 0x99
	RetainNotSupported      Reason = 0x9A
	QoSNotSupported         Reason = 0x9B
	SharedNotSupported      Reason = 0x9E
	SubscriptionIDsNotGiven Reason = 0xA1
)

// String returns the reason as the standard writes it.
func (r Reason) String() string { return fmt.Sprintf("0x%02X", byte(r)) }

// Error says how a packet breaks the protocol.
type Error struct {
	Reason Reason
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("mqtt: %s (%s)", e.Text, e.Reason) }

func malformed(text string) error { return &Error{Malformed, text} }

func protocolError(text string) error { return &Error{ProtocolError, text} }

// Header is the first part of every packet.
type Header struct {
	Type  Type
	Flags byte
	// Length is that of the body, as the packet claims it: up to 256 MiB.
	Length int
}

// ReadHeader reads a header. It fails with the reader's error, io.ErrUnexpectedEOF within the header, or an *Error.
func ReadHeader(r io.ByteReader) (Header, error) {
	first, err := r.ReadByte()
	if err != nil {
		return Header{}, err
	}
	h := Header{Type: Type(first >> 4), Flags: first & 0x0F}
	for shift := 0; ; shift += 7 {
		if shift == 28 {
			return h, malformed("a length has more than four bytes")
		}
		b, err := r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return h, err
		}
		h.Length |= int(b&0x7F) << shift
		if b < 0x80 {
			break
		}
	}
	if want := h.Type.flags(); h.Type == 0 || h.Type != PUBLISH && h.Flags != want {
		return h, malformed("the flags of a header are not those of its type")
	}
	return h, nil
}

// flags returns the flags that headers of the type have; PUBLISH has its own.
func (t Type) flags() byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	}
	return 0
}
