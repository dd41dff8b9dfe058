package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/centrifugal/protocol"

	"hearth"
)

// What a server-side end of a subscription means. Codes below 2500: the client does not subscribe again by itself.
var (
	unsubscribeGone   = centrifuge.Unsubscribe{Code: 2104, Reason: "gone"}
	unsubscribeDenied = centrifuge.Unsubscribe{Code: 2103, Reason: "permission denied"}
)

// disconnectSessionEnded ends the connections of a session that has ended. 3500 to 3999: the client does not reconnect.
var disconnectSessionEnded = centrifuge.Disconnect{Code: centrifuge.DisconnectInvalidToken.Code, Reason: "session ended"}

// subscribeOptions allow a client to continue at its position.
var subscribeOptions = centrifuge.SubscribeOptions{EnablePositioning: true, EnableRecovery: true}

// handle sets the node's handlers.
func (n *Node) handle() {
	n.node.OnConnecting(n.onConnecting)
	n.node.OnConnect(n.onConnect)
	n.node.OnCommandRead(n.onCommand)
	n.node.OnCommandProcessed(n.onProcessed)
	n.node.OnTransportWrite(n.onWrite)
}

// onConnecting accepts a connection: an SSE stream was checked by its handler, a WebSocket presents its token now.
func (n *Node) onConnecting(ctx context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	if n.isDraining() {
		return centrifuge.ConnectReply{}, centrifuge.DisconnectShutdown
	}
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		token := event.Token
		if token == "" {
			token = bearer(event.Headers["Authorization"])
		}
		if token == "" {
			token, _ = ctx.Value(headerToken{}).(string)
		}
		caller, expires, err := n.login(ctx, token)
		if err != nil {
			return centrifuge.ConnectReply{}, n.refusal(err)
		}
		own := ownChannel(caller)
		if !mayRead(caller, own, hearth.Device{}) {
			return centrifuge.ConnectReply{}, n.refusal(errNoChannel())
		}
		c = &conn{
			transport: transportWebSocket, caller: caller, token: token, expires: expires,
			subscriptions: map[string]centrifuge.SubscribeOptions{own: subscribeOptions},
		}
		ctx = context.WithValue(ctx, connKey{}, c)
	}
	reply := centrifuge.ConnectReply{
		Context: ctx, Credentials: &centrifuge.Credentials{UserID: c.caller.UserID}, Subscriptions: c.subscriptions,
		ClientSideRefresh: c.transport == transportWebSocket,
	}
	if !c.expires.IsZero() {
		reply.Credentials.ExpireAt = c.expires.Unix()
	}
	c.subscriptions = nil
	return reply, nil
}

// refusal returns the WebSocket error for an error, by which a client decides: get a new token, retry later, or give up.
func (n *Node) refusal(err error) error {
	switch code := hearth.ErrorCode(err); code {
	case hearth.CodeTokenExpired:
		return centrifuge.ErrorTokenExpired
	case hearth.CodeForbidden, hearth.CodeNotFound:
		return centrifuge.DisconnectPermissionDenied
	case hearth.CodeUnavailable, hearth.CodeInternal, hearth.CodeStorageFull:
		if code == hearth.CodeInternal && !errors.Is(err, context.Canceled) {
			n.options.Logger.Error("a WebSocket could not be let in", "error", err)
		}
		return centrifuge.ErrorInternal
	}
	return centrifuge.DisconnectInvalidToken
}

// onConnect sets a connection's handlers. It runs before the client can send another command.
func (n *Node) onConnect(client *centrifuge.Client) {
	c := connOf(client)
	client.OnDisconnect(func(event centrifuge.DisconnectEvent) { n.metrics.disconnected(c.transport, event.Code) })
	if c.transport == transportSSE {
		return
	}
	client.OnRefresh(func(event centrifuge.RefreshEvent, done centrifuge.RefreshCallback) {
		done(n.onRefresh(client, c, event.Token))
	})
	client.OnSubscribe(func(event centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
		done(n.onSubscribe(client, c, event))
	})
	client.OnUnsubscribe(func(event centrifuge.UnsubscribeEvent) { c.left(event.Channel) })
	client.OnPresence(func(event centrifuge.PresenceEvent, done centrifuge.PresenceCallback) {
		done(centrifuge.PresenceReply{}, onlySubscribers(client, event.Channel))
	})
	client.OnPresenceStats(func(event centrifuge.PresenceStatsEvent, done centrifuge.PresenceStatsCallback) {
		done(centrifuge.PresenceStatsReply{}, onlySubscribers(client, event.Channel))
	})
}

// onlySubscribers allows the readers of a channel to list its readers.
func onlySubscribers(client *centrifuge.Client, channel string) error {
	if !client.IsSubscribed(channel) {
		return centrifuge.ErrorPermissionDenied
	}
	return nil
}

// onRefresh accepts a new token of the same user.
func (n *Node) onRefresh(client *centrifuge.Client, c *conn, token string) (centrifuge.RefreshReply, error) {
	caller, expires, err := n.login(client.Context(), token)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeTokenExpired:
		return centrifuge.RefreshReply{Expired: true}, nil
	case err != nil:
		return centrifuge.RefreshReply{}, n.refusal(err)
	case caller.UserID != client.UserID():
		return centrifuge.RefreshReply{}, centrifuge.DisconnectInvalidToken
	}
	c.renew(caller, token, expires)
	n.dropLost(client, c)
	reply := centrifuge.RefreshReply{}
	if !expires.IsZero() {
		reply.ExpireAt = expires.Unix()
	}
	return reply, nil
}

func (n *Node) onSubscribe(client *centrifuge.Client, c *conn, event centrifuge.SubscribeEvent) (centrifuge.SubscribeReply, error) {
	if event.Type != centrifuge.SubscriptionTypeStream {
		return centrifuge.SubscribeReply{}, centrifuge.ErrorNotAvailable
	}
	caller, _ := c.who()
	device, err := n.authorize(client.Context(), caller, event.Channel)
	switch hearth.ErrorCode(err) {
	case "":
	case hearth.CodeNotFound:
		return centrifuge.SubscribeReply{}, centrifuge.ErrorPermissionDenied
	case hearth.CodeUnavailable:
		return centrifuge.SubscribeReply{}, centrifuge.ErrorInternal
	default:
		n.options.Logger.Error("a channel could not be authorized", "error", err)
		return centrifuge.SubscribeReply{}, centrifuge.ErrorInternal
	}
	c.joined(event.Channel, device)
	options := subscribeOptions
	options.EmitPresence = true
	return centrifuge.SubscribeReply{Options: options}, nil
}

// onCommand counts what a client sends, and stops one that sends too much.
func (n *Node) onCommand(client *centrifuge.Client, _ centrifuge.CommandReadEvent) error {
	c := connOf(client)
	if c != nil && c.transport == transportSSE {
		return nil // what opens a stream is a command to centrifuge only
	}
	n.metrics.messagesIn.Inc()
	if c != nil && !c.limiter.allow(time.Now(), n.options.messageRate, n.options.messageBurst) {
		return centrifuge.DisconnectTooManyRequests
	}
	return nil
}

// onProcessed counts how WebSocket clients came back.
func (n *Node) onProcessed(_ *centrifuge.Client, event centrifuge.CommandProcessedEvent) {
	if event.Reply == nil {
		return
	}
	count := func(result *protocol.SubscribeResult) {
		if result.GetWasRecovering() {
			n.metrics.replayed(transportWebSocket, result.GetRecovered())
		}
	}
	count(event.Reply.Subscribe)
	for _, result := range event.Reply.GetConnect().GetSubs() {
		count(result)
	}
}

// onWrite counts what goes out.
func (n *Node) onWrite(client *centrifuge.Client, event centrifuge.TransportWriteEvent) bool {
	if event.FrameType == protocol.FrameTypePushPublication {
		n.rate.add(1)
		n.metrics.wrote(connOf(client), event.Data)
	}
	return true
}
