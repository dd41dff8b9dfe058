package mongodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"hearth"
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

func (o Options) validate() (Options, error) {
	if o.URI == "" {
		return o, errors.New("mongodb: no URI was given")
	}
	if o.MaxConns < 0 || o.OperationTimeout < 0 || o.RepairEvery < 0 || o.Grace < 0 {
		return o, errors.New("mongodb: an option is negative")
	}
	orDefault(&o.OperationTimeout, 10*time.Second)
	orDefault(&o.RepairEvery, 15*time.Second)
	orDefault(&o.Grace, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = hearth.NoObserver{}
	}
	return o, nil
}

func orDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

const (
	// openWithin bounds the search for a server by Open, and selectWithin the search for a server that can take a command.
	openWithin   = 9 * time.Second
	selectWithin = time.Second
	// failFastAfter is how long no server is known before commands are refused without a search: shorter would refuse them
	// during the moment that the driver takes to look again after one broken connection.
	failFastAfter = 2 * time.Second
	// spareConns are for what is done beside operations: repairing, and reading further in a cursor that is open.
	spareConns = 10
	// maxConns bounds what the URI may ask for.
	maxConns = 10_000
)

var _ hearth.SecretStore = (*Store)(nil)

// foldRows is the number of logs that are folded at once: a fold is some thirteen commands, and writes about the same documents
// however many logs it takes.
const foldRows = 1 << 16

// Store is an open database. All its methods may be called at once from many goroutines.
type Store struct {
	*record.Aggregates
	*record.SharedFiles
	options Options
	client  *mongo.Client
	// db reads from the primary and writes with majority and journal; reads follows the URI's read preference, for lists that
	// may lag; loose writes what may be lost without harm.
	db    *mongo.Database
	reads *mongo.Database
	loose *mongo.Database
	// tls reports whether the URI asks for it.
	tls bool

	// Engine is all of hearth.LogStore but ImportCheckpoint.
	*tsdb.Engine
	logs   *logBackend
	queues queues
	// slots are the operations that may be under way at once: as many as there are connections for, so that those beyond wait
	// here, and not for a connection.
	slots  chan struct{}
	audits *appender
	// outbox and hooks are told of writes with jobs.
	outbox, hooks chan struct{}
	// lostAt is when the last server was lost, in Unix nanoseconds; 0 while one is known.
	lostAt atomic.Int64
	// greeted is set when Open is done: what happens before it is in Open's error.
	greeted atomic.Bool
	inUse   atomic.Int64
	// crash, in tests, is asked before every step of a write; an error of it ends the write as a crash of the process would.
	crash func(at string) error

	stopping  context.Context
	stop      context.CancelFunc
	repairing sync.WaitGroup
}

// Open connects, brings collections and indexes up to the program's version, and finishes what a crashed process left. Where the
// server cannot be used, it fails within 10 s, with an error that says what to change.
func Open(ctx context.Context, settings Options) (_ *Store, err error) {
	if settings, err = settings.validate(); err != nil {
		return nil, err
	}
	uri, err := connstring.ParseAndValidate(settings.URI)
	if err != nil {
		return nil, fmt.Errorf("mongodb: the store's URI is not a MongoDB connection string: %w", redacted(err, settings.URI))
	}
	orDefault(&uri.Database, "hearth")
	if uri.MaxPoolSizeSet && uri.MaxPoolSize < maxConns {
		orDefault(&settings.MaxConns, int(uri.MaxPoolSize))
	}
	orDefault(&settings.MaxConns, 100)
	s := &Store{options: settings, tls: uri.SSL, outbox: make(chan struct{}, 1), hooks: make(chan struct{}, 1), slots: make(chan struct{}, max(1, settings.MaxConns-spareConns))}
	s.Aggregates, s.SharedFiles = record.New(recordBackend{s}), record.NewSharedFiles(recordBackend{s})
	s.audits = newAppender(s)
	s.stopping, s.stop = context.WithCancel(context.Background()) // of the goroutine that repairs, which outlives ctx
	if s.client, err = mongo.Connect(s.clientOptions()); err != nil {
		return nil, fmt.Errorf("mongodb: the store's URI cannot be used: %w", redacted(err, settings.URI))
	}
	majority := &writeconcern.WriteConcern{W: "majority", Journal: new(true)}
	s.db = s.client.Database(uri.Database, options.Database().SetReadPreference(readpref.Primary()).SetWriteConcern(majority))
	s.reads = s.client.Database(uri.Database, options.Database().SetWriteConcern(majority))
	s.loose = s.client.Database(uri.Database, options.Database().SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.W1()))
	s.logs = newLogBackend(s)
	orDefault(&settings.Logs.FoldRows, foldRows)
	settings.Logs.Clock, settings.Logs.Logger = settings.Clock, settings.Logger
	if s.Engine, err = tsdb.New(s.logs, settings.Logs); err != nil {
		return nil, errors.Join(err, s.disconnect())
	}
	greet := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, openWithin)
		defer cancel()
		return s.greet(ctx)
	}
	for _, step := range []func(context.Context) error{greet, s.migrate, s.repair} {
		if err := step(ctx); err != nil {
			s.stop()
			return nil, errors.Join(err, s.disconnect())
		}
	}
	s.greeted.Store(true)
	s.repairing.Go(s.repairAlways)
	s.Start()
	return s, nil
}

func (s *Store) clientOptions() *options.ClientOptions {
	return options.Client().ApplyURI(s.options.URI).
		SetAppName("hearth").
		SetMaxPoolSize(uint64(s.options.MaxConns)).
		SetMaxConnecting(8).
		SetServerSelectionTimeout(selectWithin).
		SetConnectTimeout(2 * time.Second).
		SetHeartbeatInterval(time.Second).
		SetTimeout(s.options.OperationTimeout).
		SetRetryWrites(true). // where the server offers them
		SetServerMonitor(&event.ServerMonitor{TopologyDescriptionChanged: s.topologyChanged}).
		SetPoolMonitor(&event.PoolMonitor{Event: s.poolChanged}).
		SetMonitor(s.options.commands)
}

func (s *Store) topologyChanged(e *event.TopologyDescriptionChangedEvent) {
	known := slices.ContainsFunc(e.NewDescription.Servers, func(d event.ServerDescription) bool { return d.Kind != "Unknown" })
	switch {
	case known && s.lostAt.Swap(0) != 0 && s.greeted.Load():
		s.options.Logger.Info("the database is back")
	case !known && s.lostAt.CompareAndSwap(0, time.Now().UnixNano()) && s.greeted.Load() && s.stopping.Err() == nil:
		s.options.Logger.Warn("no server of the database can be reached: requests that need it are refused until it is back")
	}
}

func (s *Store) poolChanged(e *event.PoolEvent) {
	switch e.Type {
	case event.ConnectionCheckedOut:
		s.inUse.Add(1)
	case event.ConnectionCheckedIn:
		s.inUse.Add(-1)
	}
}

// Pools reports how many connections are busy.
func (s *Store) Pools() []hearth.Pool {
	return []hearth.Pool{{Name: "mongodb", InUse: int(s.inUse.Load()), Max: s.options.MaxConns}}
}

// Close ends the repairing and closes the connections; operations after it fail with CodeUnavailable. It may be called twice.
func (s *Store) Close() error {
	s.stop()
	s.Stop()
	s.repairing.Wait()
	return s.disconnect()
}

func (s *Store) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.client.Disconnect(ctx); err != nil && !errors.Is(err, mongo.ErrClientDisconnected) {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

// Ping reports whether the server answers; CodeUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	return translate(ctx, s.client.Ping(ctx, readpref.Primary()))
}

func (s *Store) now() time.Time { return s.options.Clock.Now() }

// do runs one operation: it refuses at once while no server is known, bounds its time, turns the driver's errors into ours,
// and tells the observer. The name is that of the contract's method.
func (s *Store) do(ctx context.Context, name string, fn func(context.Context) error) error {
	return s.doInLine(ctx, name, "", fn)
}

// doInLine is do for one after another of those with the same line; "" waits for nobody.
func (s *Store) doInLine(ctx context.Context, name, line string, fn func(context.Context) error) error {
	return s.observed(ctx, name, func() error {
		bounded, cancel := context.WithTimeout(ctx, s.options.OperationTimeout)
		defer cancel()
		return s.inTurn(bounded, line, fn)
	})
}

// doLong is do for what may take long, such as a scan that waits for its reader: only each of its commands is bounded, unless
// ctx has a deadline. It holds none of the slots.
func (s *Store) doLong(ctx context.Context, name string, fn func(context.Context) error) error {
	return s.observed(ctx, name, func() error { return fn(ctx) })
}

func (s *Store) observed(ctx context.Context, name string, fn func() error) error {
	start := time.Now()
	err := s.reachable()
	if err == nil {
		err = translate(ctx, fn())
	}
	took := time.Since(start)
	s.options.Observer.Operation(ctx, name, took, err)
	if s.options.SlowQuery > 0 && took >= s.options.SlowQuery {
		s.options.Logger.WarnContext(ctx, "slow store operation", "operation", name, "took", took)
	}
	return err
}

// inTurn waits for the line and for one of the slots.
func (s *Store) inTurn(ctx context.Context, line string, fn func(context.Context) error) error {
	if line != "" {
		leave, err := s.queues.enter(ctx, line)
		if err != nil {
			return err
		}
		defer leave()
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return fn(ctx)
}

// reachable refuses work while no server has been known for a while: the driver would search for one each time.
func (s *Store) reachable() error {
	if lost := s.lostAt.Load(); lost != 0 && time.Since(time.Unix(0, lost)) > failFastAfter {
		return unavailable(errors.New("no server of the database can be reached"))
	}
	return nil
}
