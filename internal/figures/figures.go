// Package figures reports what the processes of a service do now. Each process knows its own part, in memory; a question over the bus
// gathers the others', and the sum is what one program alone would report.
package figures

import (
	"context"
	"math"
	"slices"

	"hearth"
	"hearth/internal/api"
	"hearth/internal/bus"
	"hearth/internal/core/analytics"
	"hearth/internal/realtime"
)

// FlowOf says whose flow is asked for: the scopes' within Reach, and the streams of User, or all.
type FlowOf struct {
	Reach     hearth.Reach
	User      string
	Everybody bool
}

// NewFlow returns what reports how much goes through the service now, given this process's part. Asker is nil where no other process
// is asked, here and below.
func NewFlow(asker *bus.Asker, own func(FlowOf) analytics.Flow) func(context.Context, hearth.Caller, hearth.Reach) analytics.Flow {
	question := bus.NewQuestion(asker, "flow", own)
	return func(ctx context.Context, caller hearth.Caller, reach hearth.Reach) (all analytics.Flow) {
		slices.Sort(reach.Scopes) // the same question in the same words
		for _, one := range question.Ask(ctx, FlowOf{Reach: reach, User: caller.UserID, Everybody: caller.IsAdmin()}) {
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
	// UserSet and ChannelSet are those that Users and Channels count; only a fleet needs them.
	UserSet, ChannelSet realtime.Distinct
}

// NewStreams returns what counts the open streams of all processes.
func NewStreams(asker *bus.Asker, node *realtime.Node) func(context.Context) api.StreamStats {
	question := bus.NewQuestion(asker, "streams", func(struct{}) streams {
		own := streams{Stats: node.Stats()}
		if asker != nil {
			own.UserSet, own.ChannelSet = node.Readers()
		}
		return own
	})
	return func(ctx context.Context) api.StreamStats { return sumStreams(question.Ask(ctx, struct{}{})) }
}

// sumStreams counts a user with streams at several processes once.
func sumStreams(each []streams) (all api.StreamStats) {
	var people, read realtime.Distinct
	var users, channels bounds
	for _, one := range each {
		all.Connections.WebSocket += one.Connections.WebSocket
		all.Connections.SSE += one.Connections.SSE
		all.MessagesPerSecond += one.MessagesPerSecond
		people, read = people.Union(one.UserSet), read.Union(one.ChannelSet)
		users.add(one.Users)
		channels.add(one.Channels)
	}
	all.Users, all.Channels = users.hold(people.Count()), channels.hold(read.Count())
	all.MessagesPerSecond = rounded(all.MessagesPerSecond)
	return all
}

// bounds are what the sizes of sets say of the size of their union: exactly what it is, where one alone is not empty.
type bounds struct{ largest, sum int }

func (b *bounds) add(size int) { b.largest, b.sum = max(b.largest, size), b.sum+size }

func (b *bounds) hold(estimate int) int { return min(max(estimate, b.largest), b.sum) }

// rounded rids a sum of rates of what floating-point addition leaves in its last digits.
func rounded(rate float64) float64 { return math.Round(rate*1e6) / 1e6 }
