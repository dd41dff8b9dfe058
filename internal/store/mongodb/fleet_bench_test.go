package mongodb

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"hearth"
	"hearth/internal/testserver"
)

// openBench returns a store with a thousand devices of one person, and a count of its commands to the server by name.
func openBench(b *testing.B) (*Store, []hearth.Device, func() map[string]int) {
	b.Helper()
	var mu sync.Mutex
	commands := map[string]int{}
	s := openAt(b, Options{URI: testserver.MongoDB(b), commands: &event.CommandMonitor{
		Started: func(_ context.Context, e *event.CommandStartedEvent) {
			mu.Lock()
			defer mu.Unlock()
			commands[e.CommandName]++
		},
	}})
	owners := make([]string, 1000)
	for i := range owners {
		owners[i] = "u"
	}
	devices := makeDevices(b, s, owners...)
	return s, devices, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		out := commands
		commands = map[string]int{}
		return out
	}
}

// BenchmarkIngest stores batches of 5,000 logs of 1,000 devices, one after the other, folding included.
func BenchmarkIngest(b *testing.B) {
	s, devices, commands := openBench(b)
	commands()
	round := 0
	entries := make([]hearth.LogEntry, 5000)
	for b.Loop() {
		for i := range entries {
			entries[i] = hearth.LogEntry{
				Device: devices[i%1000].Key, Event: []string{"temperature", "humidity", "power"}[i%3], Value: hearth.Number(float64(2000+i%701) / 100),
				At: noon.UnixMilli() + int64(round)*300_000 + int64(i)*60,
			}
		}
		round++
		if _, err := s.AppendLogs(context.Background(), entries, nil, hearth.SideEffects{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.FoldAll(context.Background()); err != nil {
		b.Fatal(err)
	}
	total := 0
	for _, n := range commands() {
		total += n
	}
	b.ReportMetric(float64(round)*5000/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(total)/float64(round), "commands/batch")
}

// BenchmarkDashboard asks what a dashboard asks, over 200,000 logs of 30 days.
func BenchmarkDashboard(b *testing.B) {
	s, devices, commands := openBench(b)
	const n, batch = 200_000, 10_000
	step := 30 * 24 * time.Hour / n
	entries := make([]hearth.LogEntry, batch)
	for start := 0; start < n; start += batch {
		for i := range entries {
			entries[i] = hearth.LogEntry{
				Device: devices[(start+i)*7919%1000].Key, Event: "temperature", Value: hearth.Number(float64(i%500) / 10),
				At: noon.Add(time.Duration(start+i) * step).UnixMilli(),
			}
		}
		if _, err := s.AppendLogs(context.Background(), entries, nil, hearth.SideEffects{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.FoldAll(context.Background()); err != nil {
		b.Fatal(err)
	}
	end := noon.Add(30*24*time.Hour - 17*time.Minute)
	for _, days := range []int{1, 30} {
		b.Run(fmt.Sprint(days, "d"), func(b *testing.B) {
			commands()
			asked := 0
			for b.Loop() {
				asked++
				bucket := hearth.StepHour
				if days > 7 {
					bucket = hearth.StepDay
				}
				_, err := s.Rollups(context.Background(), hearth.RollupQuery{
					Reach: hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u")}}, Span: hearth.Span{From: end.AddDate(0, 0, -days), To: end},
					Groupings: []hearth.Grouping{{}, {ByDevice: true}, {Step: bucket}, {ByEvent: true}},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			total := 0
			for _, n := range commands() {
				total += n
			}
			b.ReportMetric(float64(total)/float64(asked), "commands/op")
		})
	}
}

// BenchmarkHeartbeats stores groups of heartbeats that came in ten milliseconds.
func BenchmarkHeartbeats(b *testing.B) {
	for _, size := range []int{64, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, devices, _ := openBench(b)
			var n atomic.Int64
			beats := make([]hearth.Heartbeat, size)
			for b.Loop() {
				round := n.Add(1)
				for i := range beats {
					beats[i] = hearth.Heartbeat{
						Key: devices[(int(round)*31+i)%len(devices)].Key, At: noon.Add(time.Duration(round)*time.Second + time.Duration(i%10)*time.Millisecond),
					}
				}
				if err := s.RecordHeartbeats(context.Background(), beats); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n.Load())*float64(size)/b.Elapsed().Seconds(), "beats/s")
		})
	}
}
