package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/mqtt/packet"
)

// oldBroker accepts MQTT 3.1.1 alone. With each subscription it sends a message, and reports when that is acknowledged, and what is published.
func oldBroker(t *testing.T, acknowledged chan<- []string, published chan<- string) (addr string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		reader := bufio.NewReader(conn)
		var subscribed []string
		for {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			h, err := packet.ReadHeader(reader)
			if err != nil {
				return
			}
			body := make([]byte, h.Length)
			if _, err := io.ReadFull(reader, body); err != nil {
				return
			}
			var answer []byte
			switch h.Type { //nolint:exhaustive // the others are not answered
			case packet.CONNECT:
				c, err := packet.DecodeConnect(body)
				if err != nil || c.Version != packet.V311 {
					_, _ = conn.Write([]byte{0x20, 2, 0, 1})
					return
				}
				answer = packet.AppendConnack(nil, packet.V311, packet.Connack{})
			case packet.SUBSCRIBE:
				id, wanted, err := packet.DecodeSubscribe(body, packet.V311)
				if err != nil {
					return
				}
				for _, f := range wanted {
					subscribed = append(subscribed, f.Topic)
				}
				answer = packet.AppendSuback(nil, packet.V311, id, make([]packet.Reason, len(wanted)))
				answer = packet.AppendPublish(answer, packet.V311, packet.Publish{Topic: "site/cellar/t", Payload: []byte("21.5"), QoS: 1, ID: 7})
			case packet.PUBACK:
				acknowledged <- subscribed
			case packet.PUBLISH:
				p, err := packet.DecodePublish(h, body, packet.V311)
				if err != nil {
					return
				}
				published <- p.Topic + " " + string(p.Payload)
				answer = packet.AppendPuback(nil, packet.V311, p.ID, packet.Success, "")
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// Of several instances one connects, without shared subscriptions, and acknowledges what is stored.
func TestABrokerWithoutMQTT5IsReadByOneInstance(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newInstances(t, m)
		acknowledged, published := make(chan []string, 16), make(chan string, 16)
		addr := oldBroker(t, acknowledged, published)
		w.want(t, w.call(t, 0, "POST", "/integrations", w.admin, apitest.Object{
			"name": "Old", "url": "mqtt://" + addr, "dialects": []string{"json"}, "topics": []string{"site/{device}/{event}"},
		}), 201, "")
		select {
		case filters := <-acknowledged:
			if got := strings.Join(filters, " "); got != "site/+/status site/+/#" {
				t.Errorf("subscribed to %s", got)
			}
		case <-time.After(40 * time.Second):
			t.Fatal("the message is not acknowledged")
		}
		list := w.want(t, w.call(t, 0, "GET", "/devices?include=latest", w.admin, nil), 200, "")
		if !strings.Contains(list.raw, `"t":{"value":21.5`) {
			t.Errorf("acknowledged, and stored is %s", list.raw)
		}
		cellar, _ := list.body["items"].([]any)[0].(map[string]any)
		for i := range 2 { // whichever instance it is set at, the one that is connected sends it
			desired := apitest.Object{"level": i}
			w.want(t, w.call(t, i, "PATCH", "/devices/"+apitest.Text(cellar, "id")+"/twin/desired", w.admin, desired), 200, "")
			select {
			case got := <-published:
				if want := fmt.Sprintf(`site/cellar/desired {"level":%d}`, i); got != want {
					t.Errorf("published is %s, want %s", got, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("the state that was set at instance %d is not sent", i)
			}
		}
		select {
		case <-acknowledged:
			t.Error("another instance has read it too")
		case <-time.After(3 * time.Second): // an instance that may not connect looks every 2 s whether it leads
		}
	})
}
