package app

import (
	"hearth/internal/api"
	"hearth/internal/realtime"
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

// openRealtime builds what carries events to connections.
func (a *App) openRealtime() (err error) {
	a.realtime, err = realtime.New(realtime.Options{
		Users: a.people, Roles: a.orgs.Roles, Devices: a.store, Encode: api.EncodeEvent, AllowedOrigins: a.config.AllowedOrigins,
		Clock: a.options.Clock, Logger: a.log, Registry: a.metrics.Registry,
	})
	if err != nil {
		return err
	}
	a.steps.add("realtime", a.realtime.Close)
	a.events.all = append(a.events.all, a.realtime)
	a.endings.all = append(a.endings.all, a.realtime)
	a.memberships.all = append(a.memberships.all, a.realtime)
	return nil
}

func (a *App) streamStats() api.StreamStats {
	stats := a.realtime.Stats()
	return api.StreamStats{
		Connections: api.StreamConnections{WebSocket: stats.Connections.WebSocket, SSE: stats.Connections.SSE},
		Users:       stats.Users, Channels: stats.Channels, MessagesPerSecond: stats.MessagesPerSecond,
	}
}
