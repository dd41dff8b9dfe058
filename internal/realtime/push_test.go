package realtime

import (
	"testing"

	"github.com/centrifugal/protocol"
	"pgregory.net/rapid"
)

// What centrifuge writes is read as centrifuge itself reads it.
func TestAnEventIsReadFromItsPush(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		push := &protocol.Push{Channel: rapid.String().Draw(rt, "channel"), Pub: &protocol.Publication{
			Data: rapid.SliceOf(rapid.Byte()).Draw(rt, "data"), Offset: rapid.Uint64().Draw(rt, "offset"),
			Time: rapid.Int64().Draw(rt, "time"), Key: rapid.String().Draw(rt, "key"),
		}}
		text, err := push.MarshalCF()
		if err != nil {
			rt.Fatal(err)
		}
		event, ok := readEvent(text)
		if !ok || string(event.channel) != push.Channel || string(event.data) != string(push.Pub.Data) || event.offset != push.Pub.Offset {
			rt.Fatalf("read %+v, %t, from %+v", event, ok, push)
		}
		cut := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(rt, "noise")
		readEvent(cut) // whatever it is, it does no harm
	})
	for name, push := range map[string]*protocol.Push{
		"connect":     {Connect: &protocol.Connect{Client: "x"}},
		"unsubscribe": {Channel: "device:x", Unsubscribe: &protocol.Unsubscribe{Code: 2104}},
		"ping":        {},
	} {
		text, err := push.MarshalCF()
		if err != nil {
			t.Fatal(err)
		}
		if event, ok := readEvent(text); ok {
			t.Errorf("%s is read as the event %+v", name, event)
		}
	}
}
