package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// target is a parsed URL.
type target struct {
	options rueidis.ClientOption
	// name is the server without secrets, for messages.
	name string
}

// CheckURL reports what is wrong with a URL, without connecting.
func CheckURL(text string) error {
	_, err := parse(text)
	return err
}

// parse reads a URL; docs/reference/redis.md lists the forms.
func parse(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return target{}, errors.New("the Redis URL cannot be read: write it as redis://HOST:6379/0") // the error repeats the password
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return target{}, errors.New("the Redis URL must begin with redis:// or, for TLS, rediss://")
	}
	if u.Hostname() == "" {
		return target{}, errors.New("the Redis URL names no host: write it as redis://HOST:6379/0")
	}
	query := u.Query()
	for name := range query {
		if !slices.Contains([]string{"addr", "master_set", "sentinel_username", "sentinel_password", "ca"}, name) {
			return target{}, fmt.Errorf("the Redis URL has the unknown parameter %q: known are addr, master_set, sentinel_username, sentinel_password and ca", name)
		}
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if n, err := strconv.Atoi(path); err != nil || n < 0 {
			return target{}, errors.New("the Redis URL's path must be a database number, such as /0")
		}
	} else {
		u.Path = ""
	}
	options, err := rueidis.ParseURL(u.String())
	if err != nil {
		return target{}, errors.New("the Redis URL cannot be read: write it as redis://HOST:6379/0")
	}
	options.Dialer = net.Dialer{Timeout: dialTimeout, KeepAlive: askAfter}
	options.ConnWriteTimeout = silence
	options.DisableCache, options.DisableRetry = true, true
	// One connection a server: a probe that gets through speaks for all. Calls share it, in pipelines.
	options.PipelineMultiplex = -1
	options.ReadBufferEachConn, options.WriteBufferEachConn = 64<<10, 64<<10
	options.BlockingPoolSize = 16
	options.ClientName = "hearth"
	options.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: 10 * time.Second, MaxMovedRedirections: 4}
	if ca := query.Get("ca"); ca != "" {
		if options.TLSConfig == nil {
			return target{}, errors.New("the Redis URL's parameter ca is for rediss:// alone")
		}
		if options.TLSConfig.RootCAs, err = authorities(ca); err != nil {
			return target{}, err
		}
	}
	if options.Sentinel.MasterSet != "" {
		options.Sentinel.Username, options.Sentinel.Password = query.Get("sentinel_username"), query.Get("sentinel_password")
		options.Sentinel.Dialer, options.Sentinel.TLSConfig = options.Dialer, sentinelTLS(options.TLSConfig)
		options.Sentinel.TopologyRefreshInterval = 5 * time.Second
	}
	return target{options: options, name: strings.Join(options.InitAddress, ", ")}, nil
}

func sentinelTLS(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	return config.Clone()
}

func authorities(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the Redis URL's parameter ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the Redis URL's parameter ca: %s holds no certificate", path)
	}
	return pool, nil
}

// oldest is the oldest version of Redis that has every command in use.
const oldest = "6.2"

// Connect opens the connection and checks the server: its version, and that it takes writes. What is wrong for good fails
// at once, what may pass (nothing listens, it still loads) after Options.ConnectTimeout; the error is a sentence that says
// what to change.
func Connect(ctx context.Context, options Options) (*Conn, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	goal, err := parse(options.URL)
	if err != nil {
		return nil, err
	}
	c := &Conn{options: options, target: goal, closing: make(chan struct{}), pause: firstProbe}
	ctx, cancel := context.WithTimeout(ctx, options.ConnectTimeout)
	defer cancel()
	for {
		lasting, fault := c.open(ctx)
		if fault == nil {
			return c, nil
		}
		if err == nil || ctx.Err() == nil { // an attempt that was cut short says less than the one before
			err = fault
		}
		if lasting {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// open attempts it once; lasting means that another attempt is useless.
func (c *Conn) open(ctx context.Context) (lasting bool, err error) {
	client, err := rueidis.NewClient(c.target.options)
	if err != nil {
		return lasts(err), c.explain(err)
	}
	facts, err := ask(ctx, client)
	if err != nil {
		client.Close()
		return lasts(err), c.explain(err)
	}
	if version := facts["redis_version"]; older(version, oldest) {
		client.Close()
		return true, fmt.Errorf("the Redis at %s is version %s: %s or newer is needed", c.target.name, version, oldest)
	}
	c.client = client
	if err := c.look(); err != nil {
		client.Close()
		c.client = nil
		return permanent(err), err
	}
	if policy := facts["maxmemory_policy"]; strings.HasPrefix(policy, "allkeys") {
		c.options.Logger.Warn("Redis may evict waiting jobs: set its maxmemory-policy to volatile-lru or noeviction", "kind", "system", "policy", policy)
	}
	if facts["aof_enabled"] == "0" {
		c.options.Logger.Warn("Redis keeps no append-only file: after a crash of Redis, what waited is taken from the store again where it can be; set appendonly yes", "kind", "system")
	}
	return false, nil
}

// Facts returns what INFO says of the server, by the names that it uses, such as "aof_enabled".
func (c *Conn) Facts(ctx context.Context) (map[string]string, error) {
	facts, err := ask(ctx, c.client)
	if err != nil {
		return nil, c.explain(err)
	}
	return facts, nil
}

func ask(ctx context.Context, client rueidis.Client) (map[string]string, error) {
	info, err := client.Do(ctx, client.B().Info().Section("server", "replication", "memory", "persistence").Build()).ToString()
	return readInfo(info), err
}

// readInfo takes the answer of INFO apart.
func readInfo(text string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}

// older reports whether a version such as "7.0.15" comes before another.
func older(version, than string) bool {
	have, want := strings.Split(version, "."), strings.Split(than, ".")
	for i, part := range want {
		if i >= len(have) {
			return true
		}
		a, errA := strconv.Atoi(have[i])
		b, errB := strconv.Atoi(part)
		if errA != nil || errB != nil || a != b {
			return errA == nil && a < b
		}
	}
	return false
}
