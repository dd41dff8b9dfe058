package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultConcurrency = "export=5,notification=10,cleanup=1,channel=100"
	// maxConcurrency bounds the jobs of one queue that run at once.
	maxConcurrency = 1000
)

// Concurrency is how many jobs of each queue one worker runs at once. Every queue is in it; 0 leaves a queue to other workers.
type Concurrency map[string]int

// ParseConcurrency reads numbers such as "export=2,cleanup=0". A queue that is left out keeps its default. Numbers are 0 to
// 1000; a queue that is unknown or stands twice is an error.
func ParseConcurrency(text string) (Concurrency, error) {
	all, err := parseConcurrency(defaultConcurrency)
	if err != nil {
		return nil, fmt.Errorf("the default concurrency: %w", err)
	}
	given, err := parseConcurrency(text)
	if err != nil {
		return nil, err
	}
	for name, n := range given {
		if _, ok := all[name]; !ok {
			names := slices.Sorted(maps.Keys(all))
			if near := nearest(name, names); near != "" {
				return nil, fmt.Errorf("has no queue %q: did you mean %s?", name, near)
			}
			return nil, fmt.Errorf("has no queue %q, only %s", name, strings.Join(names, ", "))
		}
		all[name] = n
	}
	return all, nil
}

func parseConcurrency(text string) (Concurrency, error) {
	all := Concurrency{}
	for part := range items(text) {
		name, number, ok := strings.Cut(part, "=")
		name, number = strings.TrimSpace(name), strings.TrimSpace(number)
		if _, twice := all[name]; !ok || twice {
			return nil, fmt.Errorf("must hold each queue once, as in export=5, not %q", part)
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n > maxConcurrency {
			return nil, fmt.Errorf("queue %s: must be a number from 0 to %d, not %q", name, maxConcurrency, number)
		}
		all[name] = int(n)
	}
	return all, nil
}

// String writes the numbers as ParseConcurrency reads them, sorted by queue.
func (c Concurrency) String() string {
	parts := make([]string, 0, len(c))
	for _, name := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, name+"="+strconv.Itoa(c[name]))
	}
	return strings.Join(parts, ",")
}
