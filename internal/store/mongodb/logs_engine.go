package mongodb

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// LogOptions say when logs move on. Zero fields have defaults.
type LogOptions struct {
	// FoldRows is the number of logs in a lane from which they are folded at once; 0 is 32,768.
	FoldRows int
	// FoldAge is how long logs wait to be folded; 0 is 5 s.
	FoldAge time.Duration
	// ChunkRows is the number of logs of a document at most; 0 is 8,192.
	ChunkRows int
}

func (o LogOptions) withDefaults() LogOptions {
	o.FoldRows = cmp.Or(o.FoldRows, 1<<15)
	o.FoldAge = cmp.Or(o.FoldAge, 5*time.Second)
	o.ChunkRows = min(cmp.Or(o.ChunkRows, maxChunk), maxChunk)
	return o
}

// The range of times that a log may have.
const (
	firstMilli = -62135596800000
	endMilli   = 253402300800000
)

// logEngine keeps the logs; docs/adr/0010-logs-in-mongodb.md reports how.
type logEngine struct {
	store   *Store
	options LogOptions
	// name tells this engine from those of other processes.
	name string

	batches, lanes, names, chunks, sums, days, checkpoints, devices *mongo.Collection

	known    names
	homes    homes
	tail     tailCache
	group    appendGroup
	numbers  numbers
	stepping [laneCount]sync.Mutex
	folder   folder
}

func newLogEngine(s *Store, settings LogOptions) *logEngine {
	e := &logEngine{store: s, options: settings.withDefaults(), name: uuid.NewString()}
	for name, at := range map[string]**mongo.Collection{
		collBatches: &e.batches, collLanes: &e.lanes, collNames: &e.names, collLogs: &e.chunks, collRollups: &e.sums,
		collRollupDays: &e.days, collCheckpoints: &e.checkpoints, collDevices: &e.devices,
	} {
		*at = s.db.Collection(name)
	}
	e.tail.limit = 16 * e.options.FoldRows
	e.folder.init(e)
	return e
}

func (e *logEngine) now() time.Time { return e.store.now() }

// crash stands before every step that writes: in tests it ends the write as the end of the process would.
func (e *logEngine) crash(at string) error {
	return e.store.crashes("logs." + at)
}

// folder folds lanes in the background: when many logs wait, and when some have waited long.
type folder struct {
	engine *logEngine
	mu     sync.Mutex
	// waiting counts logs of this process by lane; since is when the first of them came.
	waiting [laneCount]int
	since   [laneCount]time.Time

	wake chan struct{}
}

func (f *folder) init(e *logEngine) { f.engine, f.wake = e, make(chan struct{}, 1) }

// wrote notes logs that wait in a lane and returns their number.
func (f *folder) wrote(lane int64, n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting[lane] == 0 {
		f.since[lane] = time.Now()
	}
	f.waiting[lane] += n
	if f.waiting[lane] >= f.engine.options.FoldRows {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return f.waiting[lane]
}

func (f *folder) folded(lane int64, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting[lane] = max(0, f.waiting[lane]-n)
	f.since[lane] = time.Now()
}

// due returns the lanes to fold now.
func (f *folder) due() (lanes []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lane := range f.waiting {
		n := f.waiting[lane]
		if n >= f.engine.options.FoldRows || n > 0 && time.Since(f.since[lane]) >= f.engine.options.FoldAge {
			lanes = append(lanes, int64(lane))
		}
	}
	return lanes
}

// run folds until the store stops.
func (f *folder) run(ctx context.Context) {
	tick := time.NewTicker(max(time.Millisecond, f.engine.options.FoldAge/4))
	defer tick.Stop()
	strays := time.NewTicker(2 * leaseTime)
	defer strays.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-strays.C:
			f.report(ctx, f.engine.foldStrays(ctx))
			continue
		case <-tick.C:
		case <-f.wake:
		}
		for _, lane := range f.due() {
			if ctx.Err() != nil {
				return
			}
			_, err := f.engine.foldLane(ctx, lane)
			f.report(ctx, err)
		}
	}
}

func (f *folder) report(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, errBusy) && ctx.Err() == nil {
		f.engine.store.options.Logger.WarnContext(ctx, "folding logs failed; it will be tried again", "error", err)
	}
}

// foldLane folds the oldest batches of a lane; folded is the number of their logs, 0 if there are none.
func (e *logEngine) foldLane(ctx context.Context, lane int64) (folded int, err error) {
	err = e.step(ctx, lane, func() (*laneWork, error) {
		// By the index of open.
		cursor, err := e.batches.Find(ctx, bson.M{"open": lane, "draft": nil}, projecting("n").SetSort(bson.M{"_id": 1}).SetLimit(maxFoldBatches))
		if err != nil {
			return nil, err
		}
		var metas []batchDoc
		if err := cursor.All(ctx, &metas); err != nil {
			return nil, err
		}
		work := &laneWork{}
		for _, m := range metas {
			if len(work.Batches) > 0 && folded+m.N > 2*e.options.FoldRows {
				break
			}
			work.Batches = append(work.Batches, m.First)
			folded += m.N
		}
		if len(work.Batches) == 0 {
			e.folder.folded(lane, math.MaxInt) // others were here
			return nil, nil
		}
		return work, nil
	})
	if err != nil {
		return 0, err
	}
	e.folder.folded(lane, folded)
	return folded, nil
}

// maxFoldBatches bounds the batches of one step, so that its state stays small.
const maxFoldBatches = 2000

// foldAll folds what waits, and ends steps that were broken off.
func (e *logEngine) foldAll(ctx context.Context) error {
	for {
		lanes, more, err := e.waiting(ctx, live(bson.E{Key: "open", Value: bson.M{"$gte": 0}})) // by the index of open
		if err != nil {
			return err
		}
		for _, lane := range lanes {
			if err := e.foldWhole(ctx, lane); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// foldWhole folds a lane until nothing waits in it.
func (e *logEngine) foldWhole(ctx context.Context, lane int64) error {
	for try := 0; ; {
		n, err := e.foldLane(ctx, lane)
		switch {
		case errors.Is(err, errBusy):
			if err := pause(ctx, try); err != nil {
				return err
			}
			try++
		case err != nil || n == 0:
			return err
		}
	}
}

// foldStrays folds the lanes of batches that have waited too long, and ends steps that were broken off: their process is gone.
func (e *logEngine) foldStrays(ctx context.Context) error {
	lanes, _, err := e.waiting(ctx, live(bson.E{Key: "at", Value: bson.M{"$lt": e.now().Add(-leaseTime).UnixMilli()}}))
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		if _, err := e.foldLane(ctx, lane); err != nil && !errors.Is(err, errBusy) {
			return err
		}
	}
	return nil
}

// waiting returns the lanes of the oldest batches that match, and those with a step under way; more tells that more batches match.
func (e *logEngine) waiting(ctx context.Context, batches bson.D) (lanes []int64, more bool, err error) {
	metas, err := findAll[batchDoc](ctx, e.batches, batches, projecting("open").SetSort(bson.M{"_id": 1}).SetLimit(maxFoldBatches))
	if err != nil {
		return nil, false, err
	}
	states, err := findAll[laneState](ctx, e.lanes, bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "work", Value: bson.D{{Key: "$exists", Value: true}}}}, bson.D{{Key: "applied", Value: bson.D{{Key: "$exists", Value: true}}}},
	}}})
	if err != nil {
		return nil, false, err
	}
	for _, m := range metas {
		lanes = append(lanes, m.Open...)
	}
	for _, s := range states {
		lanes = append(lanes, s.ID)
	}
	slices.Sort(lanes)
	return slices.Compact(lanes), len(metas) == maxFoldBatches, nil
}

func projecting(fields ...string) *options.FindOptionsBuilder {
	p := bson.M{}
	for _, f := range fields {
		p[f] = 1
	}
	return options.Find().SetProjection(p)
}
