package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hearth/internal/testserver"
)

// startFails is what is promised: a start with settings that cannot work fails within it.
const startFails = 10 * time.Second

func TestAFleetDoesNotStartOnPartsThatDoNotFit(t *testing.T) {
	t.Parallel()
	redis, store, files := testserver.StartRedis(t), testserver.MongoDB(t), fakeS3(t)
	locked := testserver.StartRedis(t, "--requirepass", "hunter2")
	replica := testserver.StartRedis(t)
	replica.Do("REPLICAOF", "127.0.0.1", "1")
	gone := testserver.FreeAddr(t)
	tests := map[string]struct {
		store, redis, files string
		// say is what the message must name.
		say []string
	}{
		"MongoDB that is not there":      {store: "mongodb://" + gone + "/hearth", say: []string{"nothing listens", gone}},
		"MongoDB that is another server": {store: "mongodb://" + redis.Addr() + "/hearth", say: []string{"database", redis.Addr()}},
		"MongoDB without TLS":            {store: store + "?tls=true", say: []string{"TLS"}},
		"a URI that is none":             {store: "mongodb://h:port/hearth", say: []string{"HEARTH_STORE_URL"}},
		"Redis that is not there":        {redis: "redis://" + gone + "/0", say: []string{"Redis", gone}},
		"Redis with a password":          {redis: "redis://" + locked.Addr() + "/0", say: []string{"asks for a password"}},
		"Redis with another password":    {redis: "redis://:wrong@" + locked.Addr() + "/0", say: []string{"password"}},
		"Redis that is a replica":        {redis: replica.URL(), say: []string{"replica"}},
		"Redis without TLS":              {redis: "rediss://" + redis.Addr() + "/0", say: []string{"TLS"}},
		"Redis without that database":    {redis: "redis://" + redis.Addr() + "/99", say: []string{"database"}},
		"files in no bucket":             {files: "s3://nowhere", say: []string{"endpoint"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*startFails)
			defer cancel()
			env := os.Environ()
			for key, pair := range map[string][2]string{
				"HEARTH_STORE_URL": {test.store, store}, "HEARTH_REDIS_URL": {test.redis, redis.URL()}, "HEARTH_BLOB_URL": {test.files, files},
			} {
				switch pair[0] {
				case "":
					env = append(env, key+"="+pair[1])
				default:
					env = append(env, key+"="+pair[0])
				}
			}
			cmd := exec.CommandContext(ctx, program, "serve")
			cmd.Env = append(env, "HEARTH_ADDR=127.0.0.1:0", "HEARTH_ADMIN_ADDR=off", "HEARTH_DATA_DIR="+t.TempDir())
			began := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(began)
			if err == nil || took > startFails {
				t.Errorf("after %s: %v", took, err)
			}
			for _, word := range test.say {
				if !strings.Contains(string(out), word) {
					t.Errorf("the message does not say %q:\n%s", word, out)
				}
			}
			if strings.Contains(string(out), "hunter2") || strings.Contains(string(out), "wrong@") {
				t.Errorf("the message has a password:\n%s", out)
			}
		})
	}
}
