package packet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// read decodes the packets of a client, one after another, and returns what they are.
func read(data []byte, version Version) (said []string, err error) {
	reader := bytes.NewReader(data)
	for {
		h, err := ReadHeader(reader)
		if errors.Is(err, io.EOF) {
			return said, nil
		}
		if err != nil {
			return said, err
		}
		if h.Length > reader.Len() {
			return said, io.ErrUnexpectedEOF
		}
		body := make([]byte, h.Length)
		_, _ = reader.Read(body)
		var one any
		switch h.Type {
		case CONNECT:
			var c Connect
			if c, err = DecodeConnect(body); err == nil {
				version = c.Version
			}
			if c.Will != nil {
				said = append(said, fmt.Sprintf("%+v", *c.Will))
				c.Will = nil
			}
			one = c
		case PUBLISH:
			one, err = DecodePublish(h, body, version)
		case PUBACK:
			var id uint16
			var reason Reason
			id, reason, err = DecodePuback(body, version)
			one = fmt.Sprint("ack ", id, " ", reason)
		case SUBSCRIBE:
			var id uint16
			var filters []Filter
			id, filters, err = DecodeSubscribe(body, version)
			one = fmt.Sprint("subscribe ", id, " ", filters)
		case UNSUBSCRIBE:
			var id uint16
			var topics []string
			id, topics, err = DecodeUnsubscribe(body, version)
			one = fmt.Sprint("unsubscribe ", id, " ", topics)
		case DISCONNECT:
			one, err = DecodeDisconnect(body, version)
		default:
			err = DecodeEmpty(body)
			one = h.Type
		}
		if err != nil {
			return said, err
		}
		said = append(said, fmt.Sprintf("%+v", one))
	}
}

// The packets as the standards show them.
const (
	connect311 = "\x10\x2a\x00\x04MQTT\x04\xee\x00\x3c\x00\x03dev\x00\x01w\x00\x04gone\x00\x04user\x00\x0ahd_secret!"
	connect5   = "\x10\x2a\x00\x04MQTT\x05\xc2\x00\x3c\x11\x11\x00\x00\x00\x0a\x21\x00\x14\x26\x00\x01a\x00\x01b\x17\x00\x00\x00\x00\x04user\x00\x04pass"
	publish5   = "\x32\x11\x00\x03t/x\x00\x07\x05\x02\x00\x00\x00\x0921.5"
	subscribe5 = "\x82\x0a\x00\x01\x00\x00\x01c\x01\x00\x00"
)

func TestPacketsAreReadAsTheStandardsWriteThem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data    string
		version Version
		want    string
	}{
		"CONNECT 3.1.1": {connect311, 0, "{Topic:w Payload:[103 111 110 101] QoS:1 Retain:true Delay:0}, {Version:4 Clean:true KeepAlive:60 ClientID:dev Will:<nil> " +
			"Username:user Password:[104 100 95 115 101 99 114 101 116 33] SessionExpiry:0 ReceiveMaximum:65535 MaximumPacketSize:0 Problems:true AuthMethod:}"},
		"CONNECT 5": {connect5, 0, "{Version:5 Clean:true KeepAlive:60 ClientID: Will:<nil> Username:user Password:[112 97 115 115] " +
			"SessionExpiry:10 ReceiveMaximum:20 MaximumPacketSize:0 Problems:false AuthMethod:}"},
		"PUBLISH":            {publish5, V5, "{Dup:false QoS:1 Retain:false Topic:t/x ID:7 Alias:0 Payload:[50 49 46 53] Expiry:9}"},
		"PUBLISH at QoS 0":   {"\x30\x04\x00\x01t1", V311, "{Dup:false QoS:0 Retain:false Topic:t ID:0 Alias:0 Payload:[49] Expiry:0}"},
		"PUBACKs":            {"\x40\x02\x00\x07\x40\x03\x00\x08\x10\x40\x07\x00\x09\x87\x03\x1f\x00\x00", V5, "ack 7 0x00, ack 8 0x10, ack 9 0x87"},
		"SUBSCRIBE":          {"\x82\x0a\x00\x01\x00\x01c\x01\x00\x01d\x02", V311, "subscribe 1 [{c 1} {d 2}]"},
		"UNSUBSCRIBE":        {"\xa2\x06\x00\x02\x00\x00\x01c", V5, "unsubscribe 2 [c]"},
		"PINGREQ DISCONNECT": {"\xc0\x00\xe0\x00", V311, "12, {Reason:0x00 SessionExpiry:0 HasExpiry:false}"},
		"DISCONNECT":         {"\xe0\x07\x04\x05\x11\x00\x00\x00\x01", V5, "{Reason:0x04 SessionExpiry:1 HasExpiry:true}"},
	} {
		got, err := read([]byte(c.data), c.version)
		if strings.Join(got, ", ") != c.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, strings.Join(got, ", "), err, c.want)
		}
	}
}

func TestAPacketHasSoManyTopicFilters(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{4096: "", 4097: "mqtt: a packet has more than 4096 topic filters (0x97)"} {
		_, filters, err := DecodeSubscribe([]byte("\x00\x01"+strings.Repeat("\x00\x01c\x00", n)), V311)
		_, topics, other := DecodeUnsubscribe([]byte("\x00\x01"+strings.Repeat("\x00\x01c", n)), V311)
		if want == "" && (err != nil || other != nil || len(filters) != n || len(topics) != n) {
			t.Errorf("%d filters: %v, %v", n, err, other)
		}
		if want != "" && (fmt.Sprint(err) != want || fmt.Sprint(other) != want) {
			t.Errorf("%d filters: %v, %v", n, err, other)
		}
	}
}

func TestWhatBreaksTheProtocolIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]Reason{
		"\x00\x00": Malformed, "\x11\x00": Malformed, "\x80\x00": Malformed, "\x30\xff\xff\xff\xff\x01": Malformed, "\xc1\x00": Malformed, "\xc0\x01x": Malformed,
		"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00":                             UnsupportedVersion,
		"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00":                           UnsupportedVersion,
		"\x10\x0c\x00\x04QTTM\x04\x02\x00\x3c\x00\x00":                             Malformed,
		"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00":                             Malformed,     // the reserved flag
		"\x10\x0c\x00\x04MQTT\x04\x0a\x00\x3c\x00\x00":                             Malformed,     // a QoS of no will
		"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x00x":                            Malformed,     // too long
		"\x10\x0b\x00\x04MQTT\x04\x02\x00\x3c\x00":                                 Malformed,     // too short
		"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00":                         Malformed,     // NUL
		"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x00":             ProtocolError, // a receive maximum of 0
		"\x10\x13\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x01\x21\x00\x01\x00\x00": ProtocolError, // twice
		"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x02\x01\x00\x00\x00":                 ProtocolError, // of another packet
		"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x02\x7e\x00\x00\x00":                 Malformed,
		"\x36\x06\x00\x01t\x00\x011":                                               Malformed, // QoS 3
		"\x38\x04\x00\x01t1":                                                       Malformed, // DUP at QoS 0
		"\x30\x02\x00\x00":                                                         ProtocolError,
		"\x30\x05\x00\x03t/#":                                                      TopicNameInvalid,
		"\x32\x06\x00\x01t\x00\x001":                                               ProtocolError, // the id 0
		"\x30\x05\x00\x03t/\xff":                                                   Malformed,
		"\x82\x02\x00\x01":                                                         ProtocolError,
		"\x82\x06\x00\x01\x00\x01c\x03":                                            Malformed,
		"\x82\x05\x00\x01\x00\x00\x00":                                             Malformed,
		"\x82\x06\x00\x00\x00\x01c\x00":                                            ProtocolError,
		"\xa2\x02\x00\x01":                                                         ProtocolError,
		"\x40\x01\x00":                                                             Malformed,
		"\xe0\x01\x00":                                                             Malformed, // in 3.1.1 it has no body
	} {
		_, err := read([]byte(data), V311)
		if broken, ok := errors.AsType[*Error](err); !ok || broken.Reason != want {
			t.Errorf("% x: %v, want %s", data, err, want)
		}
	}
	for data, want := range map[string]Reason{
		"\x30\x06\x00\x01t\x03\x23\x00":             Malformed, // the properties end early
		"\x30\x07\x00\x01t\x03\x23\x00\x00":         TopicAliasInvalid,
		"\x82\x09\x00\x01\x02\x0b\x05\x00\x01c\x00": SubscriptionIDsNotGiven,
		"\x82\x07\x00\x01\x00\x00\x01c\x30":         Malformed,
	} {
		_, err := read([]byte(data), V5)
		if broken, ok := errors.AsType[*Error](err); !ok || broken.Reason != want {
			t.Errorf("MQTT 5: % x: %v, want %s", data, err, want)
		}
	}
	if _, err := read([]byte("\x30\x80"), V5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end within a header: %v", err)
	}
}

func TestPacketsAreWrittenAsTheStandardsReadThem(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 200)
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"CONNACK 3.1.1":          {AppendConnack(nil, V311, Connack{SessionPresent: true}), "\x20\x02\x01\x00"},
		"CONNACK 3.1.1, refused": {AppendConnack(nil, V311, Connack{SessionPresent: true, Reason: ServerBusy}), "\x20\x02\x00\x03"},
		"CONNACK 5, refused":     {AppendConnack(nil, V5, Connack{Reason: NotAuthorized, Text: "no"}), "\x20\x08\x00\x87\x05\x1f\x00\x02no"},
		"CONNACK 5": {AppendConnack(nil, V5, Connack{ReceiveMaximum: 16, MaximumPacketSize: 256, TopicAliasMaximum: 2, KeepAlive: 9, ClientID: "id"}),
			"\x20\x23\x00\x00\x20\x24\x01\x25\x00\x29\x00\x2a\x00\x11\x00\x00\x00\x00\x21\x00\x10\x27\x00\x00\x01\x00\x22\x00\x02\x13\x00\x09\x12\x00\x02id"},
		"PUBLISH":         {AppendPublish(nil, V311, Publish{Topic: "d", QoS: 1, ID: 3, Dup: true, Payload: []byte("{}")}), "\x3a\x07\x00\x01d\x00\x03{}"},
		"PUBLISH 5":       {AppendPublish(nil, V5, Publish{Topic: "c", Expiry: 5}), "\x30\x09\x00\x01c\x05\x02\x00\x00\x00\x05"},
		"PUBACK":          {AppendPuback([]byte("x"), V5, 258, Success, "text"), "x\x40\x02\x01\x02"},
		"PUBACK, refused": {AppendPuback(nil, V5, 1, PayloadFormatInvalid, long), "\x40\xd0\x01\x00\x01\x99\xcb\x01\x1f\x00\xc8" + long[:200]},
		"PUBACK 3.1.1":    {AppendPuback(nil, V311, 1, PayloadFormatInvalid, "text"), "\x40\x02\x00\x01"},
		"SUBACK 3.1.1":    {AppendSuback(nil, V311, 1, []Reason{1, NotAuthorized}), "\x90\x04\x00\x01\x01\x80"},
		"SUBACK 5":        {AppendSuback(nil, V5, 1, []Reason{1, NotAuthorized}), "\x90\x05\x00\x01\x00\x01\x87"},
		"UNSUBACK 3.1.1":  {AppendUnsuback(nil, V311, 1, []Reason{0}), "\xb0\x02\x00\x01"},
		"UNSUBACK 5":      {AppendUnsuback(nil, V5, 1, []Reason{0}), "\xb0\x04\x00\x01\x00\x00"},
		"PINGRESP":        {AppendPingresp(nil), "\xd0\x00"},
		"DISCONNECT":      {AppendDisconnect(nil, TakenOver, ""), "\xe0\x02\x8e\x00"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s is % x, want % x", name, c.got, c.want)
		}
	}
	big := AppendPublish(nil, V5, Publish{Topic: "d", Payload: bytes.Repeat([]byte("x"), 20_000)})
	h, err := ReadHeader(bytes.NewReader(big))
	if err != nil || h.Length != len(big)-4 {
		t.Errorf("a PUBLISH of 20,000 bytes has the header %+v, %v", h, err)
	}
}

func FuzzPackets(f *testing.F) {
	for _, seed := range []string{
		connect311, connect5, publish5, subscribe5, connect5 + publish5, "\x40\x07\x00\x09\x87\x03\x1f\x00\x00", "\xa2\x06\x00\x02\x00\x00\x01c",
		"\xe0\x07\x04\x05\x11\x00\x00\x00\x01", "\xc0\x00", "\x30\x08\x00\x01t\x03\x23\x00\x011", "\x50\x02\x00\x01", "\x62\x02\x00\x01", "\x70\x02\x00\x01",
		"\xf0\x00", "\x20\x02\x00\x00", "\x82\x0a\x00\x01\x02\x0b\x05\x00\x01c\x00",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, five bool) {
		version := V311
		if five {
			version = V5
		}
		_, err := read(data, version)
		if broken, ok := errors.AsType[*Error](err); err != nil && !ok && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("% x: %v", data, err)
		} else if ok && broken.Reason < Unspecified {
			t.Errorf("% x is refused with %s", data, broken.Reason)
		}
		// What was read as a PUBLISH is written as one that is read the same.
		h, err := ReadHeader(bytes.NewReader(data))
		if err != nil || h.Type != PUBLISH || len(data) < 2 || h.Length != len(data)-2 {
			return
		}
		p, err := DecodePublish(h, data[2:], version)
		if err != nil || p.Alias != 0 || p.Retain {
			return
		}
		again := AppendPublish(nil, version, p)
		h, err = ReadHeader(bytes.NewReader(again))
		if err != nil {
			t.Fatal(err)
		}
		q, err := DecodePublish(h, again[len(again)-h.Length:], version)
		if err != nil || q.Topic != p.Topic || q.ID != p.ID || q.QoS != p.QoS || q.Dup != p.Dup || q.Expiry != p.Expiry || !bytes.Equal(q.Payload, p.Payload) {
			t.Errorf("% x is %+v, written and read %+v, %v", data, p, q, err)
		}
	})
}
