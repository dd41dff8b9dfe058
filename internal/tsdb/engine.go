package tsdb

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"hearth"
)

// Options tune the engine. The zero Options are right for everyone but tests.
type Options struct {
	// FoldRows is the number of logs of a partition's tail from which it is folded, and about as many as one fold takes; 0 is 32,768.
	FoldRows int
	// ChunkRows is the largest number of logs of a chunk; 0 is 8,192.
	ChunkRows int
	// FoldIdle is the silence after which a smaller tail is folded (0 is 2 s), FoldAge the age (0 is 30 s).
	FoldIdle, FoldAge time.Duration
	// Events is how many events a scope may have, DeviceEvents a device; 0 is any number.
	Events, DeviceEvents int
	// Bytes is about how many bytes the logs of a scope may take with their rollups; 0 is any number. What other processes have stored counts
	// within a minute.
	Bytes int64
	// GiveWay, if set, is called after each fold that many documents cut short, with how long it took. The partition is folded again once it
	// returns.
	GiveWay func(ctx context.Context, took time.Duration)
	// Clock is the time of the memory of devices and of graves.
	Clock hearth.Clock
	// Logger takes what goes wrong in the background; nil discards it.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	o.FoldRows = cmp.Or(o.FoldRows, 1<<15)
	o.ChunkRows = cmp.Or(o.ChunkRows, 1<<13)
	o.FoldIdle = cmp.Or(o.FoldIdle, 2*time.Second)
	o.FoldAge = cmp.Or(o.FoldAge, 30*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.FoldRows < 1 || o.ChunkRows < 1 || o.ChunkRows > MaxRow || o.FoldIdle < 0 || o.FoldAge < 0 {
		return o, errors.New("tsdb: the options of logs are out of range")
	}
	return o, nil
}

// Engine stores and finds logs. All its methods may be called at once from many goroutines.
type Engine struct {
	backend Backend
	options Options
	tail    tailCache
	claims  claims
	names   names
	known   known
	room    room
	// memory holds *viewMemory that no question uses.
	memory     sync.Pool
	partitions []partition
	folder     folder

	reclaimed struct {
		sync.Mutex
		// from is the day from which on logs of deleted devices of a scope are still looked for.
		from map[int64]int64
	}
}

// New returns an engine over a backend. Start folds in the background.
func New(backend Backend, options Options) (*Engine, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{backend: backend, options: options, partitions: make([]partition, backend.Partitions())}
	e.claims.seed, e.claims.held = maphash.MakeSeed(), map[uint64]chan struct{}{}
	e.tail.limit = 16 * options.FoldRows * logBytes
	e.folder.wake = make(chan struct{}, 1)
	e.folder.stopping, e.folder.stop = context.WithCancel(context.Background()) //nolint:fatcontext // of the folder, until Stop
	e.reclaimed.from = map[int64]int64{}
	return e, nil
}

// maxTailRows bounds the rows of the tail, because every question lists them: small commits are folded by their number.
const maxTailRows = 512

// partition is what the engine knows of a partition's tail.
type partition struct {
	// folding is held by who changes the partition.
	folding sync.Mutex

	mu sync.Mutex
	// logs and rows wait to be folded, those that this engine has seen; first and last are when the oldest and the newest of them came.
	logs, rows  int
	first, last time.Time
	debts       debts
}

// grew counts logs that wait, and reports whether they are worth a fold.
func (p *partition) grew(logs int, options *Options) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if p.rows == 0 {
		p.first = p.last
	}
	p.logs += logs
	p.rows++
	return p.full(options, 1)
}

// owe notes what folding a row costs.
func (p *partition) owe(row int64, owed []debt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.debts.owe(row, owed)
}

// full reports whether the tail is worth a number of folds. The caller holds mu.
func (p *partition) full(options *Options, folds int) bool {
	return p.logs >= folds*options.FoldRows || p.rows >= folds*maxTailRows
}

// due reports whether the tail is to be folded now.
func (p *partition) due(options *Options) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rows > 0 && (p.full(options, 1) || time.Since(p.last) >= options.FoldIdle || time.Since(p.first) >= options.FoldAge)
}

// crowded reports whether the logs of a scope come faster than they are folded, or those of all scopes together much faster.
func (p *partition) crowded(scope int64, options *Options) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.debts.of[scope] > max(16, min(maxOwed, 4*options.FoldRows/logsADocument)) || p.full(options, 16)
}

// folder folds partitions in the background.
type folder struct {
	wake     chan struct{}
	stopping context.Context //nolint:containedctx // the life of a goroutine
	stop     context.CancelFunc
	done     sync.WaitGroup
	// seen are the rows that were in the tail at the last look for what others left.
	seen map[int64]bool
}

// strayTime is how often the engine looks for rows that another process has left in the tail.
const strayTime = 20 * time.Second

// Start begins to fold in the background.
func (e *Engine) Start() { e.folder.done.Go(e.run) }

// Stop ends folding in the background. It may be called twice.
func (e *Engine) Stop() {
	e.folder.stop()
	e.folder.done.Wait()
}

func (e *Engine) run() {
	ctx := e.folder.stopping
	e.report(e.adoptStrays(ctx))
	tick := time.NewTicker(max(time.Millisecond, min(e.options.FoldIdle, e.options.FoldAge)/4))
	defer tick.Stop()
	strays := time.NewTicker(strayTime)
	defer strays.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-strays.C:
			e.report(e.adoptStrays(ctx))
		case <-tick.C:
		case <-e.folder.wake:
		}
		for i := range e.partitions {
			for ctx.Err() == nil && e.partitions[i].due(&e.options) {
				if folded, err := e.Fold(ctx, i); err != nil || folded == 0 {
					e.report(err)
					break
				}
			}
		}
	}
}

func (e *Engine) report(err error) {
	// What a busy partition, another engine that was faster, or a lost database left undone is done later; nothing is lost meanwhile.
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrStale) && e.folder.stopping.Err() == nil && hearth.ErrorCode(err) != hearth.CodeUnavailable {
		e.options.Logger.Error("folding logs failed; it will be tried again", "error", err)
	}
}

// adoptStrays counts rows that were in the tail the last time too, and that this engine has not stored: their process is gone, or slow.
// At the start all are.
func (e *Engine) adoptStrays(ctx context.Context) error {
	seen := map[int64]bool{}
	strays := make([]int, len(e.partitions))
	err := e.backend.View(ctx, ViewOptions{Operation: "Strays"}, func(s Snapshot) error {
		rows, err := s.Tail(ctx, firstMilli, endMilli)
		for _, row := range rows {
			if e.tail.find(row.ID) != nil {
				continue
			}
			seen[row.ID] = true
			for _, p := range row.Partitions {
				if e.folder.seen == nil || e.folder.seen[row.ID] {
					strays[p] += row.Entries
				}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	e.folder.seen = seen
	for i, logs := range strays {
		if logs > 0 {
			e.partitions[i].grew(logs, &e.options)
		}
	}
	return nil
}

// Stored takes note of rows that the backend has stored.
func (e *Engine) Stored(rows ...*Row) {
	full := false
	for _, row := range rows {
		full = e.stored(row) || full
	}
	if full {
		select {
		case e.folder.wake <- struct{}{}:
		default:
		}
	}
}

// stored takes note of one row, and reports whether a partition is worth a fold now.
func (e *Engine) stored(row *Row) (full bool) {
	if !e.tail.add(row) {
		return false
	}
	debts := debtsOf(row)
	for _, p := range row.Partitions {
		e.partitions[p].owe(row.ID, slices.DeleteFunc(slices.Clone(debts), func(d debt) bool { return e.backend.Partition(d.key.Scope) != p }))
		logs := row.Entries
		if len(row.Partitions) > 1 {
			logs = 0
			for i := range row.chunk.Entries {
				if e.backend.Partition(row.chunk.Series[row.chunk.Entries[i].Series].Scope) == p {
					logs++
				}
			}
		}
		full = e.partitions[p].grew(logs, &e.options) || full
	}
	return full
}
