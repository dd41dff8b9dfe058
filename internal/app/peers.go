package app

import (
	"context"
	"math"
	"slices"
	"sync"

	"hearth"
	"hearth/internal/analytics"
	"hearth/internal/peers"
)

// openPeers makes the group of the processes that share Redis. What they tell one another is figures: sums of these are what one
// program alone would tell. A worker is one of them; of what it does not do it tells nothing.
func (a *App) openPeers() (err error) {
	if a.redis != nil {
		a.peers, err = peers.New(peers.Options{Conn: a.redis, Logger: a.log})
	}
	return err
}

// startPeers has this process answer the others for as long as it runs.
func (a *App) startPeers(ctx context.Context) {
	if a.peers == nil {
		return
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { a.peers.Run(working) })
	a.steps.add("other instances", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// flowOf is whose flow is asked for: the scopes' within Reach, and the streams of User, or everybody's.
type flowOf struct {
	Reach     hearth.Reach
	User      string
	Everybody bool
}

// openFlow gives what tells how much goes through the service now.
func (a *App) openFlow() func(context.Context, hearth.Caller, hearth.Reach) analytics.Flow {
	question := peers.NewQuestion(a.peers, "flow", func(of flowOf) analytics.Flow {
		flow := analytics.Flow{HeartbeatsPerSecond: a.fleet.HeartbeatRate(of.Reach), LogsPerSecond: a.telemetry.PerSecond(of.Reach)}
		if of.Everybody {
			open := a.realtime.Stats().Connections
			flow.Connections = open.WebSocket + open.SSE
		} else {
			flow.Connections = a.realtime.ConnectionsOf(of.User)
		}
		return flow
	})
	return func(ctx context.Context, caller hearth.Caller, reach hearth.Reach) (all analytics.Flow) {
		slices.Sort(reach.Scopes) // the same question in the same words
		for _, one := range question.Ask(ctx, flowOf{Reach: reach, User: caller.UserID, Everybody: caller.IsAdmin()}) {
			all.HeartbeatsPerSecond += one.HeartbeatsPerSecond
			all.LogsPerSecond += one.LogsPerSecond
			all.Connections += one.Connections
		}
		all.HeartbeatsPerSecond, all.LogsPerSecond = rounded(all.HeartbeatsPerSecond), rounded(all.LogsPerSecond)
		return all
	}
}

// rounded rids a sum of rates of what floating-point addition leaves in its last digits.
func rounded(rate float64) float64 { return math.Round(rate*1e6) / 1e6 }
