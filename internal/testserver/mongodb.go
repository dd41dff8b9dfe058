package testserver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// mongodb finds the server once a test process, and starts it if it is not up.
var mongodb = sync.OnceValues(findMongoDB)

// MongoDB returns the URI of a MongoDB-compatible server with a database of the test's own in its path, which is dropped when
// the test ends. It starts the server (scripts/mongodb.sh) if it is not up; the first start on a machine installs it, which
// takes minutes. The server stays up for other tests: never stop it from a test, cut the connection instead.
func MongoDB(tb testing.TB) string {
	tb.Helper()
	server, err := mongodb()
	if err != nil {
		tb.Fatalf("the MongoDB-compatible server of the tests cannot be had: %v", err)
	}
	name := databaseName()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		client, err := mongo.Connect(options.Client().ApplyURI(server))
		if err == nil {
			err = client.Database(name).Drop(ctx)
			if again := client.Disconnect(ctx); err == nil {
				err = again
			}
		}
		if err != nil {
			tb.Errorf("drop the test's database: %v", err)
		}
	})
	return server + name
}

// databaseName returns a name that no other database has.
func databaseName() string { return "t" + strings.ReplaceAll(uuid.NewString(), "-", "") }

func findMongoDB() (uri string, err error) {
	if err := useMongoDB(); err != nil {
		return "", err
	}
	if uri, err = mongodbScript("url"); err == nil {
		return uri, nil
	}
	if _, err = mongodbScript("start"); err != nil {
		return "", err
	}
	return mongodbScript("url")
}

// useMongoDB marks the server as in use for scripts/mongodb.sh for as long as this process lives: a shared lock that the
// kernel returns, however the process ends.
func useMongoDB() error {
	path, err := mongodbScript("lockfile")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return syscall.Flock(int(file.Fd()), syscall.LOCK_SH) // never closed: it ends with the process
}
