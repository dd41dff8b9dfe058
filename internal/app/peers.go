package app

import (
	"context"
	"math"
	"slices"
	"sync"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/core/analytics"
	"hearth/internal/peers"
	"hearth/internal/realtime"
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

// openFlow returns what reports how much goes through the service now.
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

// streams are the open streams of a process.
type streams struct {
	realtime.Stats
	// People and Read are the ones that Users and Channels count; only a fleet needs them.
	People, Read realtime.Distinct
}

// openStreams returns what counts the open streams.
func (a *App) openStreams() func(context.Context) api.StreamStats {
	question := peers.NewQuestion(a.peers, "streams", func(struct{}) streams {
		own := streams{Stats: a.realtime.Stats()}
		if a.peers != nil {
			own.People, own.Read = a.realtime.Readers()
		}
		return own
	})
	return func(ctx context.Context) api.StreamStats { return sumStreams(question.Ask(ctx, struct{}{})) }
}

// sumStreams counts whoever has streams at several processes once.
func sumStreams(each []streams) (all api.StreamStats) {
	var people, read realtime.Distinct
	var users, channels bounds
	for _, one := range each {
		all.Connections.WebSocket += one.Connections.WebSocket
		all.Connections.SSE += one.Connections.SSE
		all.MessagesPerSecond += one.MessagesPerSecond
		people, read = people.Union(one.People), read.Union(one.Read)
		users.add(one.Users)
		channels.add(one.Channels)
	}
	all.Users, all.Channels = users.hold(people.Count()), channels.hold(read.Count())
	all.MessagesPerSecond = rounded(all.MessagesPerSecond)
	return all
}

// bounds are what the sizes of sets tell of the size of their union: exactly what it is, where one alone is not empty.
type bounds struct{ largest, sum int }

func (b *bounds) add(size int) { b.largest, b.sum = max(b.largest, size), b.sum+size }

func (b *bounds) hold(estimate int) int { return min(max(estimate, b.largest), b.sum) }

// rounded rids a sum of rates of what floating-point addition leaves in its last digits.
func rounded(rate float64) float64 { return math.Round(rate*1e6) / 1e6 }
