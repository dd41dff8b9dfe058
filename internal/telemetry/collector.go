package telemetry

import (
	"context"
	"sync"
	"time"

	"hearth"
)

const (
	// maxShared is the largest write that is put together with others.
	maxShared = 100
	// maxWaiting bounds the writes that wait for their group.
	maxWaiting = 8192
)

// collector puts the entries of writes that wait at the same time into one AppendLogs: folding a hundred logs into
// their rollups at once costs little more than folding one. A write that finds nothing under way goes at once. The zero
// collector needs only its store.
type collector struct {
	store hearth.LogStore

	mu      sync.Mutex
	running bool
	waiting []*waiter
	writers sync.WaitGroup
}

type waiter struct {
	entries []hearth.LogEntry
	result  chan result
}

type result struct {
	first uint64
	err   error
}

// append stores entries with whatever else waits, and gives the number of the first. A context that ends takes nothing
// back: whether the entries are stored is open then.
func (c *collector) append(ctx context.Context, entries []hearth.LogEntry) (first uint64, err error) {
	w := &waiter{entries: entries, result: make(chan result, 1)}
	c.mu.Lock()
	if len(c.waiting) >= maxWaiting {
		c.mu.Unlock()
		return 0, &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many logs wait to be stored", RetryAfter: time.Second}
	}
	c.waiting = append(c.waiting, w)
	if !c.running {
		c.running = true
		c.writers.Go(c.run)
	}
	c.mu.Unlock()
	select {
	case r := <-w.result:
		return r.first, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run writes groups until nobody waits.
func (c *collector) run() {
	for {
		group := c.next()
		if group == nil {
			return
		}
		entries := group[0].entries
		if len(group) > 1 {
			entries = make([]hearth.LogEntry, 0, len(group))
			for _, w := range group {
				entries = append(entries, w.entries...)
			}
		}
		// The write is the group's: no asker's context may end it.
		first, err := c.store.AppendLogs(context.Background(), entries, nil, hearth.Along{})
		for _, w := range group {
			w.result <- result{first, err}
			first += uint64(len(w.entries))
		}
	}
}

// next takes the writes of the next group; nil when nobody waits.
func (c *collector) next() []*waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	total, n := 0, 0
	for n < len(c.waiting) && total+len(c.waiting[n].entries) <= hearth.MaxLogBatch {
		total += len(c.waiting[n].entries)
		n++
	}
	if n == 0 {
		c.running = false
		return nil
	}
	group := c.waiting[:n:n]
	c.waiting = append([]*waiter(nil), c.waiting[n:]...)
	return group
}

// wait returns when nothing is being written.
func (c *collector) wait() { c.writers.Wait() }
