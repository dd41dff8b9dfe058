package app

import (
	"context"

	"github.com/centrifugal/centrifuge"

	"hearth/internal/api"
	"hearth/internal/realtime"
	"hearth/internal/realtime/redisbroker"
)

// endings passes the ends of sessions on to everybody who wants to know. It is complete before the first one.
type endings struct {
	all []interface {
		SessionsEnded(userID string, sessionIDs []string)
	}
}

// SessionsEnded implements account.SessionObserver.
func (e *endings) SessionsEnded(userID string, sessionIDs []string) {
	for _, to := range e.all {
		to.SessionsEnded(userID, sessionIDs)
	}
}

// openRealtime builds what carries events to connections: over Redis where instances share it.
func (a *App) openRealtime(ctx context.Context) (err error) {
	options := realtime.Options{
		Users: a.people, Roles: a.orgs.Roles, Devices: a.store, Encode: api.EncodeEvent, AllowedOrigins: a.config.AllowedOrigins,
		Clock: a.options.Clock, Logger: a.log, Registry: a.metrics.Registry,
	}
	if a.redis != nil {
		if options, err = a.shareRealtime(ctx, options); err != nil {
			return err
		}
	}
	a.realtime, err = realtime.New(options)
	if err != nil {
		return err
	}
	a.steps.add("realtime", a.realtime.Close)
	a.events.all = append(a.events.all, a.realtime)
	a.endings.all = append(a.endings.all, a.realtime)
	a.memberships.all = append(a.memberships.all, a.realtime)
	return nil
}

// shareRealtime completes the options for instances that carry one another's events, whose SSE ids and tickets all of them take.
func (a *App) shareRealtime(ctx context.Context, options realtime.Options) (_ realtime.Options, err error) {
	if options.CursorKey, err = a.secrets.Secret(ctx, "cursor.key"); err != nil {
		return options, err
	}
	if options.Presence, err = redisbroker.NewPresence(a.redis, a.options.Clock); err != nil {
		return options, err
	}
	if options.Tickets, err = redisbroker.NewTickets(a.redis); err != nil {
		return options, err
	}
	options.Broker = func(node *centrifuge.Node) (realtime.Broker, error) {
		return redisbroker.New(node, redisbroker.Options{Conn: a.redis, Clock: a.options.Clock, Logger: a.log})
	}
	return options, nil
}
