package queuetest

import (
	"context"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hearth/internal/queue"
)

// Bench measures: 10,000 small jobs added and worked, the latency from adding to running when idle, and the share of one
// processor that an idle worker takes.
func Bench(b *testing.B, setup Setup) {
	b.Run("10000 jobs", func(b *testing.B) { benchThroughput(b, setup) })
	b.Run("idle", func(b *testing.B) { benchIdle(b, setup) })
}

func benchThroughput(b *testing.B, setup Setup) {
	const total, batch = 10_000, 500
	var enqueueing, working time.Duration
	for range b.N {
		backend, _ := startReal(b, setup)
		var done atomic.Int64
		all := make(chan struct{})
		began := time.Now()
		r := run(b, backend, func(context.Context, *queue.Task) error {
			if done.Add(1) == total {
				close(all)
			}
			return nil
		}, func(o *queue.WorkerOptions) { o.Observe = nil })
		for range total / batch {
			jobs := make([]queue.Job, batch)
			for i := range jobs {
				jobs[i] = newJob()
			}
			r.add(b, jobs...)
		}
		enqueueing += time.Since(began)
		select {
		case <-all:
		case <-time.After(5 * time.Minute):
			b.Fatalf("%d jobs were done", done.Load())
		}
		working += time.Since(began)
	}
	b.ReportMetric(float64(total*b.N)/working.Seconds(), "jobs/s")
	b.ReportMetric(float64(total*b.N)/enqueueing.Seconds(), "added/s")
	b.ReportMetric(0, "ns/op")
}

func benchIdle(b *testing.B, setup Setup) {
	backend, _ := startReal(b, setup)
	begun := make(chan time.Time, 1)
	r := run(b, backend, func(context.Context, *queue.Task) error { begun <- time.Now(); return nil },
		func(o *queue.WorkerOptions) { o.Lease, o.Observe = 10*time.Second, nil })

	const quiet = 5 * time.Second
	before := processorTime(b)
	time.Sleep(quiet)
	b.ReportMetric(100*float64(processorTime(b)-before)/float64(quiet), "idle-cpu-%")

	var latencies []time.Duration
	for range 200 {
		time.Sleep(10 * time.Millisecond)
		asked := time.Now()
		r.add(b, newJob())
		latencies = append(latencies, (<-begun).Sub(asked))
	}
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
