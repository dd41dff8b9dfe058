package rediskv

import (
	"context"
	"crypto/rand"
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

// begin is how each script makes sure that there is an epoch. ARGV[1] is a new one.
const begin = `
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'floor')
if not state[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', 0, 'floor', 0)
  redis.call('DEL', KEYS[2])
  state = {ARGV[1], '0', '0'}
end
`

var (
	// readNames returns the epoch, the number of the last invalidation, and the highest number of the names, which are ARGV[2] on.
	readNames = redisconn.NewScript(begin + `
local high = tonumber(state[3])
for _, mark in ipairs(redis.call('ZMSCORE', KEYS[2], unpack(ARGV, 2))) do
  if mark and tonumber(mark) > high then high = tonumber(mark) end
end
return {state[1], tonumber(state[2]), high}`)

	// markNames invalidates the names ARGV[5] on. ARGV[2] is how many names are remembered, ARGV[3] the channel, ARGV[4] the
	// message.
	markNames = redisconn.NewScript(begin + `
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
for i = 5, #ARGV do redis.call('ZADD', KEYS[2], seq, ARGV[i]) end
local most = tonumber(ARGV[2])
local over = redis.call('ZCARD', KEYS[2]) - most
if over > 0 then
  local last = redis.call('ZRANGE', KEYS[2], over + math.floor(most / 10) - 1, over + math.floor(most / 10) - 1, 'WITHSCORES')
  redis.call('HSET', KEYS[1], 'floor', last[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', last[2])
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return seq`)

	// beginEpoch begins the epoch ARGV[1] if the server is another one than the epoch was begun on, or if ARGV[2] is
	// "always". Then it publishes the message ARGV[4] in the channel ARGV[3].
	beginEpoch = redisconn.NewScript(`
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
if ARGV[2] ~= 'always' and redis.call('HGET', KEYS[1], 'run') == run then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', 0, 'floor', 0, 'run', run)
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1`)

	// readOrLock returns the value of KEYS[1] and its remaining ms, unless ARGV[3] is "1"; else who holds the lock KEYS[2],
	// which is now taken as ARGV[1] for ARGV[2] ms if nobody did.
	readOrLock = redisconn.NewScript(`
if ARGV[3] ~= '1' then
  local value = redis.call('GET', KEYS[1])
  if value then return {value, redis.call('PTTL', KEYS[1])} end
end
local holder = redis.call('GET', KEYS[2])
if holder then return holder end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`)

	// fillAndUnlock sets KEYS[1] to ARGV[2] for ARGV[3] ms, if that is not 0, and frees the lock KEYS[2] if it is held as
	// ARGV[1].
	fillAndUnlock = redisconn.NewScript(`
if ARGV[3] ~= '0' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1`)
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
	token := c.self + ":" + strconv.FormatUint(c.locks.Add(1), 10)
	skip := "0"
	if lock {
		skip = "1"
	}
	err = c.conn.Try(ctx, func(ctx context.Context, client rueidis.Client) error {
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
				seen.busy = !strings.HasPrefix(holder, c.self)
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

// firstError returns the first error of results as it is, which Try must see.
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
			// A failure leaves nothing wrong behind, and the breaker tells of it.
			_ = c.conn.Try(ctx, func(ctx context.Context, client rueidis.Client) error {
				return fillAndUnlock.Run(ctx, client, []string{f.key, lockKey(f.key)},
					[]string{f.lock, rueidis.BinaryString(f.value), strconv.FormatInt(left, 10)}).Error()
			})
		}
	}
}
