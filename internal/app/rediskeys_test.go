package app_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/apitest"
	"hearth/internal/config"
)

// The keys that a fleet writes are those that docs/reference/redis.md lists.
func TestTheReferenceOfRedisListsTheKeysOfAFleet(t *testing.T) {
	t.Parallel()
	m := apitest.Distributed(t)
	options, err := rueidis.ParseURL(m.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.DisableCache = true
	redis, err := rueidis.NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	w := newInstances(t, m, func(cfg *config.Config) { cfg.RateLimits = config.Default().RateLimits })
	c := apitest.LogIn(t, w.urls[0], "root@example.com")
	id := apitest.Text(c.Call(t, "POST", "/devices", apitest.Object{"name": "Lamp", "type": "light"}), "id")
	for _, path := range []string{"/devices", "/analytics/dashboard?range=24h", "/analytics/trends?range=24h", "/analytics/realtime", "/admin/metrics", "/users/me"} {
		c.Call(t, "GET", path, nil)
	}
	lines := c.Stream(t, "&channels=device:"+id)
	c.Call(t, "POST", "/realtime/ticket", nil)
	c.Call(t, "POST", "/devices/"+id+"/logs", apitest.Object{"event": "power", "value": 3.5})
	c.Call(t, "POST", "/exports", apitest.Object{"type": "logs", "format": "csv", "range": "24h"})
	until(t, lines, "event: device-log")

	listed := redisKeys(t)
	const enough = 9 // some live for a second
	kinds := map[string]bool{}
	for deadline := time.Now().Add(20 * time.Second); len(kinds) < enough && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for _, key := range keysOf(t.Context(), t, redis) {
			at := slices.IndexFunc(listed, func(pattern *regexp.Regexp) bool { return pattern.MatchString(key) })
			if at < 0 {
				t.Errorf("docs/reference/redis.md does not list the key %q", key)
				continue
			}
			kinds[listed[at].String()] = true
		}
	}
	if len(kinds) < enough {
		t.Errorf("only %d kinds of keys were written: the test lost its targets", len(kinds))
	}
}

// redisKeys returns the keys that the reference lists. What stands in braces after a colon, in capitals or behind … is any text.
func redisKeys(t *testing.T) (patterns []*regexp.Regexp) {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "| key | content | lives |")
	section, _, _ = strings.Cut(section, "\n\n")
	for _, row := range strings.Split(strings.TrimSpace(section), "\n")[1:] {
		cell := strings.Split(row, "|")[1]
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			pattern := regexp.QuoteMeta(name[1])
			pattern = regexp.MustCompile(`\\\{(user|kind|range|query|id|names|class:hash|name|channel|hash)\\\}`).ReplaceAllString(pattern, `.+`)
			pattern = strings.NewReplacer(`:N\}`, `:\d+\}`, "…", ".+").Replace(pattern)
			patterns = append(patterns, regexp.MustCompile("^"+pattern+"$"))
		}
	}
	return patterns
}

// keysOf returns all keys.
func keysOf(ctx context.Context, t *testing.T, redis rueidis.Client) (keys []string) {
	t.Helper()
	for cursor := uint64(0); ; {
		page, err := redis.Do(ctx, redis.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, page.Elements...)
		if cursor = page.Cursor; cursor == 0 {
			return keys
		}
	}
}
