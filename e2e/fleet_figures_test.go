package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// figuresLimit is how late sums may be right: streams, heartbeats and what is shared for a second come in the machine's time.
const figuresLimit = 30 * time.Second

// figuresAreSums holds what an instance tells of itself against what happened at both.
func figuresAreSums(t *testing.T, f *fleet) {
	t.Helper()
	eve, who := f.signup("eve@example.com")
	one, other := f.of(0, eve), f.of(1, eve)
	id := one.device("counted")
	overSSE(t, f.apis[0], who.AccessToken)
	overSSE(t, f.apis[1], who.AccessToken)
	overWebSocket(t, f.apis[1], who.AccessToken)

	// Each instance sees only one of the two.
	for _, c := range []*client{one, other} {
		within(t, figuresLimit, "the sums of what goes on", func() string {
			one.do("POST", "/devices/"+id+"/heartbeat", map[string]any{}, 200)
			other.do("POST", "/devices/"+id+"/logs", map[string]any{"event": "x", "value": 1}, 201)
			var now struct {
				Heartbeats  float64 `json:"heartbeats_per_second"`
				Logs        float64 `json:"logs_per_second"`
				Connections int     `json:"connections"`
			}
			c.do("GET", "/analytics/realtime", nil, 200).Into(t, &now)
			if now.Heartbeats == 0 || now.Logs == 0 || now.Connections != 3 {
				return fmt.Sprintf("at %s: %+v", c.s.url, now)
			}
			return ""
		})
	}

	admin := newAdmin(t, f)
	for i := range f.apis {
		c := f.of(i, admin)
		within(t, figuresLimit, "the streams of all", func() string {
			got := string(c.do("GET", "/realtime/stats", nil, 200).Body)
			// One person, on their own channel, thrice.
			if !strings.HasPrefix(got, `{"connections":{"websocket":1,"sse":2},"users":1,"channels":1,`) {
				return got
			}
			return ""
		})
	}

	// The heartbeats were all taken in by the one, the logs by the other: nothing of either goes on any more.
	type metrics struct {
		Instances int
		Routes    []struct {
			Route string
			Total int
		}
		Process struct{ Memory, Goroutines int }
	}
	ask := func(i int) (m metrics, taken map[string]int) {
		f.of(i, admin).do("GET", "/admin/metrics", nil, 200).Into(t, &m)
		taken = map[string]int{}
		for _, r := range m.Routes {
			if strings.HasSuffix(r.Route, "/heartbeat") || strings.HasSuffix(r.Route, "/logs") {
				taken[r.Route] = r.Total
			}
		}
		return m, taken
	}
	within(t, figuresLimit, "the same metrics at both", func() string {
		m, here := ask(0)
		n, there := ask(1)
		if m.Instances != 3 || n.Instances != 3 || len(here) < 2 || !maps.Equal(here, there) {
			return fmt.Sprintf("%d processes with %v, %d with %v", m.Instances, here, n.Instances, there)
		}
		if m.Process.Goroutines == 0 || m.Process.Memory == 0 {
			return fmt.Sprintf("%+v", m.Process)
		}
		return ""
	})
}

// newAdmin makes an administrator and signs in.
func newAdmin(t *testing.T, f *fleet) *client {
	t.Helper()
	cmd := command(f.apis[0].dir, "user", "create", "--email", "root@example.com", "--name", "Root", "--role", "admin", "--password-stdin")
	cmd.Env, cmd.Stdin = append(cmd.Env, f.apis[0].env...), strings.NewReader(password)
	mustRun(t, cmd)
	admin, _ := f.login("root@example.com", password)
	return admin
}
