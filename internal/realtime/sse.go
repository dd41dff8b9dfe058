package realtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
	"hearth/internal/newid"
)

// ServeSSE serves one stream of events. It returns when the stream has ended; an error means that nothing was written.
func (n *Node) ServeSSE(w http.ResponseWriter, r *http.Request) error {
	c, err := n.openSSE(r)
	if err != nil {
		return err
	}
	if err := n.admit(); err != nil {
		return err
	}
	defer n.leave()

	requests, reset := n.comeBack(r, c)
	t := newSSETransport(w, r, n)
	t.reset = reset
	client, end, err := centrifuge.NewClient(context.WithValue(r.Context(), connKey{}, c), n.node, t)
	if err != nil {
		return err
	}
	// Nothing may write to w once the handler is gone.
	defer t.end()
	defer func() { _ = end() }()
	t.setHeader()
	if err := client.ConnectNoErrorToDisconnect(centrifuge.ConnectRequest{Subs: requests}); err != nil {
		t.clearHeader()
		return connectFailure(err)
	}
	// The node may have begun to drain while this stream was on its way in.
	if n.isDraining() {
		client.Disconnect(centrifuge.DisconnectShutdown)
	}
	select {
	case <-r.Context().Done():
	case <-t.closed:
	}
	return nil
}

// openSSE authenticates the caller and authorizes the channels.
func (n *Node) openSSE(r *http.Request) (*conn, error) {
	query := r.URL.Query()
	token := bearer(r.Header.Get("Authorization"))
	if ticket := query.Get("ticket"); token == "" && ticket != "" {
		var err error
		if token, err = n.options.Tickets.Redeem(r.Context(), ticket); err != nil {
			return nil, err
		}
	}
	caller, expires, err := n.login(r.Context(), token)
	if err != nil {
		return nil, err
	}
	c := &conn{transport: transportSSE, caller: caller, token: token, expires: expires}
	channels := wantedChannels(query["channels"], n.options.maxChannels)
	if len(channels) > n.options.maxChannels {
		return nil, hearth.Invalid(hearth.FieldError{
			Location: "query.channels", Message: fmt.Sprintf("names more than %d channels", n.options.maxChannels),
		})
	}
	for _, channel := range channels {
		device, err := n.authorize(r.Context(), caller, channel)
		if err != nil {
			return nil, err
		}
		c.joined(channel, device)
	}
	if len(channels) == 0 {
		if channels = []string{ownChannel(caller)}; !mayRead(caller, channels[0], hearth.Device{}) {
			return nil, errNoChannel()
		}
	}
	c.subscriptions = n.plan(c, channels)
	return c, nil
}

// wantedChannels reads ?channels=a,b, given once or more often, with ids in either case. It reads no further than one channel more than most.
func wantedChannels(values []string, most int) []string {
	var channels []string
	for _, value := range values {
		for channel := range strings.SplitSeq(value, ",") {
			kind, id, found := strings.Cut(strings.TrimSpace(channel), ":")
			if channel = kind; found {
				channel += ":" + newid.Canonical(id)
			}
			if channel != "" && !slices.Contains(channels, channel) {
				channels = append(channels, channel)
			}
			if len(channels) > most {
				return channels
			}
		}
	}
	return channels
}

// plan returns what a stream joins so that every event comes once: the channels, and what is addressed to the user, unless that is
// among them or the caller reaches one organization alone. A device whose owner's or organization's channel is joined needs no
// channel of its own.
func (n *Node) plan(c *conn, channels []string) map[string]centrifuge.SubscribeOptions {
	plan := map[string]centrifuge.SubscribeOptions{}
	for _, channel := range channels {
		if device, ok := c.devices[channel]; ok && slices.Contains(channels, string(device.Scope())) {
			continue
		}
		options := subscribeOptions
		options.EmitPresence = !strings.HasPrefix(channel, userPrefix)
		plan[channel] = options
	}
	if !slices.Contains(channels, userPrefix+c.caller.UserID) && c.caller.OnlyOrg == "" {
		plan[inboxPrefix+c.caller.UserID] = subscribeOptions
	}
	return plan
}

// comeBack returns the positions from which the stream continues, by the id that the client saw last. reset reports whether
// there is an id whose position is invalid.
func (n *Node) comeBack(r *http.Request, c *conn) (requests map[string]centrifuge.SubscribeRequest, reset bool) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("last_event_id")
	}
	if id == "" {
		return nil, false
	}
	known, ok := n.cursors.read(id)
	if !ok {
		n.metrics.replayed(transportSSE, false)
		return nil, true
	}
	requests = map[string]centrifuge.SubscribeRequest{}
	size := 0
	for channel := range c.subscriptions {
		at, ok := known[hashChannel(channel)]
		if !ok {
			continue // a channel that the stream did not have before begins now
		}
		if size += n.broker.ReplaySize(channel, at); size > n.options.replayBytes() {
			// More than one connection may replay: no replay is better than half of it.
			n.metrics.replayed(transportSSE, false)
			return nil, true
		}
		requests[channel] = centrifuge.SubscribeRequest{Recover: true, Epoch: at.Epoch, Offset: at.Offset}
	}
	// An id of other channels altogether is of no use here, and says so.
	if len(requests) == 0 {
		n.metrics.replayed(transportSSE, false)
		return nil, true
	}
	return requests, false
}

// connectFailure returns the API's error for centrifuge's.
func connectFailure(err error) error {
	unavailable := &hearth.Error{Code: hearth.CodeUnavailable, Message: "the stream could not be opened", RetryAfter: time.Second, Cause: err}
	var disconnect centrifuge.Disconnect
	if errors.As(err, &disconnect) && disconnect.Code == centrifuge.DisconnectShutdown.Code {
		unavailable.Message = "the service is restarting"
	}
	return unavailable
}
