// Command ferretdb is the MongoDB-compatible server of the tests: FerretDB before a PostgreSQL with DocumentDB. It is
// built and started by scripts/mongodb.sh, and in a module of its own, so that hearth does not depend on it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/v2/ferretdb"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:27017", "`address` to listen on")
	postgres := flag.String("postgresql", "", "`URL` of the PostgreSQL with DocumentDB")
	state := flag.String("state", ".", "`folder` for what FerretDB remembers of itself")
	flag.Parse()
	server, err := ferretdb.New(&ferretdb.Config{
		PostgreSQLURL: *postgres, ListenAddr: *listen, StateDir: *state, LogLevel: slog.LevelError, LogOutput: os.Stderr,
	})
	if err != nil {
		return fmt.Errorf("start FerretDB: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server.Run(ctx)
	return nil
}
