package figures

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hearth/internal/api"
	"hearth/internal/kv"
	"hearth/internal/observe"
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
		s := streams{People: realtime.DistinctOf(users), Read: realtime.DistinctOf(channels)}
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

func TestUseOfSeveralProcessesAddsUp(t *testing.T) {
	t.Parallel()
	instance := use{
		HTTP:    observe.HTTPFigures{Classes: [5]uint64{0, 6, 0, 3, 1}, PerSecond: 0.5},
		Process: api.ProcessFigures{CPU: 0.5, Memory: 100, Goroutines: 7},
		Cache: []kv.LayerStats{
			{Layer: "memory", Hits: 4, Misses: 6, Evictions: 1, Entries: 2, Bytes: 50}, {Layer: "redis", Hits: 3, Misses: 3},
		},
	}
	worker := use{Process: api.ProcessFigures{CPU: 1, Memory: 10, Goroutines: 3}, Cache: []kv.LayerStats{{Layer: "memory"}, {Layer: "redis"}}}
	requests, got := sumUse([]use{instance, worker, instance})
	if requests.Total != 20 || requests.PerSecond != 1 || requests.ErrorRate4xx != 0.3 || requests.ErrorRate5xx != 0.1 {
		t.Errorf("the requests are %+v", requests)
	}
	want := api.Figures{
		Instances: 3, Process: api.ProcessFigures{CPU: 2, Memory: 210, Goroutines: 17},
		Cache: api.CacheFigures{HitRate: 0.7, Layers: []api.CacheLayer{
			{Layer: "memory", HitRate: 0.4, Hits: 8, Misses: 12, Evictions: 2, Entries: 4, Bytes: 100}, {Layer: "redis", HitRate: 0.5, Hits: 6, Misses: 6},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
