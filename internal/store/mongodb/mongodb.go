package mongodb

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

// Options say where the store is and how it behaves.
type Options struct {
	// URI is a connection string of MongoDB, such as mongodb://user:password@host:27017/hearth?replicaSet=rs0. The path
	// names the database; without one it is "hearth". Read preference, TLS and credentials are the URI's; the write concern
	// is always majority and journaled.
	URI string
	// MaxConns bounds the connections to each server; 0 is what the URI says, or 100.
	MaxConns int
	// OperationTimeout bounds one operation of the store; 0 is 10 s.
	OperationTimeout time.Duration
	// Clock is the time of everything that the store stamps; nil is the system's.
	Clock hearth.Clock
	// Logger takes what nobody is there to be told; nil discards it.
	Logger *slog.Logger
	// Observer is told of every operation; nil tells nobody.
	Observer hearth.StoreObserver
	// SlowQuery is the duration from which an operation is logged; zero logs none.
	SlowQuery time.Duration
	// Logs tune the engine of logs; its Clock and Logger are the store's. The zero value is right for everyone but tests.
	Logs tsdb.Options
	// RepairEvery is how often the store looks for writes that another process left unfinished; 0 is 15 s.
	RepairEvery time.Duration
	// Grace is how long the unfinished write of another is waited for before it is finished or dropped; 0 is 1 s.
	Grace time.Duration

	// commands sees every command to the server; for tests.
	commands *event.CommandMonitor
}

var (
	_ hearth.AuditStore  = (*Store)(nil)
	_ hearth.SecretStore = (*Store)(nil)
)

// foldRows is the number of logs that are folded at once: a fold is some thirteen commands, and writes about the same documents
// however many logs it takes.
const foldRows = 1 << 16

// Store is an open database. All its methods may be called at once from many goroutines.
type Store struct {
	*record.Aggregates
	*record.SharedFiles
	*steps.DB
	// Engine is all of hearth.LogStore but ImportCheckpoint.
	*tsdb.Engine
	logs *logBackend
}

// Open connects, brings collections and indexes up to the program's version, and finishes what a crashed process left. Where the
// server cannot be used, it fails within 10 s, with an error that says what to change.
func Open(ctx context.Context, settings Options) (*Store, error) {
	db, err := steps.Connect(steps.Options{
		URI: settings.URI, MaxConns: settings.MaxConns, OperationTimeout: settings.OperationTimeout, Clock: settings.Clock, Logger: settings.Logger,
		Observer: settings.Observer, SlowQuery: settings.SlowQuery, RepairEvery: settings.RepairEvery, Grace: settings.Grace,
		Lockable: lockable(), Commands: settings.commands,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{DB: db}
	s.Aggregates, s.SharedFiles = record.New(recordBackend{s}), record.NewSharedFiles(recordBackend{s})
	s.logs = newLogBackend(s)
	settings.Logs.FoldRows = cmp.Or(settings.Logs.FoldRows, foldRows)
	settings.Logs.Clock, settings.Logs.Logger = settings.Clock, settings.Logger
	if s.Engine, err = tsdb.New(s.logs, settings.Logs); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for _, step := range []func(context.Context) error{db.Greet, s.migrate, db.Repair} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	db.Start()
	s.Engine.Start()
	return s, nil
}

// Close ends the work in the background and closes the connections; operations after it fail with CodeUnavailable. It may be called twice.
func (s *Store) Close() error {
	s.Stop()
	return s.DB.Close()
}
