package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// fakeRedis answers as a server with those settings and a clock that is off.
type fakeRedis struct {
	settings map[string]string
	off      time.Duration
	err      error
}

func (f fakeRedis) Settings(context.Context, ...string) (map[string]string, error) {
	return f.settings, f.err
}
func (f fakeRedis) Time(context.Context) (time.Time, error) { return time.Now().Add(f.off), nil }

func TestTheDoctorJudgesHowRedisKeepsItsData(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redis fakeRedis
		ok    bool
		text  string
	}{
		"sound":      {fakeRedis{settings: map[string]string{"appendonly": "yes", "save": "", "maxmemory-policy": "noeviction"}}, true, "keeps its data"},
		"nothing":    {fakeRedis{settings: map[string]string{"appendonly": "no", "save": ""}}, false, "nothing on disk"},
		"snapshots":  {fakeRedis{settings: map[string]string{"appendonly": "no", "save": "3600 1"}}, false, "snapshots alone"},
		"evicts":     {fakeRedis{settings: map[string]string{"appendonly": "yes", "maxmemory-policy": "allkeys-lru"}}, false, "allkeys-lru"},
		"clock":      {fakeRedis{off: time.Hour}, false, "clock"},
		"clock back": {fakeRedis{off: -time.Hour}, false, "clock"},
		"secretive":  {fakeRedis{err: errors.New("NOPERM")}, true, "does not tell"},
	} {
		line := judgeRedis(t.Context(), c.redis, "redis")
		if line.OK != c.ok || !strings.Contains(line.Text, c.text) || line.OK != (line.Change == "") {
			t.Errorf("%s: %+v", name, line)
		}
	}
}
