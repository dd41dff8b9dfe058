package doctor

import (
	"strings"
	"testing"
)

func TestTheDoctorJudgesWhatRedisReports(t *testing.T) {
	t.Parallel()
	for name, facts := range map[string]map[string]string{
		"cannot write":     {"aof_enabled": "1", "aof_last_write_status": "err"},
		"last rewrite":     {"aof_enabled": "1", "aof_last_bgrewrite_status": "err"},
		"snapshot failed":  {"aof_enabled": "1", "rdb_last_bgsave_status": "err"},
		"no append-only f": {},
		"95 of 100 MiB": {
			"aof_enabled": "1", "maxmemory_policy": "noeviction", "used_memory": "99614720", "maxmemory": "104857600",
		},
	} {
		if line := judgeRedis("redis", facts); line.OK || !strings.Contains(line.Text, name) || line.Change == "" {
			t.Errorf("%s: %+v", name, line)
		}
	}
}

func TestTheDoctorJudgesReplicaSets(t *testing.T) {
	t.Parallel()
	sound := MongoDB{Server: "8.0.4", ReplicaSet: "hearth", Members: 3}
	for text, change := range map[string]func(*MongoDB){
		"replica set hearth of 3": func(*MongoDB) {},
		"replica set hearth of 2": func(e *MongoDB) { e.Members = 2 },
		"alone":                   func(e *MongoDB) { e.ReplicaSet, e.Members = "", 0 },
		"db2 (RECOVERING)":        func(e *MongoDB) { e.Down = []string{"db2 (RECOVERING)"} },
		"in memory alone":         func(e *MongoDB) { e.Volatile = true },
	} {
		e := sound
		change(&e)
		line := judgeServers("database servers", e)
		if line.OK != (text == "replica set hearth of 3") || !strings.Contains(line.Text, text) || line.OK != (line.Change == "") {
			t.Errorf("%s: %+v", text, line)
		}
	}
}
