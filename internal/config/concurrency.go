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
	return named[int]{noun: "queue", example: "export=5", defaults: defaultConcurrency, number: func(_, text string) (int, error) {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n > maxConcurrency {
			return 0, fmt.Errorf("must be a number from 0 to %d", maxConcurrency)
		}
		return int(n), nil
	}}.parse(text)
}

// String writes the numbers as ParseConcurrency reads them, sorted by queue.
func (c Concurrency) String() string {
	parts := make([]string, 0, len(c))
	for _, name := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, name+"="+strconv.Itoa(c[name]))
	}
	return strings.Join(parts, ",")
}
