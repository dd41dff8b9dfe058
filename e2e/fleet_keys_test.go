package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// forGood is the time to live of what Redis is never to forget by itself.
const forGood = -1

// everyKey returns the keys in Redis with their times to live.
const everyKey = `"local all = '' for _, key in ipairs(redis.call('KEYS', '*')) do ` +
	`all = all .. key .. ' ' .. redis.call('PTTL', key) .. '\\n' end return all"`

// keysAreDocumented holds what a fleet left in Redis to the table of docs/reference/redis.md: its names, and how long each may live.
func keysAreDocumented(t *testing.T, f *fleet) {
	t.Helper()
	guide, err := os.ReadFile("../docs/reference/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := []struct {
		// name is how the guide begins the name, key what it stands for.
		name string
		key  *regexp.Regexp
		most time.Duration
	}{
		{"`analytics:{user}:", regexp.MustCompile(`^analytics:\{[^}]+\}:`), 5 * time.Minute},
		{"`load:…`", regexp.MustCompile(`^load:`), 5 * time.Second},
		{"`cache:{names}`", regexp.MustCompile(`^cache:\{names\}(:marks)?$`), forGood},
		{"`lease:{name}`", regexp.MustCompile(`^lease:\{[^}]+\}`), 24*time.Hour + time.Minute},
		{"`{jobs}:…`", regexp.MustCompile(`^\{jobs\}:`), forGood},
		{"`{live}`, `{live:N}:gen`, `{live:N}:wanted`", regexp.MustCompile(`^(\{live\}|\{live:\d+\}:(gen|wanted))$`), forGood},
		{"`{live:N}:…`", regexp.MustCompile(`^\{live:\d+\}:`), 10 * time.Minute},
		{"`presence:{channel}`", regexp.MustCompile(`^presence:\{[^}]+\}(:ends)?$`), time.Minute},
		{"`realtime:{hash}`", regexp.MustCompile(`^realtime:\{[^}]+\}$`), 30 * time.Second},
		{"`hearth:probe`", regexp.MustCompile(`^hearth:probe$`), time.Second},
	}
	seen := map[string]int{}
	for line := range strings.Lines(f.redis.Do("EVAL", everyKey, "0")) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		millis, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		left := time.Duration(millis) * time.Millisecond
		known := false
		for _, kind := range kinds {
			if !kind.key.MatchString(key) {
				continue
			}
			if known {
				continue // the first is the closest
			}
			known = true
			seen[kind.name]++
			if millis == forGood && kind.most != forGood || kind.most != forGood && left > kind.most {
				t.Errorf("%s lives for %s, want at most %s", key, left, kind.most)
			}
			if kind.most == forGood && millis != forGood {
				t.Errorf("%s ends in %s, and is to live for good", key, left)
			}
		}
		if !known {
			t.Errorf("the guide names no key such as %s", key)
		}
	}
	for _, kind := range kinds {
		if !strings.Contains(string(guide), kind.name) {
			t.Errorf("docs/reference/redis.md does not name %s", kind.name)
		}
	}
	for _, name := range []string{"`cache:{names}`", "`{jobs}:…`", "`{live:N}:…`", "`lease:{name}`"} {
		if seen[name] == 0 {
			t.Errorf("there is no key of %s: the test tested too little (%v)", name, seen)
		}
	}
	t.Log(seen)
}
