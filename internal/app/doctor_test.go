package app_test

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/store/mongodb"
	"hearth/internal/testserver"
)

// expectLine asks the doctor and wants the line of a check to be good or bad and to hold the text.
func expectLine(t *testing.T, cfg *config.Config, check string, ok bool, text string) {
	t.Helper()
	for _, line := range app.Doctor(t.Context(), cfg, nil) {
		if line.Check != check {
			continue
		}
		if line.OK != ok || !strings.Contains(line.Text, text) || line.OK != (line.Change == "") {
			t.Errorf("%s: %+v, want %v and %q", check, line, ok, text)
		}
		return
	}
	t.Errorf("the doctor says nothing of %s", check)
}

func TestTheDoctorFindsWhatIsWrongOnOneMachine(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	if err := os.Chmod(cfg.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	expectLine(t, cfg, "database", true, "not there yet")
	apitest.Start(t, cfg)
	expectLine(t, cfg, "configuration", false, "cost 4")
	expectLine(t, cfg, "data directory", true, "private")
	expectLine(t, cfg, "database", true, "with every index")
	expectLine(t, cfg, "clock", true, "")
	expectLine(t, cfg, "redis", true, "not used")
	expectLine(t, cfg, "backups", true, "none")
	cfg.BackupSchedule.Every = 24 * time.Hour
	expectLine(t, cfg, "backups", false, "none yet")

	keys := filepath.Join(cfg.DataDir, "hearth.db")
	for _, step := range []struct {
		do    func() error
		check string
		text  string
	}{
		{func() error { return os.Chmod(keys, 0o644) }, "data directory", "others may read hearth.db"},
		{func() error { return os.Chmod(cfg.DataDir, 0o755) }, "data directory", "others may look into"},
		{func() error {
			later := time.Now().Add(time.Hour)
			return os.Chtimes(keys, later, later)
		}, "clock", "set back"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		expectLine(t, cfg, step.check, false, step.text)
	}
}

// shippedRedis returns the settings of deploy/redis/redis.conf as arguments, but for those of the network.
func shippedRedis(t *testing.T) (args []string) {
	t.Helper()
	file, err := os.Open("../../deploy/redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch {
		case name == "" || strings.HasPrefix(name, "#") || name == "bind" || name == "protected-mode":
		case name == "save" || name == "client-output-buffer-limit":
			args = append(append(args, "--"+name), strings.Fields(value)...)
		default:
			args = append(args, "--"+name, value)
		}
	}
	return args
}

func TestTheDoctorJudgesHowRedisKeepsWaitingJobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		given []string
		ok    bool
		text  string
	}{
		{"as it is shipped", shippedRedis(t), true, "appends to a file"},
		{"never evicting", []string{"--appendonly", "yes", "--maxmemory-policy", "noeviction"}, true, "evicts no jobs"},
		{"in memory alone", nil, false, "no append-only file"},
		{"evicting anything", []string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"}, false, "allkeys-lru"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := apitest.Config(t)
			cfg.RedisURL = testserver.StartRedis(t, c.given...).URL()
			expectLine(t, cfg, "redis", c.ok, c.text)
			expectLine(t, cfg, "redis clock", true, "agrees")
		})
	}
}

func TestTheDoctorComparesADatabaseWithItsDesign(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.StoreURL = testserver.MongoDB(t)
	expectLine(t, cfg, "database", true, "empty")
	store, err := mongodb.Open(t.Context(), mongodb.Options{URI: cfg.StoreURL})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	expectLine(t, cfg, "database", true, "with every index")
	expectLine(t, cfg, "database clock", true, "agrees")
	expectLine(t, cfg, "database servers", false, "alone")

	parsed, err := connstring.Parse(cfg.StoreURL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(cfg.StoreURL))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(t.Context()) }()
	db := client.Database(parsed.Database)
	devices := db.Collection("devices").Indexes()
	if err := devices.DropWithKey(t.Context(), bson.D{{Key: "key", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	expectLine(t, cfg, "database", false, "devices (key)")
	// An index that does not keep keys apart is none of the design.
	if _, err := devices.CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "key", Value: 1}}}); err != nil {
		t.Fatal(err)
	}
	expectLine(t, cfg, "database", false, "devices (key)")
	if _, err := db.Collection("schema").UpdateByID(t.Context(), "schema", bson.D{{Key: "$set", Value: bson.D{{Key: "version", Value: 99}}}}); err != nil {
		t.Fatal(err)
	}
	expectLine(t, cfg, "database", false, "newer than this program")
}

func TestTheDoctorNamesServersThatAreAwayAndNoPasswords(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.RedisURL, cfg.StoreURL = "redis://:hunter2@127.0.0.1:1/0", "mongodb://ann:hunter2@127.0.0.1:1/hearth"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it would wait for them to come up
	defer cancel()
	found := 0
	for _, line := range app.Doctor(ctx, cfg, nil) {
		if !line.OK && (line.Check == "database" || line.Check == "redis") {
			found++
		}
		if strings.Contains(line.Text+line.Change, "hunter2") {
			t.Errorf("a password is shown: %+v", line)
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 servers that are away were found", found)
	}
}
