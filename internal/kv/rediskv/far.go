package rediskv

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/redisconn"
)

// nameKeys are the keys of what is known of names. They lie in one slot of a cluster.
//
//	cache:{names}        a hash: epoch; seq, the number of the last invalidation; floor, the highest number that was
//	                     forgotten; run, the server that began the epoch
//	cache:{names}:marks  a sorted set: each name with the number of its last invalidation
func nameKeys() []string { return []string{"cache:{names}", "cache:{names}:marks"} }

//go:embed scripts/*.lua
var scripts embed.FS

var (
	readNames     = redisconn.Load(scripts, "begin", "read_names")
	markNames     = redisconn.Load(scripts, "begin", "mark_names")
	beginEpoch    = redisconn.Load(scripts, "begin_epoch")
	readOrLock    = redisconn.Load(scripts, "read_or_lock")
	fillAndUnlock = redisconn.Load(scripts, "fill_and_unlock")
)

// lockKey is the key of the lock on the load of a value, in the value's slot.
func lockKey(key string) string {
	if open := strings.IndexByte(key, '{'); open >= 0 && strings.IndexByte(key[open:], '}') > 1 {
		return "load:" + key
	}
	return "load:{" + key + "}"
}

// state is where the invalidations stood.
type state struct {
	epoch string
	seq   int64
}

func newEpoch() string { return rand.Text()[:16] }

// header is what stands before a value in Redis: the epoch and, in 8 bytes, the number.
const epochSize = 16

// seal returns a value as it is stored.
func seal(value []byte, s state) []byte {
	sealed := make([]byte, 0, epochSize+8+len(value))
	sealed = append(sealed, s.epoch...)
	sealed = binary.BigEndian.AppendUint64(sealed, uint64(s.seq))
	return append(sealed, value...)
}

// unseal takes a stored value apart; ok is false for one that is not ours.
func unseal(sealed []byte) (value []byte, s state, ok bool) {
	if len(sealed) < epochSize+8 {
		return nil, s, false
	}
	seq := binary.BigEndian.Uint64(sealed[epochSize:])
	return sealed[epochSize+8:], state{epoch: string(sealed[:epochSize]), seq: int64(min(seq, math.MaxInt64))}, true
}

// sight is what a look found.
type sight struct {
	// hit: value is right for left.
	hit   bool
	value []byte
	left  time.Duration
	// stale: there is a value, and it was invalidated.
	stale bool
	// lock is held by this process for the load, if it is not empty; busy: another instance holds it.
	lock string
	busy bool
	// state is from before the load.
	state state
}

// look asks for a value and the state of its names in one round trip. With lock, what is there is known to be stale.
func (c *Cache) look(ctx context.Context, q question, lock bool) (seen sight, err error) {
	token := c.bus.ID() + ":" + strconv.FormatUint(c.locks.Add(1), 10)
	skip := "0"
	if lock {
		skip = "1"
	}
	err = c.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		results := redisconn.Run(ctx, client,
			redisconn.Call{Script: readOrLock, Keys: []string{q.key, lockKey(q.key)}, Args: []string{token, milliseconds(loadLock), skip}},
			redisconn.Call{Script: readNames, Keys: nameKeys(), Args: append([]string{newEpoch()}, q.names...)})
		if err := firstError(results); err != nil {
			return err
		}
		names, err := results[1].ToArray()
		if err != nil || len(names) != 3 {
			return fmt.Errorf("rediskv: names are read wrongly: %w", err)
		}
		high, errHigh := names[2].AsInt64()
		epoch, errEpoch := names[0].ToString()
		seq, errSeq := names[1].AsInt64()
		if err := errors.Join(errHigh, errEpoch, errSeq); err != nil {
			return err
		}
		seen = sight{state: state{epoch: epoch, seq: seq}}
		found, err := results[0].ToMessage()
		if err != nil {
			return err
		}
		if !found.IsArray() {
			holder, err := found.ToString()
			switch {
			case err != nil:
				return err
			case holder == token:
				seen.lock = token
			default:
				// This process loads each key once; another load of it here was overtaken by an invalidation.
				seen.busy = !strings.HasPrefix(holder, c.bus.ID())
			}
			return nil
		}
		return seen.judge(found, high)
	})
	return seen, err
}

// judge reports whether the value that was found is right. High is the highest number of its names.
func (s *sight) judge(found rueidis.RedisMessage, high int64) error {
	pair, err := found.ToArray()
	if err != nil || len(pair) != 2 {
		return fmt.Errorf("rediskv: a value is read wrongly: %w", err)
	}
	sealed, err := pair[0].ToString()
	if err != nil {
		return err
	}
	left, err := pair[1].AsInt64()
	if err != nil {
		return err
	}
	value, stamp, ok := unseal([]byte(sealed))
	if !ok || stamp.epoch != s.state.epoch || stamp.seq < high {
		s.stale = true
		return nil
	}
	s.hit, s.value, s.left = true, value, time.Duration(max(0, left))*time.Millisecond
	return nil
}

// firstError returns the first error of results as it is, which Do must see.
func firstError(results []rueidis.RedisResult) error {
	for _, result := range results {
		if err := result.Error(); err != nil {
			return err
		}
	}
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// fill is a value on its way into Redis, or, without a value, a lock to be freed.
type fill struct {
	key   string
	value []byte
	until time.Time
	lock  string
}

// offer hands a fill over, unless too many wait: then the value is loaded again one day.
func (c *Cache) offer(f fill) {
	if f.value == nil && f.lock == "" {
		return
	}
	select {
	case c.fills <- f:
	default:
	}
}

// fillOn stores values until ctx ends.
func (c *Cache) fillOn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-c.fills:
			left := time.Until(f.until).Milliseconds()
			if f.value == nil || left <= 0 {
				f.value, left = nil, 0
			}
			// A failure leaves nothing wrong behind, and the breaker reports it.
			_ = c.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
				return fillAndUnlock.Run(ctx, client, []string{f.key, lockKey(f.key)},
					[]string{f.lock, rueidis.BinaryString(f.value), strconv.FormatInt(left, 10)}).Error()
			})
		}
	}
}
