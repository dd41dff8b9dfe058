package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hearth/internal/mqtt/packet"
)

const (
	// crowd is how many idle devices are connected, stormy how many come back at once after a restart.
	crowd  = 20_000
	stormy = 5000
	// perSource is how many connections begin at one address of this machine: it has no more than some 28,000 ports.
	perSource = 10_000
	// stormRetry is how long a device waits before it connects again.
	stormRetry = 100 * time.Millisecond
)

// source is the address from which the i-th device connects.
func source(i int) net.IP { return net.IPv4(127, 0, 0, byte(2+i/perSource)) }

// otherFiles is how many files a process has open besides connections, at most.
const otherFiles = 500

// allowed returns how many of so many connections a process may have open, which is what ulimit -Hn allows. Go raises the soft limit by itself.
func allowed(connections int) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	n := min(connections, int(min(limit.Max, 1<<30))-otherFiles)
	if n <= 0 {
		return 0, fmt.Errorf("%d open files (ulimit -n) are too few", limit.Max)
	}
	return n, nil
}

// measureMQTTIdle: the memory of connections that subscribe and then only ping.
func measureMQTTIdle(ctx context.Context, o options, dir string, r *report) (err error) {
	crowd, err := allowed(crowd)
	if err != nil {
		return err
	}
	h, err := launchMQTT(ctx, o, dir, crowd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	before, _ := h.memory()
	links := make([]*link, crowd)
	defer func() {
		for _, l := range links {
			if l != nil {
				_ = l.Close()
			}
		}
	}()
	if err := atOnce(ctx, crowd, "connections", func(i int) (err error) {
		if links[i], err = connectMQTT(ctx, h.addr, source(i), h.tokens[i]); err == nil {
			err = links[i].subscribe("c")
		}
		return err
	}); err != nil {
		return err
	}
	grown, peak := h.memory()
	time.Sleep(2 * o.seconds) // the garbage of the logins goes
	if err := atOnce(ctx, crowd, "pings", func(i int) error { return links[i].exchange(packet.AppendPingreq(nil), packet.PINGRESP) }); err != nil {
		return err
	}
	after, _ := h.memory()
	r.add(figure{Name: "an idle connection over MQTT", Unit: "kB", Hearth: (after - before) * 1024 / float64(crowd), Goal: "≤ 25",
		Note: fmt.Sprintf("resident memory; %d connections that subscribed to commands, each pinged once; %.1f kB just after they came, peak %.0f MiB",
			crowd, (grown-before)*1024/float64(crowd), peak)})
	return nil
}

// measureMQTTStorm: devices that all come back at once after a restart, while a user logs in and looks at the dashboard.
func measureMQTTStorm(ctx context.Context, o options, dir string, r *report) (err error) {
	h, err := launchMQTT(ctx, o, dir, stormy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	var took, logins, dashboards, costs []float64
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "  round %d of %d\n", round+1, o.rounds)
		s, err := h.storm(ctx, o)
		if err != nil {
			return err
		}
		took, logins, dashboards = append(took, s.took.Seconds()), append(logins, ms(s.login)), append(dashboards, ms(s.dashboard))
		costs = append(costs, 1e6*s.cpu.Seconds()/stormy)
	}
	note := fmt.Sprintf("%d devices log in and subscribe", stormy)
	r.add(figure{Name: "a storm of reconnects is through", Unit: "s", Hearth: median(took), Goal: "≤ 10", Note: note})
	r.add(figure{Name: "slowest login during the storm", Unit: "ms", Hearth: median(logins), Goal: "< 500"})
	r.add(figure{Name: "slowest dashboard during the storm", Unit: "ms", Hearth: median(dashboards), Goal: "< 500"})
	r.add(figure{Name: "processor time of the server in the storm, a device", Unit: "µs", Hearth: median(costs), Note: "logins and dashboards included"})
	return nil
}

type storm struct{ took, login, dashboard, cpu time.Duration }

// storm stops hearth while devices are connected, starts it, and returns how long it takes until all are back.
func (h *hearthMQTT) storm(ctx context.Context, o options) (s storm, err error) {
	var failure atomic.Pointer[error]
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	join := func(i int) (*link, error) {
		l, err := connectMQTT(ctx, h.addr, source(i), h.tokens[i])
		if err == nil {
			err = l.subscribe("c")
		}
		return l, err
	}
	links := make([]*link, stormy)
	if err := atOnce(ctx, stormy, "connections", func(i int) (err error) { links[i], err = join(i); return err }); err != nil {
		return s, err
	}
	var back sync.WaitGroup
	for i := range stormy {
		back.Go(func() {
			_, _ = links[i].next() // the end of the connection
			_ = links[i].Close()
			for ctx.Err() == nil {
				var err error
				if links[i], err = join(i); err == nil {
					return
				}
				time.Sleep(stormRetry)
			}
		})
	}
	addr := h.url[len("http://"):]
	if err := h.process.stop(); err != nil {
		return s, err
	}
	if h.process, err = startHearth(ctx, o, addr, h.dir, "HEARTH_MQTT_ADDR="+h.addr, "HEARTH_QUOTAS=off"); err != nil {
		return s, err
	}
	http.DefaultClient.CloseIdleConnections() // those of the process before
	began, before, up := time.Now(), h.cpu(), make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() { s.login, s.dashboard = h.ask(up, &failure) })
	back.Wait()
	s.took, s.cpu = time.Since(began), h.cpu()-before
	close(up)
	asking.Wait()
	for _, l := range links {
		if l != nil {
			_ = l.Close()
		}
	}
	if err := failure.Load(); err != nil {
		return s, *err
	}
	return s, ctx.Err()
}

// ask logs in and reads the dashboard, again and again until the end, and returns the slowest answer of each.
func (h *hearthMQTT) ask(end <-chan struct{}, failure *atomic.Pointer[error]) (login, dashboard time.Duration) {
	credentials := map[string]any{"email": "bench@example.com", "password": "a bench password 1"}
	for {
		start := time.Now()
		err := h.call(http.MethodPost, "/auth/login", credentials, nil)
		login = max(login, time.Since(start))
		if start = time.Now(); err == nil {
			err = h.call(http.MethodGet, "/analytics/dashboard?range=24h", nil, nil)
		}
		dashboard = max(dashboard, time.Since(start))
		if err != nil {
			failure.CompareAndSwap(nil, &err)
			return login, dashboard
		}
		select {
		case <-end:
			return login, dashboard
		case <-time.After(50 * time.Millisecond):
		}
	}
}
