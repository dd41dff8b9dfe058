package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// fleet is two API instances and a worker over Redis and the tests' MongoDB-wire server, behind nginx.
type fleet struct {
	// hearth is the whole, through nginx.
	*hearth
	// env is what its members share.
	env     []string
	apis    []*process
	redis   string
	running []func() error
}

func (f *fleet) stop() (err error) {
	for i := len(f.running) - 1; i >= 0; i-- {
		err = errors.Join(err, f.running[i]())
	}
	return err
}

func launchFleet(ctx context.Context, o options, dir string) (f *fleet, err error) {
	f = &fleet{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	store, err := f.startStores(ctx, dir)
	if err != nil {
		return f, err
	}
	f.env = []string{
		"HEARTH_STORE_URL=" + store, "HEARTH_REDIS_URL=redis://" + f.redis + "/0", "HEARTH_BLOB_URL=file://" + filepath.Join(dir, "files"),
		"HEARTH_TRUSTED_PROXIES=127.0.0.1", "HEARTH_WORKER=false",
	}
	var upstreams []string
	for i := range 2 {
		api, err := f.startAPI(ctx, o, filepath.Join(dir, fmt.Sprint("api", i)))
		if err != nil {
			return f, err
		}
		upstreams = append(upstreams, api.url[len("http://"):])
	}
	admin, err := freeAddr()
	if err != nil {
		return f, err
	}
	cmd := exec.Command(o.hearth, "worker")
	cmd.Env = append(os.Environ(), append(f.env, "HEARTH_ADMIN_ADDR="+admin, "HEARTH_DATA_DIR="+filepath.Join(dir, "worker"))...)
	worker, err := launch(ctx, cmd, admin, "/health/ready")
	if err != nil {
		return f, err
	}
	f.running = append(f.running, worker.stop)
	front, err := launchNginx(ctx, filepath.Join(dir, "nginx"), upstreams)
	if err != nil {
		return f, err
	}
	f.running = append(f.running, front.stop)
	f.hearth = &hearth{process: front}
	return f, f.hearth.signUp()
}

// startAPI starts one more instance, past nginx.
func (f *fleet) startAPI(ctx context.Context, o options, dir string, env ...string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := startHearth(ctx, o, addr, dir, append(append([]string{}, f.env...), env...)...)
	if err != nil {
		return nil, err
	}
	f.apis, f.running = append(f.apis, p), append(f.running, p.stop)
	return p, nil
}

// startStores starts Redis, with the settings that docs/reference/redis.md recommends, and the tests' MongoDB-wire server.
func (f *fleet) startStores(ctx context.Context, dir string) (store string, err error) {
	if f.redis, err = freeAddr(); err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(f.redis)
	redis := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--appendonly", "yes", "--appendfsync", "everysec")
	if err := redis.Start(); err != nil {
		return "", fmt.Errorf("redis-server, which scripts/services.sh test installs: %w", err)
	}
	f.running = append(f.running, (&process{cmd: redis}).stop)
	script := func(argument string) (string, error) {
		out, err := exec.CommandContext(ctx, "../scripts/mongodb.sh", argument).Output()
		return strings.TrimSpace(string(out)), err
	}
	if _, err := script("start"); err != nil {
		return "", fmt.Errorf("the tests' MongoDB-wire server: %w", err)
	}
	f.running = append(f.running, func() error { _, err := script("stop"); return err }) // which a test that uses it refuses
	url, err := script("url")
	return url + fmt.Sprintf("bench%d", time.Now().UnixNano()), err
}

// launchNginx starts nginx as deploy/nginx has it, but for TLS, and the limits that one address has.
func launchNginx(ctx context.Context, dir string, upstreams []string) (*process, error) {
	if err := os.CopyFS(dir, os.DirFS("../deploy/nginx")); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	plain, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var paths, servers strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/tmp-%s;\n", kind, dir, kind)
	}
	for _, upstream := range upstreams {
		fmt.Fprintf(&servers, "server %s max_fails=2 fail_timeout=2s;\n", upstream)
	}
	for _, edit := range [][3]string{
		{"nginx.conf", "user www-data;", ""},
		{"nginx.conf", "server_tokens off;", "server_tokens off;\n" + paths.String()},
		{"site/upstream.conf", "    server 127.0.0.1:8080 max_fails=2 fail_timeout=2s;\n", servers.String()},
		{"site/upstream.conf", "    server 127.0.0.1:8081 max_fails=2 fail_timeout=2s;\n", ""},
		{"site/server.conf", "listen 443 ssl http2 default_server;", "listen " + addr + ";"},
		{"site/server.conf", "listen [::]:443 ssl http2 default_server;", ""},
		{"site/server.conf", "ssl_certificate     /etc/nginx/tls/tls.crt;", ""},
		{"site/server.conf", "ssl_certificate_key /etc/nginx/tls/tls.key;", ""},
		{"site/server.conf", "/var/log/nginx/", dir + "/"},
		{"site/redirect.conf", "listen 80 default_server;", "listen " + plain + ";"},
		{"site/redirect.conf", "listen [::]:80 default_server;", ""},
		{"site/limits.conf", "rate=300r/s", "rate=1000000r/s"},
		{"site/limits.conf", "rate=10r/s", "rate=1000000r/s"},
	} {
		path := filepath.Join(dir, edit[0])
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte(edit[1])) {
			return nil, fmt.Errorf("%s does not say %q: %w", edit[0], edit[1], err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(edit[1]), []byte(edit[2])), 0o600); err != nil {
			return nil, err
		}
	}
	directives := "daemon off; pid " + dir + "/nginx.pid;"
	if os.Geteuid() == 0 {
		directives += " user root;"
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // where only root's PATH looks
	}
	return launch(ctx, exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", directives), addr, "/health/ready")
}

// fleetNote is what each figure of a fleet rests on.
const fleetNote = "2 APIs, worker, Redis, FerretDB on PostgreSQL without fsync (not MongoDB), nginx without TLS, all on this machine; floor: hearth alone on SQLite"

// measureFleet: what many instances cost beside one that is alone, what they ask Redis, and how fast an event crosses.
func measureFleet(ctx context.Context, o options, dir string, r *report) (err error) {
	f, err := launchFleet(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	alone, err := launchHearth(ctx, o, filepath.Join(dir, "alone"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.stop()) }()
	ids, err := f.devices(1000)
	if err != nil {
		return err
	}
	own, err := alone.devices(1000)
	if err != nil {
		return err
	}
	beats := func(h *hearth, ids []string) *load {
		return &load{url: h.url, clients: o.connections, length: o.seconds, status: 200, next: request("POST", h.token,
			func(c, n int) string { return "/api/v1/devices/" + ids[(c*131+n)%len(ids)] + "/heartbeat" },
			func(int, int) []byte { return []byte(`{"status":"active"}`) })}
	}
	floor, _, mine, err := sides{floor: beats(alone, own), hearth: beats(f.hearth, ids)}.rounds(ctx, o.rounds)
	if err != nil {
		return err
	}
	r.add(figure{Name: "fleet: heartbeats", Unit: "requests/s", Floor: floor, Hearth: mine, Note: fleetNote})
	if floor, mine, err = fleetBatches(ctx, o, [2]*hearth{alone, f.hearth}, [2][]string{own, ids}); err != nil {
		return err
	}
	r.add(figure{Name: "fleet: batches of 5,000", Unit: "rows/s", Floor: floor, Hearth: mine, Note: "one client; the same servers"})
	if err := f.measureCrossing(ctx, ids[0], r); err != nil {
		return err
	}
	return f.measureTrips(ctx, o, filepath.Join(dir, "limited"), ids, r)
}

func fleetBatches(ctx context.Context, o options, sides [2]*hearth, ids [2][]string) (floor, mine float64, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Now().UTC().Add(-30 * 24 * time.Hour)
	var rates [2][]float64
	batches := [2]int{}
	for range o.rounds {
		for i, h := range sides {
			client, rows := &fasthttp.Client{ReadTimeout: time.Minute}, 0
			var spent time.Duration
			for spent < o.seconds && ctx.Err() == nil {
				body := batchBody(ids[i], batches[i], start, time.Minute, rng)
				batches[i]++
				began := time.Now()
				if err := postBatch(client, h, body); err != nil {
					return 0, 0, err
				}
				spent += time.Since(began)
				rows += batchRows
			}
			rates[i] = append(rates[i], float64(rows)/spent.Seconds())
		}
	}
	return median(rates[0]), median(rates[1]), ctx.Err()
}

// measureCrossing publishes on one instance, one event after the other, what a reader at the other awaits.
func (f *fleet) measureCrossing(ctx context.Context, id string, r *report) error {
	const events = 500
	readers, err := gather(ctx, stage{name: "the other instance", mark: hearthMark, open: func(int) (net.Conn, error) {
		return openWebSocket(f.apis[1].url[len("http://"):], "/api/v1/realtime/ws", f.token, "device:"+id)
	}}, 1)
	if err != nil {
		return err
	}
	defer readers.close()
	publish, err := post(f.apis[0].url+"/api/v1/devices/"+id+"/heartbeat", f.token, http.MethodPost, map[string]any{"status": "active"})
	if err != nil {
		return err
	}
	for n := range int64(events) {
		if err := publish(); err != nil {
			return err
		}
		if err := readers.await(ctx, n+1); err != nil {
			return err
		}
	}
	for _, p := range []float64{0.5, 0.99} {
		r.add(figure{Name: fmt.Sprintf("fleet: accepted on A, read from B, p%g", p*100), Unit: "ms", Hearth: readers.percentile(p), Goal: "≤ 20",
			Note: "storing the heartbeat included; whole milliseconds"})
	}
	return nil
}

// measureTrips counts what Redis is asked while one instance answers the same reads again and again. What it is asked without
// them, by all members, is taken off.
func (f *fleet) measureTrips(ctx context.Context, o options, dir string, ids []string, r *report) error {
	limited, err := f.startAPI(ctx, o, dir, "HEARTH_RATE_LIMITS=general=1000000/1m,analytics=1000000/1m,devices=1000000/1m")
	if err != nil {
		return err
	}
	to := time.Now().UTC().Add(-48 * time.Hour).Truncate(time.Hour)
	ended := fmt.Sprintf("/api/v1/analytics/dashboard?from=%s&to=%s", to.Add(-24*time.Hour).Format(time.RFC3339), to.Format(time.RFC3339))
	for _, read := range []struct{ name, url, path, goal string }{
		{"a dashboard that the cache holds", f.apis[0].url, ended, "0"},
		{"the list of devices", f.apis[0].url, "/api/v1/devices", "≤ 1"},
		{"a device", f.apis[0].url, "/api/v1/devices/" + ids[1], "≤ 1"},
		{"a dashboard that ends now", f.apis[0].url, "/api/v1/analytics/dashboard?range=24h", "≤ 1"},
		{"a dashboard that the cache holds, limits counted", limited.url, ended, "≤ 1"},
	} {
		get, err := post(read.url+read.path, f.token, http.MethodGet, nil)
		if err != nil {
			return err
		}
		if err := get(); err != nil { // into the cache
			return err
		}
		requests := 0
		idle, err := countCommands(ctx, f.redis, o.seconds, func() error { time.Sleep(10 * time.Millisecond); return nil })
		if err != nil {
			return err
		}
		busy, err := countCommands(ctx, f.redis, o.seconds, func() error { requests++; return get() })
		if err != nil {
			return err
		}
		r.add(figure{Name: "fleet: commands to Redis a request, " + read.name, Unit: "commands", Hearth: max(0, float64(busy-idle)) / float64(requests),
			Goal: read.goal, Note: fmt.Sprintf("%d requests; %d commands, %d of them without any request", requests, busy, idle)})
	}
	return nil
}

// countCommands repeats work for so long and counts what clients ask Redis meanwhile, without what scripts do inside of it: its own
// MONITOR tells them apart, which INFO commandstats does not.
func countCommands(ctx context.Context, redis string, length time.Duration, work func() error) (int64, error) {
	conn, err := net.Dial("tcp", redis)
	if err != nil {
		return 0, err
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadString('\n'); err != nil { // +OK
		return 0, err
	}
	var seen atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if _, from, ok := strings.Cut(line, "["); ok && !strings.HasPrefix(from, "0 lua]") {
				seen.Add(1)
			}
		}
	}()
	for began := time.Now(); time.Since(began) < length && err == nil && ctx.Err() == nil; {
		err = work()
	}
	counted := seen.Load()
	err = errors.Join(err, ctx.Err(), conn.Close())
	<-done
	return counted, err
}
