package rediskv

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/kv"
	"hearth/internal/redisconn"
)

// LimiterOptions are what a Limiter works with. Conn and Local are required.
type LimiterOptions struct {
	Conn   *redisconn.Conn
	Limits kv.Limits
	// Local decides while Redis is away, with the same Limits, for this instance alone. What Redis allows is counted there
	// too, so that a limit that was hit here stays hit.
	Local kv.Limiter
}

// Limiter is a kv.Limiter over all instances: it computes what kv.Rate.Take does, in Redis and by the clock of Redis.
//
// A key's state is a string limit:{class:hash}, where the hash stands for the key, so that Redis holds no address; it
// expires when all units are there again.
type Limiter struct{ options LimiterOptions }

var _ kv.Limiter = (*Limiter)(nil)

// NewLimiter makes a limiter. It needs no closing.
func NewLimiter(options LimiterOptions) (*Limiter, error) {
	if options.Conn == nil || options.Local == nil {
		return nil, errors.New("rediskv: a limiter needs a connection and a local limiter")
	}
	if err := options.Limits.Validate(); err != nil {
		return nil, err
	}
	return &Limiter{options: options}, nil
}

var take = redisconn.Load(scripts, "take")

// Ask is one question to a limiter: see kv.Limiter's Allow.
type Ask struct {
	Class string
	Key   string
	N     int
}

// Allow is kv.Limiter's. It takes one round trip, and none for a class without a limit or while Redis is away. It fails
// only with its context.
func (l *Limiter) Allow(ctx context.Context, class, key string, n int) (kv.Decision, error) {
	if l.options.Limits[class].Limit == 0 {
		return kv.Decision{Allowed: true}, nil
	}
	decisions, err := l.AllowAll(ctx, Ask{Class: class, Key: key, N: n})
	if err != nil {
		return kv.Decision{}, err
	}
	return decisions[0], nil
}

// AllowAll answers several questions in one round trip. Each is decided by itself: a refusal of one returns nothing
// that another took.
func (l *Limiter) AllowAll(ctx context.Context, asks ...Ask) ([]kv.Decision, error) {
	decisions := make([]kv.Decision, len(asks))
	calls := make([]redisconn.Call, 0, len(asks))
	asked := make([]int, 0, len(asks))
	for i, ask := range asks {
		rate := l.options.Limits[ask.Class]
		if rate.Limit == 0 {
			decisions[i].Allowed = true
			continue
		}
		asked = append(asked, i)
		interval := max(1, rate.Per.Microseconds()/int64(rate.Limit))
		calls = append(calls, redisconn.Call{Script: take, Keys: []string{limitKey(ask.Class, ask.Key)}, Args: []string{
			strconv.FormatInt(interval, 10), strconv.Itoa(rate.Limit), strconv.Itoa(min(max(ask.N, 0), rate.Limit+1)),
		}})
	}
	if len(asked) == 0 {
		return decisions, nil
	}
	err := l.options.Conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		for k, result := range redisconn.Run(ctx, client, calls...) {
			d, err := readDecision(result)
			if err != nil {
				return err
			}
			d.Limit = l.options.Limits[asks[asked[k]].Class].Limit
			decisions[asked[k]] = d
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	for _, i := range asked {
		ask := asks[i]
		// With Redis there, only what was taken matters to the local limiter.
		if err == nil && (ask.N <= 0 || !decisions[i].Allowed) {
			continue
		}
		local, localErr := l.options.Local.Allow(ctx, ask.Class, ask.Key, ask.N)
		if err != nil {
			if localErr != nil {
				return nil, localErr
			}
			decisions[i] = local
		}
	}
	return decisions, nil
}

func limitKey(class, key string) string {
	sum := sha256.Sum256([]byte(key))
	return "limit:{" + class + ":" + base64.RawURLEncoding.EncodeToString(sum[:18]) + "}"
}

func readDecision(result rueidis.RedisResult) (kv.Decision, error) {
	parts, err := result.AsIntSlice()
	if err != nil {
		return kv.Decision{}, err
	}
	if len(parts) != 4 {
		return kv.Decision{}, fmt.Errorf("rediskv: a limit is read wrongly: %v", parts)
	}
	return kv.Decision{
		Allowed: parts[0] == 1, Remaining: int(parts[1]),
		ResetAfter: time.Duration(parts[2]) * time.Microsecond, RetryAfter: time.Duration(parts[3]) * time.Microsecond,
	}, nil
}
