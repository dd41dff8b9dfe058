package redisbroker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/redisconn"
)

// presenceTTL is how long a connection is shown without a refresh: centrifuge refreshes each after 25 s.
const presenceTTL = time.Minute

// Presence is who reads which channel, on all instances: a hash presence:{CHANNEL} with the connections, and,
// presence:{CHANNEL}:ends, until when each shows. While Redis is away none is shown, and none is kept from reading.
type Presence struct {
	conn  *redisconn.Conn
	clock hearth.Clock
}

var _ centrifuge.PresenceManager = (*Presence)(nil)

// NewPresence makes a presence. It needs no closing.
func NewPresence(conn *redisconn.Conn, clock hearth.Clock) (*Presence, error) {
	if conn == nil {
		return nil, errors.New("redisbroker: a presence needs a connection")
	}
	return &Presence{conn: conn, clock: clock}, nil
}

var (
	show  = redisconn.Load(scripts, "show")
	hide  = redisconn.Load(scripts, "hide")
	shown = redisconn.Load(scripts, "shown")
)

func presenceKeys(channel string) []string {
	return []string{"presence:{" + channel + "}", "presence:{" + channel + "}:ends"}
}

// AddPresence implements centrifuge.PresenceManager.
func (p *Presence) AddPresence(channel, clientID string, info *centrifuge.ClientInfo) error {
	text, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("redisbroker: %w", err)
	}
	ends := strconv.FormatInt(p.clock.Now().Add(presenceTTL).UnixMilli(), 10)
	return p.attempt(show, channel, clientID, string(text), ends, strconv.FormatInt(presenceTTL.Milliseconds(), 10))
}

// RemovePresence implements centrifuge.PresenceManager.
func (p *Presence) RemovePresence(channel, clientID, _ string) error {
	return p.attempt(hide, channel, clientID)
}

// attempt runs a script that may as well not be run while Redis is away.
func (p *Presence) attempt(script *redisconn.Script, channel string, args ...string) error {
	err := p.conn.Do(context.Background(), func(ctx context.Context, client rueidis.Client) error {
		return script.Run(ctx, client, presenceKeys(channel), args).Error()
	})
	if hearth.ErrorCode(err) == hearth.CodeUnavailable {
		return nil
	}
	return err
}

// Presence implements centrifuge.PresenceManager.
func (p *Presence) Presence(channel string) (present map[string]*centrifuge.ClientInfo, err error) {
	now := strconv.FormatInt(p.clock.Now().UnixMilli(), 10)
	present = map[string]*centrifuge.ClientInfo{}
	err = p.conn.Do(context.Background(), func(ctx context.Context, client rueidis.Client) error {
		found, err := shown.Run(ctx, client, presenceKeys(channel), []string{now}).AsStrMap()
		if err != nil {
			return err
		}
		for id, text := range found {
			info := &centrifuge.ClientInfo{}
			if err := json.Unmarshal([]byte(text), info); err != nil {
				return fmt.Errorf("redisbroker: a presence is read wrongly: %w", err)
			}
			present[id] = info
		}
		return nil
	})
	if hearth.ErrorCode(err) == hearth.CodeUnavailable {
		return map[string]*centrifuge.ClientInfo{}, nil
	}
	return present, err
}

// PresenceStats implements centrifuge.PresenceManager.
func (p *Presence) PresenceStats(channel string) (centrifuge.PresenceStats, error) {
	present, err := p.Presence(channel)
	if err != nil {
		return centrifuge.PresenceStats{}, err
	}
	users := map[string]struct{}{}
	for _, info := range present {
		users[info.UserID] = struct{}{}
	}
	return centrifuge.PresenceStats{NumClients: len(present), NumUsers: len(users)}, nil
}
