package app

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// redisProbe is what the doctor asks of a Redis.
type redisProbe interface {
	// Settings gives those of the settings that the server tells of.
	Settings(ctx context.Context, names ...string) (map[string]string, error)
	// Time gives the server's clock.
	Time(ctx context.Context) (time.Time, error)
}

// redisSkew is how far the clocks of two machines may be apart.
const redisSkew = time.Second

func (d *doctor) redis(ctx context.Context) {
	const check = "redis"
	if d.cfg.RedisURL == "" {
		d.okf(check, "not used")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	probe, closeProbe, err := openRedisProbe(d.cfg.RedisURL)
	if err != nil {
		d.badf(check, "look at redis_url and the server", "%v", err)
		return
	}
	defer closeProbe()
	d.lines = append(d.lines, judgeRedis(ctx, probe, check))
}

// judgeRedis says whether what is queued survives a restart and a full memory, and whether the clocks agree.
func judgeRedis(ctx context.Context, probe redisProbe, check string) DoctorLine {
	before := time.Now()
	at, err := probe.Time(ctx)
	if err != nil {
		return DoctorLine{Check: check, Text: err.Error(), Change: "look at redis_url and the server"}
	}
	// The server read its clock between the two readings of ours.
	if skew := max(before.Sub(at), time.Until(at)); skew > redisSkew {
		return DoctorLine{Check: check, Text: fmt.Sprintf("its clock is %s off", skew.Round(time.Millisecond)), Change: "let both machines follow a time server"}
	}
	settings, err := probe.Settings(ctx, "appendonly", "save", "maxmemory-policy")
	if err != nil || len(settings) == 0 {
		return DoctorLine{Check: check, OK: true, Text: "it answers; how it keeps its data it does not tell (CONFIG is not allowed)"}
	}
	switch policy := settings["maxmemory-policy"]; {
	case settings["appendonly"] != "yes" && strings.TrimSpace(settings["save"]) == "":
		return DoctorLine{Check: check, Text: "it keeps nothing on disk: a restart loses the queued jobs", Change: "set appendonly yes (deploy/redis)"}
	case settings["appendonly"] != "yes":
		return DoctorLine{Check: check, Text: "it keeps snapshots alone: a crash loses the jobs of the last minutes", Change: "set appendonly yes (deploy/redis)"}
	case policy != "" && policy != "noeviction":
		return DoctorLine{Check: check, Text: "a full memory evicts queued jobs (maxmemory-policy " + policy + ")", Change: "set maxmemory-policy noeviction"}
	}
	return DoctorLine{Check: check, OK: true, Text: "it answers, keeps its data on disk and evicts nothing"}
}

// liveRedis is a redisProbe of a real server.
type liveRedis struct{ client rueidis.Client }

var _ redisProbe = liveRedis{}

func openRedisProbe(url string) (redisProbe, func(), error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, nil, err
	}
	option.DisableCache, option.ForceSingleClient = true, true
	option.Dialer.Timeout = doctorTimeout / 2
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, nil, err
	}
	return liveRedis{client}, client.Close, nil
}

// Settings implements redisProbe.
func (r liveRedis) Settings(ctx context.Context, names ...string) (map[string]string, error) {
	return r.client.Do(ctx, r.client.B().ConfigGet().Parameter(names...).Build()).AsStrMap()
}

// Time implements redisProbe.
func (r liveRedis) Time(ctx context.Context) (time.Time, error) {
	parts, err := r.client.Do(ctx, r.client.B().Time().Build()).AsStrSlice()
	if err != nil || len(parts) != 2 {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	micros, err := strconv.ParseInt(parts[1], 10, 64)
	return time.Unix(seconds, micros*1000), err
}
