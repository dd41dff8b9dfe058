package figures

import (
	"strconv"
	"testing"

	"hearth/internal/api"
	"hearth/internal/realtime"
)

func TestStreamsOfSeveralProcessesAddUp(t *testing.T) {
	t.Parallel()
	named := func(from, to int) (all []string) {
		for i := from; i < to; i++ {
			all = append(all, strconv.Itoa(i))
		}
		return all
	}
	of := func(sockets, sse int, users, channels []string) streams {
		s := streams{UserSet: realtime.DistinctOf(users), ChannelSet: realtime.DistinctOf(channels)}
		s.Users, s.Channels, s.MessagesPerSecond = len(users), len(channels), 0.1
		s.Connections.WebSocket, s.Connections.SSE = sockets, sse
		return s
	}
	stats := func(sockets, sse, users, channels int, rate float64) api.StreamStats {
		return api.StreamStats{
			Connections: api.StreamConnections{WebSocket: sockets, SSE: sse}, Users: users, Channels: channels, MessagesPerSecond: rate,
		}
	}
	many := named(0, 20_000)
	for name, test := range map[string]struct {
		each []streams
		want api.StreamStats
	}{
		"one":                       {[]streams{of(1, 2, named(0, 3), named(0, 2))}, stats(1, 2, 3, 2, 0.1)},
		"some at both":              {[]streams{of(1, 2, named(0, 3), named(0, 2)), of(3, 4, named(1, 6), named(5, 6)), of(0, 0, nil, nil)}, stats(4, 6, 6, 3, 0.3)},
		"many, beside a worker":     {[]streams{of(1, 0, many, many), of(0, 0, nil, nil)}, stats(1, 0, 20_000, 20_000, 0.2)},
		"alone, and hashed nothing": {[]streams{{Stats: of(0, 0, many, many).Stats}}, stats(0, 0, 20_000, 20_000, 0.1)},
	} {
		if got := sumStreams(test.each); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
