package realtime

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// SessionsEnded closes the connections of the user's sessions or API keys. Nil means that the user's permissions changed: all their
// connections close, and come back with a new token.
func (n *Node) SessionsEnded(userID string, sessionIDs []string) {
	for client, c := range n.connectionsOf(userID) {
		caller, _ := c.who()
		switch {
		case sessionIDs == nil:
			client.Disconnect(centrifuge.DisconnectStateInvalidated)
		case slices.Contains(sessionIDs, loginOf(caller)):
			client.Disconnect(disconnectSessionEnded)
		}
	}
}

// UserEnded closes all connections of the user, who was disabled or logged out everywhere.
func (n *Node) UserEnded(userID string) {
	for client := range n.connectionsOf(userID) {
		client.Disconnect(disconnectSessionEnded)
	}
}

// MembershipEnded unsubscribes the user from the organization's channel and those of its devices.
func (n *Node) MembershipEnded(userID, orgID string) {
	for client, c := range n.connectionsOf(userID) {
		c.leaveOrg(orgID)
		n.dropLost(client, c)
	}
}

// loginOf returns what a connection ends with: the session or the API key.
func loginOf(caller hearth.Caller) string { return cmp.Or(caller.KeyID, caller.SessionID) }

func (n *Node) connectionsOf(userID string) map[*centrifuge.Client]*conn {
	if userID == "" {
		return nil
	}
	conns := map[*centrifuge.Client]*conn{}
	for _, client := range n.node.Hub().UserConnections(userID) {
		if c := connOf(client); c != nil {
			conns[client] = c
		}
	}
	return conns
}

// dropLost unsubscribes a connection from the channels that its caller may no longer read. An SSE stream ends: what it asked for
// is no longer all there.
func (n *Node) dropLost(client *centrifuge.Client, c *conn) {
	for _, channel := range client.Channels() {
		if c.mayStay(channel) {
			continue
		}
		if c.transport == transportSSE {
			client.Disconnect(centrifuge.DisconnectPermissionDenied)
			return
		}
		client.Unsubscribe(channel, unsubscribeDenied)
	}
}

// recheckLoop checks periodically whether the open connections may stay, for what was changed by another process.
func (n *Node) recheckLoop() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-n.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	ticker := time.NewTicker(n.options.Recheck)
	defer ticker.Stop()
	for {
		select {
		case <-n.closing:
			return
		case <-ticker.C:
			start := time.Now()
			n.recheckAll(ctx)
			n.metrics.recheck.Set(time.Since(start).Seconds())
		}
	}
}

// recheckers bounds the checks that run at a time.
const recheckers = 4

// recheckAll checks each session once, whatever the number of its connections.
func (n *Node) recheckAll(ctx context.Context) {
	type session struct{ user, id string }
	groups := map[session][]*centrifuge.Client{}
	for _, client := range n.node.Hub().Connections() {
		if c := connOf(client); c != nil {
			caller, token := c.who()
			key := session{caller.UserID, loginOf(caller)}
			if key.id == "" {
				key.id = token
			}
			groups[key] = append(groups[key], client)
		}
	}
	todo := make(chan []*centrifuge.Client)
	var workers sync.WaitGroup
	for range min(recheckers, len(groups)) {
		workers.Go(func() {
			for clients := range todo {
				n.recheck(ctx, clients)
			}
		})
	}
	for clients := range maps.Values(groups) {
		if ctx.Err() != nil {
			break
		}
		todo <- clients
	}
	close(todo)
	workers.Wait()
}

// recheck checks the clients of one session. An error that says nothing about the session changes nothing: an unavailable
// database ends no stream.
func (n *Node) recheck(ctx context.Context, clients []*centrifuge.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// The newest token of the session counts for all.
	newest := connOf(clients[0])
	for _, client := range clients[1:] {
		if c := connOf(client); c.expiry().After(newest.expiry()) {
			newest = c
		}
	}
	caller, err := n.now(ctx, newest)
	switch code := hearth.ErrorCode(err); code {
	case "":
		for _, client := range clients {
			c := connOf(client)
			c.mu.Lock()
			changed := c.caller.Role != caller.Role || !maps.Equal(c.caller.Orgs, caller.Orgs)
			c.caller.Role, c.caller.Orgs = caller.Role, caller.Orgs
			c.mu.Unlock()
			if changed {
				n.dropLost(client, c)
			}
		}
	case hearth.CodeTokenRevoked, hearth.CodeUnauthenticated, hearth.CodeForbidden, hearth.CodeNotFound:
		for _, client := range clients {
			client.Disconnect(disconnectSessionEnded)
		}
	case hearth.CodeUnavailable:
	case hearth.CodeTokenExpired:
		// Centrifuge ends a connection whose access token ran out and was not refreshed. It does not know when API keys expire.
		if caller, _ := newest.who(); caller.KeyID == "" {
			return
		}
		for _, client := range clients {
			client.Disconnect(disconnectSessionEnded)
		}
	default:
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			n.options.Logger.Error("an open connection could not be checked", "error", err)
		}
	}
}

// now returns a connection's caller as they are now.
func (n *Node) now(ctx context.Context, c *conn) (hearth.Caller, error) {
	caller, token := c.who()
	var err error
	if sessions, ok := n.options.Users.(Sessions); ok {
		err = sessions.Alive(ctx, caller)
	} else {
		orgs := caller.Orgs
		if caller, err = n.options.Users.Authenticate(ctx, token); n.options.Roles != nil {
			caller.Orgs = orgs
		}
	}
	// A user in no organization has no membership to lose; a new membership counts from the next connection on.
	if err != nil || n.options.Roles == nil || len(caller.Orgs) == 0 {
		return caller, err
	}
	orgs, err := n.options.Roles(ctx, caller.UserID)
	return caller.WithOrgs(orgs), err
}

func (c *conn) expiry() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expires
}
