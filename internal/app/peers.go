package app

import (
	"context"

	"hearth"
	"hearth/internal/core/analytics"
	"hearth/internal/figures"
)

// openFlow returns what reports how much goes through the service now.
func (a *App) openFlow() func(context.Context, hearth.Caller, hearth.Reach) analytics.Flow {
	return figures.NewFlow(a.asker, func(of figures.FlowOf) analytics.Flow {
		flow := analytics.Flow{HeartbeatsPerSecond: a.fleet.HeartbeatRate(of.Reach), LogsPerSecond: a.telemetry.PerSecond(of.Reach)}
		if of.Everybody {
			open := a.realtime.Stats().Connections
			flow.Connections = open.WebSocket + open.SSE
		} else {
			flow.Connections = a.realtime.ConnectionsOf(of.User)
		}
		return flow
	})
}
