package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
)

// Options are the store's, which mongodb.Options explains, and what steps need to know of it.
type Options struct {
	URI              string
	MaxConns         int
	OperationTimeout time.Duration
	Clock            hearth.Clock
	Logger           *slog.Logger
	Observer         hearth.StoreObserver
	SlowQuery        time.Duration
	RepairEvery      time.Duration
	Grace            time.Duration
	// Lockable are the collections whose documents take part in steps. Each has an index of lock.
	Lockable []string
	// Commands sees every command to the server; for tests.
	Commands *event.CommandMonitor
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
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
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
	// greetWithin bounds the search for a server by Greet, and selectWithin the search for a server that can take a command.
	greetWithin  = 9 * time.Second
	selectWithin = time.Second
	// failFastAfter is how long no server is known before commands are refused without a search: shorter would refuse them
	// during the moment that the driver takes to look again after one broken connection.
	failFastAfter = 2 * time.Second
	// spareConns are for what is done beside operations: repairing, and reading further in a cursor that is open.
	spareConns = 10
	// maxConns bounds what the URI may ask for.
	maxConns = 10_000
)

// The collections of steps; docs/reference/mongodb.md tells what each holds.
const (
	Counters  = "counters"
	Guards    = "guards"
	Commits   = "commits"
	Audit     = "audit"
	AuditHead = "audit_head"
	Outbox    = "outbox"
)

// DB is a database with atomic steps. All its methods may be called at once from many goroutines.
type DB struct {
	// Options are those of Connect, with the defaults of what was left out.
	Options Options
	client  *mongo.Client
	// primary reads from the primary and writes with majority and journal; lagging follows the URI's read preference; loose
	// writes what may be lost without harm.
	primary, lagging, loose *mongo.Database
	// tls reports whether the URI asks for it.
	tls bool

	queues queues
	// slots are the operations that may be under way at once: as many as there are connections for, so that those beyond wait
	// here, and not for a connection.
	slots  chan struct{}
	audits *appender
	// outbox and hooks are told of writes with jobs.
	outbox, hooks chan struct{}
	// lostAt is when the last server was lost, in Unix nanoseconds; 0 while one is known.
	lostAt atomic.Int64
	// running is set by Start: what happens before it is in the error of who opens the database.
	running atomic.Bool
	inUse   atomic.Int64
	// Crash, in tests, is asked before every part of a step; an error of it ends the step as a crash of the process would.
	Crash func(at string) error

	stopping  context.Context
	stop      context.CancelFunc
	repairing sync.WaitGroup
}

// CheckURI reports what is wrong with a connection string, without connecting. What mongodb+srv:// means is only known to DNS.
func CheckURI(text string) error {
	if srv, ok := strings.CutPrefix(text, "mongodb+srv://"); ok {
		host := srv[:strings.IndexAny(srv+"/", "/?")]
		if strings.ContainsAny(host[strings.LastIndexByte(host, '@')+1:], ":,") {
			return errors.New("mongodb: mongodb+srv:// takes one host without a port: DNS names the servers and their ports")
		}
		return nil
	}
	_, err := parseURI(text)
	return err
}

// parseURI reads a connection string, and refuses what the driver would pass over.
func parseURI(text string) (*connstring.ConnString, error) {
	uri, err := connstring.ParseAndValidate(text)
	if err != nil {
		return nil, fmt.Errorf("mongodb: the store's URI is not a MongoDB connection string: %w", Redacted(err, text))
	}
	for name := range uri.UnknownOptions {
		return nil, fmt.Errorf("mongodb: the store's URI has the option %q, which MongoDB does not know", name)
	}
	orDefault(&uri.Database, "hearth")
	if strings.ContainsAny(uri.Database, `/\. "$*<>:|?`) || len(uri.Database) > maxDatabase {
		return nil, errors.New("mongodb: the path of the store's URI must be the name of one database, such as /hearth")
	}
	if slices.Contains([]string{"admin", "config", "local"}, uri.Database) {
		return nil, fmt.Errorf("mongodb: the store's URI names the database %q, which MongoDB keeps for itself", uri.Database)
	}
	return uri, nil
}

// maxDatabase is the longest name of a database, in bytes.
const maxDatabase = 63

// Connect returns the database of the URI, without a command to it. The error says what to change.
func Connect(settings Options) (*DB, error) {
	settings, err := settings.validate()
	if err != nil {
		return nil, err
	}
	uri, err := parseURI(settings.URI)
	if err != nil {
		return nil, err
	}
	if uri.MaxPoolSizeSet && uri.MaxPoolSize < maxConns {
		orDefault(&settings.MaxConns, int(uri.MaxPoolSize))
	}
	orDefault(&settings.MaxConns, 100)
	db := &DB{
		Options: settings, tls: uri.SSL, outbox: make(chan struct{}, 1), hooks: make(chan struct{}, 1),
		slots: make(chan struct{}, max(1, settings.MaxConns-spareConns)),
	}
	db.audits = newAppender(db)
	if db.client, err = mongo.Connect(db.clientOptions()); err != nil {
		return nil, fmt.Errorf("mongodb: the store's URI cannot be used: %w", Redacted(err, settings.URI))
	}
	db.stopping, db.stop = context.WithCancel(context.Background()) // of the goroutine that repairs
	majority := &writeconcern.WriteConcern{W: "majority", Journal: new(true)}
	db.primary = db.client.Database(uri.Database, options.Database().SetReadPreference(readpref.Primary()).SetWriteConcern(majority))
	db.lagging = db.client.Database(uri.Database, options.Database().SetWriteConcern(majority))
	db.loose = db.client.Database(uri.Database, options.Database().SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.W1()))
	return db, nil
}

func (db *DB) clientOptions() *options.ClientOptions {
	return options.Client().ApplyURI(db.Options.URI).
		SetAppName("hearth").
		SetMaxPoolSize(uint64(db.Options.MaxConns)).
		SetMaxConnecting(8).
		SetServerSelectionTimeout(selectWithin).
		SetConnectTimeout(2 * time.Second).
		SetHeartbeatInterval(time.Second).
		SetTimeout(db.Options.OperationTimeout).
		SetRetryWrites(true). // where the server offers them
		SetServerMonitor(&event.ServerMonitor{TopologyDescriptionChanged: db.topologyChanged}).
		SetPoolMonitor(&event.PoolMonitor{Event: db.poolChanged}).
		SetMonitor(db.Options.Commands)
}

// Start repairs from now on what crashed processes leave, until Close.
func (db *DB) Start() {
	db.running.Store(true)
	db.repairing.Go(db.repairAlways)
}

// Close ends the repairing and closes the connections; operations after it fail with CodeUnavailable. It may be called twice.
func (db *DB) Close() error {
	db.stop()
	db.repairing.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := db.client.Disconnect(ctx); err != nil && !errors.Is(err, mongo.ErrClientDisconnected) {
		return fmt.Errorf("disconnect from MongoDB: %w", err)
	}
	return nil
}

func (db *DB) topologyChanged(e *event.TopologyDescriptionChangedEvent) {
	known := slices.ContainsFunc(e.NewDescription.Servers, func(d event.ServerDescription) bool { return d.Kind != "Unknown" })
	switch {
	case known && db.lostAt.Swap(0) != 0 && db.running.Load():
		db.Options.Logger.Info("the database is back")
	case !known && db.lostAt.CompareAndSwap(0, time.Now().UnixNano()) && db.running.Load() && db.stopping.Err() == nil:
		db.Options.Logger.Warn("no server of the database can be reached: requests that need it are refused until it is back")
	}
}

func (db *DB) poolChanged(e *event.PoolEvent) {
	switch e.Type {
	case event.ConnectionCheckedOut:
		db.inUse.Add(1)
	case event.ConnectionCheckedIn:
		db.inUse.Add(-1)
	}
}

// Pools reports how many connections are busy.
func (db *DB) Pools() []hearth.Pool {
	return []hearth.Pool{{Name: "mongodb", InUse: int(db.inUse.Load()), Max: db.Options.MaxConns}}
}

// Ping reports whether the server answers; CodeUnavailable.
func (db *DB) Ping(ctx context.Context) error {
	return Translate(ctx, db.client.Ping(ctx, readpref.Primary()))
}

// Collection returns a collection, which is read from the primary and written with majority and journal.
func (db *DB) Collection(name string) *mongo.Collection { return db.primary.Collection(name) }

// Lagging returns a collection that is read as the URI says: for lists that may lag.
func (db *DB) Lagging(name string) *mongo.Collection { return db.lagging.Collection(name) }

// Now is the store's time.
func (db *DB) Now() time.Time { return db.Options.Clock.Now() }

// Do runs one operation: it refuses at once while no server is known, bounds its time, turns the driver's errors into ours,
// and tells the observer. The name is that of the contract's method.
func (db *DB) Do(ctx context.Context, name string, fn func(context.Context) error) error {
	return db.doInLine(ctx, name, "", fn)
}

// doInLine is do for one after another of those with the same line; "" waits for nobody.
func (db *DB) doInLine(ctx context.Context, name, line string, fn func(context.Context) error) error {
	return db.observed(ctx, name, func() error {
		bounded, cancel := context.WithTimeout(ctx, db.Options.OperationTimeout)
		defer cancel()
		return db.inTurn(bounded, line, fn)
	})
}

// DoLong is do for what may take long, such as a scan that waits for its reader: only each of its commands is bounded, unless
// ctx has a deadline. It holds none of the slots.
func (db *DB) DoLong(ctx context.Context, name string, fn func(context.Context) error) error {
	return db.observed(ctx, name, func() error { return fn(ctx) })
}

// Ask runs commands that are a part of some operation.
func (db *DB) Ask(ctx context.Context, fn func(context.Context) error) error {
	if err := db.reachable(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, db.Options.OperationTimeout)
	defer cancel()
	return Translate(ctx, fn(bounded))
}

func (db *DB) observed(ctx context.Context, name string, fn func() error) error {
	start := time.Now()
	err := db.reachable()
	if err == nil {
		err = Translate(ctx, fn())
	}
	took := time.Since(start)
	db.Options.Observer.Operation(ctx, name, took, err)
	if db.Options.SlowQuery > 0 && took >= db.Options.SlowQuery {
		db.Options.Logger.WarnContext(ctx, "slow store operation", "operation", name, "took", took)
	}
	return err
}

// inTurn waits for the line and for one of the slots.
func (db *DB) inTurn(ctx context.Context, line string, fn func(context.Context) error) error {
	if line != "" {
		leave, err := db.queues.enter(ctx, line)
		if err != nil {
			return err
		}
		defer leave()
	}
	select {
	case db.slots <- struct{}{}:
		defer func() { <-db.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return fn(ctx)
}

// reachable refuses work while no server has been known for a while: the driver would search for one each time.
func (db *DB) reachable() error {
	if lost := db.lostAt.Load(); lost != 0 && time.Since(time.Unix(0, lost)) > failFastAfter {
		return unavailable(errors.New("no server of the database can be reached"))
	}
	return nil
}
