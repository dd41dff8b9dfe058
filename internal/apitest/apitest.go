// Package apitest boots the real program for tests, on free ports and with a data directory of the test's own, and makes calls as
// its clients do.
package apitest

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/store/mongodb"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/testserver"
)

// startTimeout bounds the start of a program.
const startTimeout = 30 * time.Second

// Config returns the settings of a server with free ports, a new data directory and quick password hashes.
func Config(tb testing.TB) *config.Config {
	tb.Helper()
	cfg, err := config.Load(config.Options{Flags: map[string]string{
		"addr": "127.0.0.1:0", "admin_addr": "127.0.0.1:0", "data_dir": tb.TempDir(), "bcrypt_cost": "4",
	}})
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

// Unlimited returns Config without rate limits.
func Unlimited(tb testing.TB) *config.Config {
	tb.Helper()
	cfg := Config(tb)
	cfg.RateLimits = nil
	return cfg
}

// Mode is a size of the program: alone on its data, or instances that share a database and Redis.
type Mode struct {
	StoreURL, RedisURL string
	// Instances is how many programs serve the same users.
	Instances int
}

// Embedded is one program with everything in it.
var Embedded = Mode{Instances: 1} // never written to

// databases are new ones, as the store leaves them when it opens them first; Main drops them.
var databases = &testserver.Template{Make: func(ctx context.Context, uri string) error {
	s, err := mongodb.Open(ctx, mongodb.Options{URI: uri})
	if err != nil {
		return err
	}
	return s.Close()
}}

// Main runs the tests of a package that uses Distributed, and returns the exit code for its TestMain.
func Main(m *testing.M) (code int) {
	code = m.Run()
	if err := databases.Drop(); err != nil {
		fmt.Fprintln(os.Stderr, "drop the tests' databases:", err)
		return 1
	}
	return code
}

// Distributed returns the mode of two programs over a database and a Redis of the test's own.
func Distributed(tb testing.TB) Mode {
	tb.Helper()
	store, _ := databases.MongoDB(tb)
	return Mode{StoreURL: store, RedisURL: testserver.StartRedis(tb).URL(), Instances: 2}
}

// InBothModes runs a test of what clients see in each mode: one meaning, two sizes.
func InBothModes(t *testing.T, test func(t *testing.T, m Mode)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, Embedded)
	})
	t.Run("distributed", func(t *testing.T) {
		t.Parallel()
		test(t, Distributed(t))
	})
}

// Config returns the settings of one more instance, with a data directory of its own.
func (m Mode) Config(tb testing.TB) *config.Config {
	tb.Helper()
	cfg := Config(tb)
	cfg.StoreURL, cfg.RedisURL = m.StoreURL, m.RedisURL
	return cfg
}

// Start runs a program until the test ends and returns its URL. change may change its settings.
func Start(tb testing.TB, cfg *config.Config, change ...func(*app.Settings)) (url string) {
	tb.Helper()
	s := app.Settings{Config: cfg, Version: "test"}
	for _, c := range change {
		c(&s)
	}
	if cfg.StoreURL == "" {
		sqlitetest.File(tb, cfg.DataDir)
	}
	RunUntilEnd(tb, func(ctx context.Context, ready func()) error {
		return app.Run(ctx, s, func(serving app.Serving) { url = serving.URL; ready() })
	})
	return url
}

// RunUntilEnd calls run, returns once run called ready, and ends the context of run at the end of the test or when stop is called.
func RunUntilEnd(tb testing.TB, run func(ctx context.Context, ready func()) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- run(ctx, func() { close(ready) }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("the program stopped with %v", err)
		}
	}
	tb.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		tb.Fatalf("the program ended: %v", err)
	case <-time.After(startTimeout):
		tb.Fatal("the program did not start")
	}
	return stop
}
