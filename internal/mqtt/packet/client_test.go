package packet_test

import (
	"bytes"
	"testing"

	"hearth/internal/mqtt/packet"
)

// What a client writes is what a server reads.
func TestAConnectIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, want := range []packet.Connect{
		{Version: packet.V5, Clean: true, KeepAlive: 30, ClientID: "a", Username: "u", Password: []byte("p"), SessionExpiry: 60, ReceiveMaximum: 1000, MaximumPacketSize: 4 << 20},
		{Version: packet.V5, ClientID: "b", ReceiveMaximum: 0xFFFF},
		{Version: packet.V311, Clean: true, ClientID: "c", Username: "u", ReceiveMaximum: 0xFFFF},
	} {
		out := packet.AppendConnect(nil, want)
		reader := bytes.NewReader(out)
		h, err := packet.ReadHeader(reader)
		if err != nil || h.Type != packet.CONNECT || h.Length != reader.Len() {
			t.Fatalf("%+v, %v", h, err)
		}
		got, err := packet.DecodeConnect(out[len(out)-h.Length:])
		want.Problems = true
		if err != nil || got.ClientID != want.ClientID || got.Username != want.Username || !bytes.Equal(got.Password, want.Password) ||
			got.SessionExpiry != want.SessionExpiry || got.ReceiveMaximum != want.ReceiveMaximum || got.MaximumPacketSize != want.MaximumPacketSize ||
			got.Clean != want.Clean || got.KeepAlive != want.KeepAlive {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestConnacks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body    []byte
		version packet.Version
		want    packet.Accepted
	}{
		"3.1.1":                  {[]byte{1, 0}, packet.V311, packet.Accepted{Version: packet.V311, SessionPresent: true, ReceiveMaximum: 0xFFFF}},
		"3.1.1 answers 5":        {[]byte{0, 1}, packet.V5, packet.Accepted{Version: packet.V311, Reason: packet.UnsupportedVersion, ReceiveMaximum: 0xFFFF}},
		"3.1.1 refuses":          {[]byte{0, 4}, packet.V311, packet.Accepted{Version: packet.V311, Reason: packet.NotAuthorized, ReceiveMaximum: 0xFFFF}},
		"5":                      {[]byte{0, 0, 0}, packet.V5, packet.Accepted{Version: packet.V5, ReceiveMaximum: 0xFFFF, Shared: true}},
		"5, with what it limits": {[]byte{0, 0, 11, 0x21, 0, 9, 0x2A, 0, 0x27, 0, 0, 1, 0, 0x13}, packet.V5, packet.Accepted{}},
		"5 without shared ones":  {[]byte{0, 0, 8, 0x21, 0, 9, 0x2A, 0, 0x13, 0, 20}, packet.V5, packet.Accepted{Version: packet.V5, ReceiveMaximum: 9, KeepAlive: 20}},
	} {
		got, err := packet.DecodeConnack(tt.body, tt.version)
		if tt.want.Version == 0 {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
}

// FuzzBroker reads what a broker may answer.
func FuzzBroker(f *testing.F) {
	f.Add([]byte{0, 0, 8, 0x21, 0, 9, 0x2A, 0, 0x13, 0, 20}, true)
	f.Add([]byte{0, 1, 0, 1, 0x80}, true)
	f.Add([]byte{0, 1, 1}, false)
	f.Fuzz(func(t *testing.T, body []byte, five bool) {
		version := packet.V311
		if five {
			version = packet.V5
		}
		if accepted, err := packet.DecodeConnack(body, version); err == nil && accepted.Version != packet.V311 && accepted.Version != version {
			t.Errorf("the version is %d", accepted.Version)
		}
		if _, reasons, err := packet.DecodeSuback(body, version); err == nil && len(reasons) > len(body) {
			t.Error("there are more reasons than bytes")
		}
	})
}
