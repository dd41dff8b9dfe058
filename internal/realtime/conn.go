package realtime

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"

	"hearth"
)

// The transports, as centrifuge and the metrics name them.
const (
	transportWebSocket = "websocket"
	transportSSE       = "sse"
)

// conn is the state of one connection that centrifuge does not keep.
type conn struct {
	transport string
	limiter   limiter

	mu     sync.Mutex
	caller hearth.Caller
	// token is the access token or API key; expires is when it expires, zero if it never does or is a key.
	token   string
	expires time.Time
	// devices are those whose channels the connection joined, by channel: what their permissions depend on.
	devices map[string]hearth.Device
	// subscriptions are what an SSE stream joins when it connects.
	subscriptions map[string]centrifuge.SubscribeOptions
}

type connKey struct{}

// connOf returns a client's conn; nil before it has connected.
func connOf(client *centrifuge.Client) *conn {
	c, _ := client.Context().Value(connKey{}).(*conn)
	return c
}

func (c *conn) who() (caller hearth.Caller, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caller, c.token
}

// renew sets the caller, which was authenticated anew.
func (c *conn) renew(caller hearth.Caller, token string, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.caller, c.token, c.expires = caller, token, expires
}

// joined records the device of a device's channel.
func (c *conn) joined(channel string, device hearth.Device) {
	if device.ID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.devices == nil {
		c.devices = map[string]hearth.Device{}
	}
	c.devices[channel] = rightsOf(device)
}

func (c *conn) left(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.devices, channel)
}

// mayStay reports whether the caller may still read a channel that the connection joined.
func (c *conn) mayStay(channel string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return mayRead(c.caller, channel, c.devices[channel])
}

// leaveOrg removes the caller's membership.
func (c *conn) leaveOrg(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	orgs := maps.Clone(c.caller.Orgs)
	delete(orgs, id)
	c.caller.Orgs = orgs
}

// rightsOf returns the fields of a device that permissions depend on.
func rightsOf(device hearth.Device) hearth.Device {
	return hearth.Device{ID: device.ID, OwnerID: device.OwnerID, OrganizationID: device.OrganizationID}
}

// login authenticates a user by an access token or an API key.
func (n *Node) login(ctx context.Context, token string) (hearth.Caller, time.Time, error) {
	if token == "" {
		return hearth.Caller{}, time.Time{}, hearth.Errorf(hearth.CodeUnauthenticated, "an access token is required")
	}
	caller, err := n.options.Users.Authenticate(ctx, token)
	if err != nil {
		return hearth.Caller{}, time.Time{}, err
	}
	if !caller.IsUser() {
		return hearth.Caller{}, time.Time{}, hearth.Errorf(hearth.CodeForbidden, "a device may not watch")
	}
	if !caller.HasScope(hearth.KeyTelemetryRead) {
		return hearth.Caller{}, time.Time{}, hearth.Errorf(hearth.CodeForbidden, "the API key lacks the scope %s", hearth.KeyTelemetryRead)
	}
	if n.options.Roles != nil {
		orgs, err := n.options.Roles(ctx, caller.UserID)
		if err != nil {
			return hearth.Caller{}, time.Time{}, err
		}
		caller = caller.WithOrgs(orgs)
	}
	return caller, tokenExpiry(token), nil
}

// tokenExpiry reads when an access token that was verified runs out; zero if it does not say.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expires), 0)
}

// bearer returns the token of an Authorization header; "" if there is none.
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken {
		return ""
	}
	return strings.TrimSpace(token)
}

// maxToken bounds a token, in bytes.
const maxToken = 4096

// limiter allows so many commands a second, after a burst. It is used by one goroutine.
type limiter struct {
	tokens float64
	last   time.Time
}

func (l *limiter) allow(now time.Time, perSecond float64, burst int) bool {
	if l.last.IsZero() {
		l.tokens = float64(burst)
	} else {
		l.tokens = min(float64(burst), l.tokens+now.Sub(l.last).Seconds()*perSecond)
	}
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
