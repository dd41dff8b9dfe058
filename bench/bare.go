package main

import (
	"context"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

// serveBare is a centrifuge node as it comes, with the history and the positions that hearth's has: the floor of live
// events. Whoever comes may join any channel.
func serveBare(ctx context.Context, addr string) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "bench"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnablePositioning: true, EnableRecovery: true}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	return serveEvents(ctx, addr, map[string]http.Handler{"GET /ws": centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{})},
		func(device string, at time.Time, data []byte) error {
			event := []byte(`{"type":"device-heartbeat","at":"` + at.Format("2006-01-02T15:04:05.000Z") + `","data":` + string(data) + `}`)
			_, err := node.Publish("device:"+device, event, centrifuge.WithHistory(1000, 5*time.Minute))
			return err
		})
}
