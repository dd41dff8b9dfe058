package tsdb

import (
	"cmp"
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// AppendNewLogs implements hearth.LogStore. Two calls of this process with a log in common follow one another; of those of other processes
// the backend takes care (see Batch.Prune).
func (e *Engine) AppendNewLogs(
	ctx context.Context, entries []hearth.LogEntry, checkpoint *hearth.Checkpoint, effects func(stored int) (hearth.SideEffects, error),
) (stored []hearth.LogEntry, first uint64, err error) {
	batch, err := e.prepare(ctx, entries, checkpoint != nil)
	if err != nil {
		return nil, 0, err
	}
	batch.Checkpoint = checkpoint
	n := e.newLogsOf(batch)
	release, err := e.claims.acquire(ctx, n.hashes(e.claims.seed))
	if err != nil {
		return nil, 0, err
	}
	defer release()
	batch.Prune = func(ctx context.Context) error {
		if err := n.prune(ctx); err != nil {
			return err
		}
		batch.Effects, err = effects(batch.Size)
		return err
	}
	if err := e.backend.Append(ctx, batch); err != nil {
		return nil, 0, err
	}
	e.Stored(batch.Rows...)
	if batch.Size == len(entries) {
		return entries, batch.First, nil
	}
	stored = make([]hearth.LogEntry, 0, batch.Size)
	for i := range entries {
		if !n.known[i] {
			stored = append(stored, entries[i])
		}
	}
	return stored, batch.First, nil
}

// newLogs finds the logs of a call that are stored already, or are there twice.
type newLogs struct {
	e     *Engine
	batch *Batch
	// call are the logs of the call that have a device, lines the same by series, time, value and place; places are the numbers of series
	// without their scope, starts where each one's logs begin in lines, and the end.
	call, lines []codec.Entry
	places      map[codec.Series]uint32
	starts      []int
	// times are those of each scope's logs, in order.
	times map[int64][]int64
	// size is the number of logs of the call; twice and known say by place which are not stored: those that are there twice, and all.
	size         int
	twice, known []bool
	// fresh are the logs that are stored, their memory.
	fresh []codec.Entry
}

func (e *Engine) newLogsOf(batch *Batch) *newLogs {
	n := &newLogs{
		e: e, batch: batch, size: batch.Size, call: batch.Entries, lines: make([]codec.Entry, len(batch.Entries)),
		places: make(map[codec.Series]uint32, len(batch.Series)), starts: make([]int, len(batch.Series)+1),
		times: map[int64][]int64{}, twice: make([]bool, batch.Size), known: make([]bool, batch.Size),
	}
	var times []int64
	for i, entry := range n.call {
		n.starts[entry.Series+1]++
		scope := batch.Series[entry.Series].Scope
		times = append(times, entry.At)
		if i+1 == len(n.call) || batch.Series[n.call[i+1].Series].Scope != scope {
			n.times[scope] = append(n.times[scope], times...)
			times = times[:0]
		}
	}
	for _, times := range n.times {
		slices.Sort(times)
	}
	for i, s := range batch.Series {
		n.places[s.Anywhere()] = uint32(i)
		n.starts[i+1] += n.starts[i]
	}
	next := slices.Clone(n.starts)
	for _, entry := range n.call {
		n.lines[next[entry.Series]] = entry
		next[entry.Series]++
	}
	for i := range batch.Series {
		line := n.lines[n.starts[i]:n.starts[i+1]]
		if !slices.IsSortedFunc(line, compareNew) {
			slices.SortFunc(line, compareNew)
		}
		for j := 1; j < len(line); j++ {
			n.twice[line[j].Seq] = line[j-1].SameLog(&line[j])
		}
	}
	return n
}

// compareNew orders by series, time, value and number.
func compareNew(a, b codec.Entry) int {
	return cmp.Or(cmp.Compare(a.Series, b.Series), cmp.Compare(a.At, b.At), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Seq, b.Seq))
}

// hashes returns a number for each log.
func (n *newLogs) hashes(seed maphash.Seed) []uint64 {
	series := make([]uint64, len(n.batch.Series))
	for i := range series {
		series[i] = maphash.Comparable(seed, n.batch.Series[i].Anywhere())
	}
	out := make([]uint64, len(n.call))
	for i := range n.call {
		entry := &n.call[i]
		h := (series[entry.Series] ^ uint64(entry.At)) * 0x9E3779B97F4A7C15
		out[i] = (h ^ h>>29 ^ math.Float64bits(entry.Value)) * 0xBF58476D1CE4E5B9
	}
	return out
}

// prune leaves in the batch what is neither stored nor there before.
func (n *newLogs) prune(ctx context.Context) error {
	copy(n.known, n.twice)
	if len(n.call) > 0 {
		of := subject{operation: "AppendNewLogs", reach: hearth.Reach{All: true}}
		seen := map[int64]bool{}
		for _, s := range n.batch.Series {
			if !seen[s.Device] {
				seen[s.Device] = true
				of.devices = append(of.devices, s.Device)
			}
		}
		first, last := int64(math.MaxInt64), int64(math.MinInt64)
		for _, times := range n.times {
			first, last = min(first, times[0]), max(last, times[len(times)-1])
		}
		of.span = hearth.Span{From: time.UnixMilli(first), To: time.UnixMilli(last + 1)}
		if err := n.e.view(ctx, of, n.look); err != nil {
			return err
		}
	}
	// Those that stay are numbered anew, in the order of the call.
	numbers, next := make([]uint64, n.size), uint64(0)
	for i, known := range n.known {
		numbers[i] = next
		if !known {
			next++
		}
	}
	n.fresh = n.fresh[:0]
	for _, entry := range n.call {
		if !n.known[entry.Seq] {
			entry.Seq = numbers[entry.Seq]
			n.fresh = append(n.fresh, entry)
		}
	}
	n.batch.Entries, n.batch.Size, n.batch.Rows = n.fresh, int(next), nil
	return nil
}

// look marks what the view has. Of the chunks it reads those in whose time a log of the batch lies.
func (n *newLogs) look(v *view) error {
	copy(n.known, n.twice)
	var part *codec.Series
	var places []int
	v.tailEntries(func(series []codec.Series, e *codec.Entry) {
		if part != &series[0] {
			part, places = &series[0], n.placesOf(places, series)
		}
		n.mark(places[e.Series], e)
	})
	in := timeRange{from: v.from, to: v.to}
	var keys []Key
	query := Query{Table: Chunks, Scopes: v.scopes, Major: Range{in.from, in.to - 1}, Minor: Everything, Floor: true}
	err := v.s.Find(v.ctx, query, func(d *Doc) error {
		times := n.times[d.Scope]
		if i, _ := slices.BinarySearch(times, max(in.from, d.MinAt)); i < len(times) && times[i] <= d.MaxAt {
			keys = append(keys, d.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.eachOf(keys, in, func(_ int64, series []codec.Series, entries []codec.Entry) error {
		places = n.placesOf(places, series)
		for i := range entries {
			n.mark(places[entries[i].Series], &entries[i])
		}
		return nil
	})
}

// placesOf returns the numbers that series have in the batch, -1 for none.
func (n *newLogs) placesOf(into []int, series []codec.Series) []int {
	into = into[:0]
	for _, s := range series {
		place := -1
		if at, ok := n.places[s.Anywhere()]; ok {
			place = int(at)
		}
		into = append(into, place)
	}
	return into
}

// mark marks the logs of the batch that are the same as a stored one of the series with that number.
func (n *newLogs) mark(line int, stored *codec.Entry) {
	if line < 0 {
		return
	}
	same := codec.Entry{Series: uint32(line), At: stored.At, Value: stored.Value}
	logs := n.lines[n.starts[line]:n.starts[line+1]]
	i, _ := slices.BinarySearchFunc(logs, same, compareNew)
	for ; i < len(logs) && logs[i].SameLog(&same); i++ {
		n.known[logs[i].Seq] = true
	}
}

// claims are the logs that calls are about to store as new ones, by a hash: what two of them share, one has after the other.
type claims struct {
	seed maphash.Seed

	mu   sync.Mutex
	held map[uint64]chan struct{} // closed when the call is done
}

// acquire waits until no other call holds one of the logs.
func (c *claims) acquire(ctx context.Context, logs []uint64) (release func(), err error) {
	done := make(chan struct{})
	for {
		other := c.try(logs, done)
		if other == nil {
			return func() { c.release(logs, done) }, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try takes all of the logs, or returns when another call that has one will be done.
func (c *claims) try(logs []uint64, done chan struct{}) (other chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		if other := c.held[log]; other != nil {
			return other
		}
	}
	for _, log := range logs {
		c.held[log] = done
	}
	return nil
}

func (c *claims) release(logs []uint64, done chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		delete(c.held, log)
	}
	close(done)
}
