package memkv

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"

	"hearth"
	"hearth/internal/kv"
)

// LimiterOptions say what a limiter allows and what it remembers.
type LimiterOptions struct {
	Limits kv.Limits
	// MaxKeys bounds the keys that are remembered, 64 at least; 0 is 200,000 (about 30 MB). Keys at rest are forgotten
	// first, which changes nothing; beyond that the ones with the least taken.
	MaxKeys int
	// Lasting are the classes that a journal keeps (see Remember); nil is auth, exports and logs.
	Lasting []string
	// Clock is the limiter's time; nil is the system's, which a change of the wall clock does not move.
	Clock hearth.Clock
	// Logger records that the journal cannot be written: the limits hold on in memory. Nil discards it.
	Logger *slog.Logger
}

func (o LimiterOptions) validate() (LimiterOptions, error) {
	if err := o.Limits.Validate(); err != nil {
		return o, err
	}
	o.MaxKeys = cmp.Or(o.MaxKeys, 200_000)
	if o.MaxKeys < limiterShards {
		return o, errors.New("memkv: a limiter remembers 64 keys at least")
	}
	if o.Lasting == nil {
		o.Lasting = []string{"auth", "exports", "logs"}
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

const (
	// limiterShards is how many locks the keys are spread over.
	limiterShards = 64
	// sample is how many keys are looked at to find one that can be forgotten.
	sample = 24
)

// Limiter is a kv.Limiter in the process's memory. It is exact: a key's units are taken under one lock.
//
// It does its own arithmetic (kv.Rate.Take) because the library at hand, throttled, fails when ten
// compare-and-swaps in a row meet a competitor, forgets busy keys as readily as idle ones, follows the wall clock when it
// jumps, and cannot be restored after a restart.
type Limiter struct {
	options LimiterOptions
	now     func() int64
	seed    maphash.Seed
	shards  [limiterShards]limiterShard
	journal *journal // nil without one
}

var _ kv.Limiter = (*Limiter)(nil)

type limitKey struct{ class, key string }

type limiterShard struct {
	mu sync.Mutex
	// full is the state of each key: see kv.Rate.Take.
	full map[limitKey]int64
	// sweepAt is the number of keys from which all that are at rest are looked for.
	sweepAt int
	_       [40]byte // keeps the locks of two shards off one cache line
}

// NewLimiter makes a limiter that knows no key.
func NewLimiter(options LimiterOptions) (*Limiter, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	nanos := ticks(options.Clock)
	l := &Limiter{options: options, now: func() int64 { return nanos() / 1000 }, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].full = map[limitKey]int64{}
		l.shards[i].sweepAt = 256
	}
	return l, nil
}

// Remember restores the keys of the lasting classes from the file at path, if it is there, and keeps them in it from now
// on, so that their limits hold over restarts and crashes. The file holds no key in plain text and is one limiter's alone.
// One that cannot be read is begun anew, which the logger records. Remember comes before the first Allow.
func (l *Limiter) Remember(path string) (err error) {
	l.journal, err = openJournal(path, l)
	return err
}

// Close ends the journal, if there is one. The limiter goes on without it.
func (l *Limiter) Close() error {
	if l.journal == nil {
		return nil
	}
	return l.journal.close()
}

// Allow is kv.Limiter's. It never fails.
func (l *Limiter) Allow(_ context.Context, class, key string, n int) (kv.Decision, error) {
	rate := l.options.Limits[class]
	if rate.Limit == 0 {
		return kv.Decision{Allowed: true}, nil
	}
	lasting := l.journal != nil && l.lasts(class)
	if lasting {
		key = l.journal.seal(class, key)
	}
	s := l.shard(key)
	k := limitKey{class, key}
	s.mu.Lock()
	now := l.now()
	before := s.full[k]
	after, d := rate.Take(before, now, n)
	took := d.Allowed && n > 0
	if took {
		if before == 0 {
			l.makeRoom(s, now)
		}
		s.full[k] = after
	}
	s.mu.Unlock()
	if took && lasting {
		l.journal.append(record{class: class, key: key, full: after})
	}
	return d, nil
}

// lasts reports whether the journal keeps a class.
func (l *Limiter) lasts(class string) bool { return slices.Contains(l.options.Lasting, class) }

// Keys returns how many keys are remembered.
func (l *Limiter) Keys() (total int) {
	for i := range l.shards {
		l.shards[i].mu.Lock()
		total += len(l.shards[i].full)
		l.shards[i].mu.Unlock()
	}
	return total
}

func (l *Limiter) shard(key string) *limiterShard {
	return &l.shards[maphash.String(l.seed, key)%limiterShards]
}

// makeRoom is called before a key is added, with the shard's lock held.
func (l *Limiter) makeRoom(s *limiterShard, now int64) {
	limit := l.options.MaxKeys / limiterShards
	if len(s.full) >= min(s.sweepAt, limit) {
		for k, full := range s.full {
			if full <= now {
				delete(s.full, k)
			}
		}
		s.sweepAt = max(256, 2*len(s.full))
	}
	if len(s.full) < limit {
		return
	}
	// Every key is in use. Of a few, the one that is the first to be at rest goes: it gains the least, so that no one
	// washes out a limit that was hit by asking under many names.
	var victim limitKey
	var least int64
	seen := 0
	for k, full := range s.full {
		if seen == 0 || full < least {
			victim, least = k, full
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(s.full, victim)
}
