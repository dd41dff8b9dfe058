package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"hearth/internal/testserver"
)

// fleet is several programs that share a database, Redis and object storage, behind nginx. Its server is the whole, as
// clients meet it; members of it are started and stopped together.
type fleet struct {
	*server
	front *front
	// apis serve and workers work; each has a data directory of its own.
	apis, workers []*server
	redis         *testserver.Redis
	// links lead from a member to a part ("api0 redis", "worker0 mongodb", "nginx api1"), if they were asked for.
	links map[string]*link
}

type fleetOptions struct {
	// linked puts a link that can be cut between each two parts.
	linked bool
	// mqtt has the instances serve devices, and nginx before them (front.mqtt).
	mqtt bool
	// env is every member's.
	env []string
}

// newFleet starts two instances and a worker, with limits off unless env says otherwise, and stops them at the end.
func newFleet(t *testing.T, options fleetOptions) *fleet {
	t.Helper()
	f := &fleet{redis: testserver.StartRedis(t, "--appendonly", "yes"), links: map[string]*link{}}
	store, files := testserver.MongoDB(t), fakeS3(t)
	var upstreams []string
	for i, kind := range []string{"api", "api", "worker"} {
		name := fmt.Sprint(kind, i)
		storeURL, redisAddr := store, f.redis.Addr()
		if options.linked {
			host, database, _ := strings.Cut(strings.TrimPrefix(store, "mongodb://"), "/")
			f.links[name+" mongodb"] = newLink(t, host)
			f.links[name+" redis"] = newLink(t, redisAddr)
			// Otherwise the driver goes by the address that the server returns of itself.
			storeURL = "mongodb://" + f.links[name+" mongodb"].addr + "/" + database + "?directConnection=true"
			redisAddr = f.links[name+" redis"].addr
		}
		env := append([]string{
			"HEARTH_STORE_URL=" + storeURL, "HEARTH_REDIS_URL=redis://" + redisAddr + "/0", "HEARTH_BLOB_URL=" + files,
			"HEARTH_TRUSTED_PROXIES=127.0.0.1", "HEARTH_ACCESS_TTL=1h",
		}, options.env...)
		addr, admin := testserver.FreeAddr(t), testserver.FreeAddr(t)
		m := &server{t: t, addr: addr, url: "http://" + addr, dir: t.TempDir()}
		if kind == "api" {
			m.env = append(env, "HEARTH_WORKER=false")
			if options.mqtt {
				m.mqtt = testserver.FreeAddr(t)
				m.env = append(m.env, "HEARTH_MQTT_ADDR="+m.mqtt)
			}
			f.apis = append(f.apis, m)
			if options.linked {
				f.links["nginx "+name] = newLink(t, addr)
				addr = f.links["nginx "+name].addr
			}
			upstreams = append(upstreams, addr)
		} else {
			m.env, m.command, m.ready = append(env, "HEARTH_ADMIN_ADDR="+admin), []string{"worker"}, "http://"+admin
			f.workers = append(f.workers, m)
		}
	}
	members := append(append([]*server{}, f.apis...), f.workers...)
	t.Cleanup(func() { // all at once: each takes its time to leave
		var leaving []*server
		for _, m := range members {
			if m.cmd != nil && m.running() {
				m.signal(syscall.SIGTERM)
				leaving = append(leaving, m)
			}
		}
		for _, m := range leaving {
			m.awaitEnd()
		}
		for _, m := range members {
			if t.Failed() && m.log != nil {
				t.Logf("the end of the log of %s:\n%s", m.addr, tail(m.log.String(), 1500))
			}
		}
	})
	for _, m := range members {
		m.start()
	}
	// The tests come from one address, faster than anybody should.
	edits := []edit{{"site/limits.conf", "rate=300r/s", "rate=100000r/s"}, {"site/limits.conf", "rate=10r/s", "rate=100000r/s"}}
	mqtt := ""
	if options.mqtt {
		mqtt = testserver.FreeAddr(t)
		edits = append(edits, serveDevices(mqtt, f.apis[0].mqtt, f.apis[1].mqtt)...)
	}
	f.front = newFront(t, upstreams, edits...)
	f.server = f.front.before(t)
	f.mqtt = mqtt
	f.members = members
	return f
}

// of returns a client of one instance, past nginx, as the same caller.
func (f *fleet) of(instance int, c *client) *client {
	return &client{s: f.apis[instance], token: c.token, http: &http.Client{Timeout: 60 * time.Second}}
}

// fakeS3 serves an object storage in memory and returns its URL.
func fakeS3(t *testing.T) string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("hearth"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s.Close)
	return "s3://KEY:SECRET@hearth?endpoint=" + s.URL
}

// inBothModes runs a test of what clients see against a program that is alone, and against a fleet.
func inBothModes(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, serve(t))
	})
	t.Run("fleet", func(t *testing.T) {
		t.Parallel()
		test(t, newFleet(t, fleetOptions{}).server)
	})
}

// link is a connection between two parts that can be cut and can hang.
type link struct {
	t     *testing.T
	addr  string
	proxy *toxiproxy.Proxy
}

func newLink(t *testing.T, upstream string) *link {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &link{t: t, addr: testserver.FreeAddr(t)}
	l.proxy = toxiproxy.NewProxy(api, upstream, l.addr, upstream)
	if err := l.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// cut breaks every connection off and refuses new ones; mend ends it.
func (l *link) cut() { l.proxy.Stop() }

func (l *link) mend() {
	l.t.Helper()
	if err := l.proxy.Start(); err != nil {
		l.t.Fatal(err)
	}
}

// hang holds back all that the other side says: connections stay open, and new ones get no answer. unhang ends it.
func (l *link) hang() {
	l.t.Helper()
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(`{"type": "timeout", "attributes": {"timeout": 0}}`)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *link) unhang() { l.proxy.Toxics.ResetToxics(context.Background()) }

// within asks again and again until is returns "", and fails with what it returned last after the limit. Other processes have no
// other way to say that they got there.
func within(t *testing.T, limit time.Duration, what string, is func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		wrong := is()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, limit, wrong)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// statusIs asks until the status is the wanted one.
func statusIs(c *client, status int, method, path string, body any) func() string {
	return func() string {
		a, err := c.send(c.s.t.Context(), method, path, body)
		if err != nil {
			return err.Error()
		}
		if a.Status != status {
			return fmt.Sprintf("%d, want %d: %.200s", a.Status, status, a.Body)
		}
		return ""
	}
}
