package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// shape is how many watchers follow how many devices.
type shape struct{ channels, connections int }

func (s shape) String() string {
	if s.channels == 1 {
		return fmt.Sprintf("one channel to %d", s.connections)
	}
	return fmt.Sprintf("%d channels to one each", s.channels)
}

const (
	// pace is the load at which delays are measured, in deliveries a second.
	pace = 20_000
	// idleConnections are held open for idleTime, beside idleRequests a second: longer than a heartbeat of a stream.
	idleConnections = 10_000
	idleTime        = 35 * time.Second
	idleRequests    = 200
	// watchers follow a device each while heartbeats are measured.
	watchers = 1000
)

// measureFan and measureEach: events of devices to those who watch them. Delivering alone is hearth's realtime node without the
// program around it, beside a bare centrifuge node that gets the same requests and keeps the same history. Stored and delivered
// is the whole program: a heartbeat by HTTP, authorized, durable, to the bytes at the watchers; PocketBase updates a record.
func measureFan(ctx context.Context, o options, dir string, r *report) error {
	if err := measureShape(ctx, o, dir, shape{1, 1000}, r); err != nil {
		return err
	}
	return measureShape(ctx, o, dir, shape{1, 5000}, r)
}

func measureEach(ctx context.Context, o options, dir string, r *report) error {
	return measureShape(ctx, o, dir, shape{1000, 1000}, r)
}

func measureIdles(ctx context.Context, o options, dir string, r *report) error {
	if err := measureIdle(ctx, o, dir, false, r); err != nil {
		return err
	}
	return measureIdle(ctx, o, dir, true, r)
}

// heard is what one side reached.
type heard struct{ rates, middles, tails, costs []float64 }

func measureShape(ctx context.Context, o options, dir string, s shape, r *report) (err error) {
	dir, err = liveDir(dir, fmt.Sprintf("%d-%d", s.channels, s.connections))
	if err != nil {
		return err
	}
	var running []*process
	defer func() {
		for _, p := range running {
			err = errors.Join(err, p.stop())
		}
	}()
	bare, err := launchNode(ctx, "bare")
	if err != nil {
		return err
	}
	running = append(running, bare)
	node, err := launchNode(ctx, "node")
	if err != nil {
		return err
	}
	running = append(running, node)
	peer, access, err := launchPeer(ctx, dir)
	if err != nil {
		return err
	}
	running = append(running, peer)
	mine, err := launchWatched(ctx, o, dir)
	if err != nil {
		return err
	}
	running = append(running, mine.process)
	channels := make([]string, s.channels)
	for i := range channels {
		channels[i] = "device:" + mine.ids[i]
	}
	const floor, nodeWebSocket, nodeSSE, webSocket, sse, pocket = 0, 1, 2, 3, 4, 5
	var sides [6]stage
	var results [6]heard
	for side, make := range map[int]func() (stage, error){
		floor:         func() (stage, error) { return nodeStage(bare, "the bare node", false, channels) },
		nodeWebSocket: func() (stage, error) { return nodeStage(node, "hearth's node, WebSocket", false, channels) },
		nodeSSE:       func() (stage, error) { return nodeStage(node, "hearth's node, SSE", true, channels) },
		webSocket:     func() (stage, error) { return mine.stage(false, s.channels) },
		sse:           func() (stage, error) { return mine.stage(true, s.channels) },
		pocket:        func() (stage, error) { return peerStage(peer, access, s.channels) },
	} {
		if sides[side], err = make(); err != nil {
			return err
		}
	}
	for range o.rounds {
		for side := range sides {
			if err := results[side].add(ctx, o, sides[side], s); err != nil {
				return fmt.Errorf("%s: %w", sides[side].name, err)
			}
		}
	}
	for _, side := range []struct {
		name string
		at   int
		peer heard
		goal string
	}{
		{"WebSocket, delivering alone", nodeWebSocket, heard{}, "≥ 0.9"},
		{"SSE, delivering alone", nodeSSE, heard{}, "≥ 0.9"},
		{"WebSocket, stored and delivered", webSocket, heard{}, ""},
		{"SSE, stored and delivered", sse, results[pocket], ""},
	} {
		got, name := results[side.at], fmt.Sprintf("%s, %s", s, side.name)
		r.add(figure{Name: name, Unit: "deliveries/s", Floor: median(results[floor].rates), Peer: median(side.peer.rates),
			Hearth: median(got.rates), Goal: side.goal, Note: "floor: a bare centrifuge node, WebSocket"})
		r.add(figure{Name: name + ", the server's processor time a delivery", Unit: "µs", Floor: median(results[floor].costs),
			Peer: median(side.peer.costs), Hearth: median(got.costs)})
		r.add(figure{Name: fmt.Sprintf("%s, p50 at %d deliveries/s", name, pace), Unit: "ms", Floor: median(results[floor].middles),
			Peer: median(side.peer.middles), Hearth: median(got.middles)})
		r.add(figure{Name: fmt.Sprintf("%s, p99 at %d deliveries/s", name, pace), Unit: "ms", Floor: median(results[floor].tails),
			Peer: median(side.peer.tails), Hearth: median(got.tails), Goal: "≤ 50 ms"})
	}
	return nil
}

// add measures a stage once: its delays at a fixed pace, and how much it can carry.
func (h *heard) add(ctx context.Context, o options, s stage, shape shape) error {
	a, err := gather(ctx, s, shape.connections)
	if err != nil {
		return err
	}
	defer a.close()
	if !s.single { // nothing that carries one event a request gets near the pace
		if err := paceEvents(ctx, o, s, a, shape.connections); err != nil {
			return err
		}
		h.middles, h.tails = append(h.middles, a.percentile(0.5)), append(h.tails, a.percentile(0.99))
	}
	before, heardBefore := s.on.cpu(), a.received.Load()
	rate, err := rush(ctx, o, s, a, shape)
	h.rates = append(h.rates, rate)
	h.costs = append(h.costs, float64((s.on.cpu()-before).Microseconds())/float64(max(1, a.received.Load()-heardBefore)))
	if dropped := a.dropped.Load(); dropped > 0 {
		err = errors.Join(err, errors.New(a.lost()))
	}
	return err
}

// paceEvents publishes at the pace, whether or not what was published before has come.
func paceEvents(ctx context.Context, o options, s stage, a *audience, connections int) error {
	// Warm: the first events pay for connections and pages.
	if err := s.publish(); err != nil {
		return err
	}
	if err := a.await(ctx, int64(connections)); err != nil {
		return err
	}
	a.forget()
	ticker := time.NewTicker(time.Duration(connections) * time.Second / pace / time.Duration(len(s.steps)))
	defer ticker.Stop()
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	steps := int64(0)
	for began := time.Now(); time.Since(began) < o.seconds && ctx.Err() == nil || steps%int64(len(s.steps)) != 0; <-ticker.C {
		step := s.steps[steps%int64(len(s.steps))]
		steps++
		wg.Go(func() {
			if err := step(); err != nil {
				failure.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return a.await(ctx, (1+steps/int64(len(s.steps)))*int64(connections))
}

// rush publishes as fast as the watchers get it, a bounded number of events ahead of them.
func rush(ctx context.Context, o options, s stage, a *audience, shape shape) (perSecond float64, err error) {
	publishers, ahead := int64(16), int64(20)
	if shape.channels > 1 { // an event to each is a large request
		publishers, ahead = 2, 4
	}
	connections, before := int64(shape.connections), a.received.Load()
	if s.single {
		publishers, ahead, connections = 16, 20, 1
	}
	began := time.Now()
	var published atomic.Int64
	failures := make([]error, publishers)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for time.Since(began) < o.seconds && ctx.Err() == nil {
				n := published.Add(1)
				if err := a.await(ctx, before+(n-ahead)*connections); err != nil {
					failures[p] = err
					return
				}
				if err := s.publish(); err != nil {
					failures[p] = err
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		return 0, err
	}
	if err := a.await(ctx, before+published.Load()*connections); err != nil {
		return 0, err
	}
	return float64(published.Load()*connections) / time.Since(began).Seconds(), nil
}

// measureIdle: the memory of streams on which nothing happens, and whether all stay beside requests.
func measureIdle(ctx context.Context, o options, dir string, sse bool, r *report) (err error) {
	name := "WebSocket"
	if sse {
		name = "SSE"
	}
	if dir, err = liveDir(dir, "idle-"+name); err != nil {
		return err
	}
	w, err := launchWatched(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	beats := paced{url: w.url, perSecond: idleRequests, clients: 8, length: 5 * time.Second, next: request("POST", w.token,
		func(c, n int) string { return "/api/v1/devices/" + w.ids[500+(c*131+n)%500] + "/heartbeat" },
		func(int, int) []byte { return []byte(`{"status":"active"}`) })}
	if _, err := beats.run(ctx); err != nil {
		return err
	}
	before, _ := w.memory()
	s, err := w.stage(sse, 500) // of devices that send nothing
	if err != nil {
		return err
	}
	a, err := gather(ctx, s, idleConnections)
	if err != nil {
		return err
	}
	defer a.close()
	beats.length = idleTime
	p99, err := beats.run(ctx)
	if err != nil {
		return err
	}
	after, _ := w.memory()
	r.add(figure{Name: "an idle connection, " + name, Unit: "kB", Hearth: (after - before) * 1024 / idleConnections, Goal: "≤ 60 kB",
		Note: fmt.Sprintf("resident memory; %d connections, %d dropped in %s beside %d heartbeats/s, whose p99 was %.1f ms", idleConnections,
			a.dropped.Load(), idleTime, idleRequests, ms(p99))})
	return nil
}

// measureWatched: heartbeats of 1,000 devices, with a watcher of each and without.
func measureWatched(ctx context.Context, o options, dir string, r *report) (err error) {
	if dir, err = liveDir(dir, "watched"); err != nil {
		return err
	}
	w, err := launchWatched(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	beats := load{url: w.url, clients: o.connections, length: o.seconds, status: 200, next: request("POST", w.token,
		func(c, n int) string { return "/api/v1/devices/" + w.ids[(c*131+n)%len(w.ids)] + "/heartbeat" },
		func(int, int) []byte { return []byte(`{"status":"active"}`) })}
	for _, sse := range []bool{false, true} {
		name := "WebSocket"
		if sse {
			name = "SSE"
		}
		s, err := w.stage(sse, watchers)
		if err != nil {
			return err
		}
		var alone, beside []float64
		for range o.rounds {
			quiet, err := beats.run(ctx)
			if err != nil {
				return err
			}
			a, err := gather(ctx, s, watchers)
			if err != nil {
				return err
			}
			busy, err := beats.run(ctx)
			a.close()
			if err != nil {
				return err
			}
			if dropped := a.dropped.Load(); dropped > 0 {
				return fmt.Errorf("%d watchers were dropped", dropped)
			}
			alone, beside = append(alone, quiet.perSecond), append(beside, busy.perSecond)
		}
		r.add(figure{Name: fmt.Sprintf("heartbeats with %d watchers, %s", watchers, name), Unit: "requests/s", Floor: median(alone),
			Hearth: median(beside), Goal: "≥ 0.8", Against: "without watchers"})
	}
	return nil
}
