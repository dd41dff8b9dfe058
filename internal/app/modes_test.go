package app

import (
	"testing"

	"hearth/internal/config"
	"hearth/internal/testserver"
)

// mode is a size of the program: alone on its data, or instances that share a database and Redis.
type mode struct {
	storeURL, redisURL string
	// instances is how many programs serve the same people.
	instances int
}

// alone is one program with everything in it.
var alone = mode{instances: 1} // never written to

// inBothModes runs a test of what clients see alone, and with two instances over MongoDB and Redis: one meaning, two sizes.
func inBothModes(t *testing.T, test func(t *testing.T, m mode)) {
	t.Helper()
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		test(t, alone)
	})
	t.Run("shared", func(t *testing.T) {
		t.Parallel()
		test(t, sharedMode(t))
	})
}

// sharedMode is two programs over a database and a Redis of the test's own.
func sharedMode(t *testing.T) mode {
	t.Helper()
	return mode{storeURL: testserver.MongoDB(t), redisURL: testserver.StartRedis(t).URL(), instances: 2}
}

// config returns the settings of one more instance, with a data directory of its own.
func (m mode) config(t *testing.T) *config.Config {
	t.Helper()
	cfg := testConfig(t)
	cfg.StoreURL, cfg.RedisURL = m.storeURL, m.redisURL
	return cfg
}
