package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/redisconn"
)

// clockSkew is how far the clocks of two machines may be apart.
const clockSkew = time.Second

func (d *doctor) redis(ctx context.Context) {
	const check = "redis"
	if d.cfg.RedisURL == "" {
		d.okf(check, "not used")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	conn, err := redisconn.Connect(ctx, redisconn.Options{URL: d.cfg.RedisURL, ConnectTimeout: doctorTimeout / 2})
	if err != nil {
		d.badf(check, "look at redis_url and the server", "%v", err)
		return
	}
	defer conn.Close()
	facts, err := conn.Facts(ctx)
	if err != nil {
		d.badf(check, "look at redis_url and the server", "%v", err)
		return
	}
	d.lines = append(d.lines, judgeRedis(check, facts))
	skew, err := redisSkew(ctx, conn.Client())
	switch {
	case err != nil:
		d.badf("redis clock", "look at redis_url and the server", "%v", err)
	case skew > clockSkew:
		d.badf("redis clock", "let both machines follow a time server", "it is %s off ours", skew.Round(time.Millisecond))
	default:
		d.okf("redis clock", "it agrees with ours")
	}
}

// judgeRedis says from what INFO reports whether waiting jobs survive a restart, a crash and a full memory.
func judgeRedis(check string, facts map[string]string) Line {
	bad := func(text, change string) Line { return Line{Check: check, Text: text, Change: change} }
	switch {
	case facts["aof_enabled"] != "1":
		return bad("it keeps no append-only file: a crash loses the jobs that wait", "set appendonly yes, as deploy/redis/redis.conf does")
	case facts["aof_last_write_status"] == "err":
		return bad("it cannot write its append-only file", "look at its log, its disk and its permissions")
	case facts["aof_last_bgrewrite_status"] == "err":
		return bad("its append-only file grows, because the last rewrite failed", "look at its log, its disk and its memory")
	case facts["rdb_last_bgsave_status"] == "err":
		return bad("its last snapshot failed, so that it may refuse writes", "look at its log, its disk and its memory")
	case strings.HasPrefix(facts["maxmemory_policy"], "allkeys"):
		return bad("a full memory evicts jobs that wait (maxmemory-policy "+facts["maxmemory_policy"]+")", "set maxmemory-policy volatile-lru")
	}
	// Where cached values may go, a full memory is how it should be.
	used, limit := number(facts["used_memory"]), number(facts["maxmemory"])
	if facts["maxmemory_policy"] == "noeviction" && limit > 0 && used > limit*9/10 {
		return bad(fmt.Sprintf("%d of %d MiB of its memory are used, and it refuses writes when it is full", used>>20, limit>>20),
			"raise maxmemory, or set maxmemory-policy volatile-lru")
	}
	return Line{Check: check, OK: true, Text: "version " + facts["redis_version"] + "; it appends to a file on disk and evicts no jobs"}
}

// number reads a number of INFO; 0 where there is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// redisSkew returns how far apart the server's clock and ours are at least.
func redisSkew(ctx context.Context, client rueidis.Client) (time.Duration, error) {
	before := time.Now()
	parts, err := client.Do(ctx, client.B().Time().Build()).AsStrSlice()
	if err != nil {
		return 0, err
	}
	if len(parts) != 2 {
		return 0, fmt.Errorf("it tells the time as %q", parts)
	}
	at := time.Unix(number(parts[0]), number(parts[1])*1000)
	// The server read its clock between the two readings of ours.
	return max(before.Sub(at), time.Until(at), 0), nil
}
