package tsdb

import (
	"context"
	"errors"
	"sync"
	"time"

	"hearth"
	"hearth/internal/keymutex"
)

const (
	// measuredTime is how old the measure of a scope may be, since other processes may have stored logs; fullTime is the same where there is
	// no room any more, since logs may have been deleted.
	measuredTime, fullTime = time.Minute, 10 * time.Second
	// entryBytes is what a log counts, texts excepted, until it is folded and measured.
	entryBytes = 8
	// maxMeasured bounds the scopes whose measures are remembered.
	maxMeasured = 1 << 16
)

// room is how many bytes the logs of scopes take, by scope.
type room struct {
	measuring keymutex.Mutex[int64]

	mu     sync.Mutex
	scopes map[int64]measured
}

// measured is what was stored of a scope at a time, and what came since.
type measured struct {
	at    time.Time
	bytes int64
}

// hasRoom returns CodeQuotaExceeded if a scope would have more bytes with the batch, which is of these entries, than it may.
func (e *Engine) hasRoom(ctx context.Context, batch *Batch, entries []hearth.LogEntry) error {
	if e.options.Bytes == 0 {
		return nil
	}
	scopes := map[int64]int64{}
	for i := range batch.Entries {
		entry := &batch.Entries[i]
		scopes[batch.Series[entry.Series].Scope] += entryBytes + int64(len(entries[entry.Seq].Value.Text()))
	}
	for scope, bytes := range scopes {
		if err := e.admitBytes(ctx, scope, bytes); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) admitBytes(ctx context.Context, scope, bytes int64) error {
	for {
		e.room.mu.Lock()
		of, found := e.room.scopes[scope]
		age, most := e.options.Clock.Now().Sub(of.at), measuredTime
		full := of.bytes+bytes > e.options.Bytes
		if full {
			most = fullTime
		}
		fresh := found && age >= 0 && age < most
		if fresh && !full {
			of.bytes += bytes
			e.room.scopes[scope] = of
		}
		e.room.mu.Unlock()
		if fresh && full {
			return hearth.QuotaExceeded(hearth.QuotaBytes, e.options.Bytes, time.Hour)
		}
		if fresh {
			return nil
		}
		if err := e.measure(ctx, scope, of.at); err != nil {
			return err
		}
	}
}

// measure measures a scope, unless another call has since the measure of that time.
func (e *Engine) measure(ctx context.Context, scope int64, last time.Time) error {
	unlock, err := e.room.measuring.Lock(ctx, scope)
	if err != nil {
		return err
	}
	defer unlock()
	r := &e.room
	r.mu.Lock()
	overtaken := !r.scopes[scope].at.Equal(last)
	r.mu.Unlock()
	if overtaken {
		return nil
	}
	now := e.options.Clock.Now()
	bytes, err := e.bytesOf(ctx, scope)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scopes == nil || len(r.scopes) >= maxMeasured {
		r.scopes = map[int64]measured{}
	}
	r.scopes[scope] = measured{now, bytes}
	return nil
}

// LogBytes returns about how many bytes the logs of a scope take with their rollups.
func (e *Engine) LogBytes(ctx context.Context, scope hearth.Scope) (int64, error) {
	keys, err := e.backend.ScopeKeys(ctx, []hearth.Scope{scope})
	if err != nil || keys[scope] == 0 {
		return 0, err
	}
	return e.bytesOf(ctx, keys[scope])
}

func (e *Engine) bytesOf(ctx context.Context, scope int64) (bytes int64, err error) {
	for try := 1; ; try++ {
		err = e.backend.View(ctx, ViewOptions{Operation: "LogBytes", Scopes: []int64{scope}}, func(s Snapshot) error {
			if bytes, err = s.Bytes(ctx, scope); err != nil {
				return err
			}
			tail, err := e.loadTail(ctx, s, firstMilli, endMilli, func([]TailRow) int { return -1 })
			for _, part := range tail {
				for i := range part.chunk.Entries {
					if part.chunk.Series[part.chunk.Entries[i].Series].Scope == scope {
						bytes += entryBytes
					}
				}
			}
			return err
		})
		if !errors.Is(err, ErrStale) || try == maxTries {
			return bytes, err
		}
	}
}
