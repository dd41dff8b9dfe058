package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"hearth"
)

// LogOptions tune how logs are stored. The zero value is right for everybody but tests.
type LogOptions struct {
	// FoldRows is the size of the tail, in logs, from which it is folded, and about as many as one fold takes.
	FoldRows int
	// ChunkRows is the largest number of logs of a chunk.
	ChunkRows int
	// FoldIdle is the silence after which a smaller tail is folded, and FoldAge the age.
	FoldIdle time.Duration
	FoldAge  time.Duration
}

func (o LogOptions) withDefaults() (LogOptions, error) {
	if o.FoldRows == 0 {
		o.FoldRows = 1 << 15
	}
	if o.ChunkRows == 0 {
		o.ChunkRows = 1 << 13
	}
	if o.FoldIdle == 0 {
		o.FoldIdle = 2 * time.Second
	}
	if o.FoldAge == 0 {
		o.FoldAge = 30 * time.Second
	}
	if o.FoldRows < 1 || o.ChunkRows < 1 || o.ChunkRows > maxTailRow || o.FoldIdle < 0 || o.FoldAge < 0 {
		return o, errors.New("sqlite: the log options are out of range")
	}
	return o, nil
}

// folder folds the tail in the background.
type folder struct {
	store *Store
	// grown takes the number of logs that a commit stored; it never blocks the writer.
	grown    chan struct{}
	mu       sync.Mutex
	waiting  int
	stopping chan struct{}
	done     chan struct{}
	stopOnce sync.Once
}

// startFolder starts with a look at the tail, which a crash may have left full.
func startFolder(s *Store) *folder {
	f := &folder{store: s, grown: make(chan struct{}, 1), waiting: 1, stopping: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	return f
}

func (f *folder) stop() {
	f.stopOnce.Do(func() { close(f.stopping) })
	<-f.done
}

// add tells that the tail grew.
func (f *folder) add(entries int) {
	f.mu.Lock()
	f.waiting += entries
	f.mu.Unlock()
	select {
	case f.grown <- struct{}{}:
	default:
	}
}

func (f *folder) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

func (f *folder) run() {
	defer close(f.done)
	options := f.store.options.Logs
	idle := time.NewTimer(options.FoldIdle)
	defer idle.Stop()
	oldest := time.Now()
	for {
		due := false
		select {
		case <-f.stopping:
			return
		case <-f.grown:
			due = f.size() >= options.FoldRows || time.Since(oldest) >= options.FoldAge
			idle.Reset(options.FoldIdle)
		case <-idle.C:
			due = f.size() > 0
		}
		if due {
			f.foldAll()
			oldest = time.Now()
		} else if f.size() == 0 {
			oldest = time.Now()
		}
	}
}

// foldAll folds until less than a full fold is left; after a silence that is nothing.
func (f *folder) foldAll() {
	for {
		select {
		case <-f.stopping:
			return
		default:
		}
		left, err := f.store.foldOnce(context.Background())
		if err != nil {
			if hearth.ErrorCode(err) != hearth.CodeUnavailable {
				f.store.options.Logger.Error("logs could not be folded", "err", err)
			}
			return
		}
		f.mu.Lock()
		f.waiting = left
		f.mu.Unlock()
		if left < f.store.options.Logs.FoldRows {
			return
		}
	}
}

// foldOnce folds once; left is the size of the tail that remains.
func (s *Store) foldOnce(ctx context.Context) (left int, err error) {
	err = s.write(ctx, func(t *tx) error {
		if _, err := s.fold(t); err != nil {
			return err
		}
		size, err := t.w.logs.tailSize(t)
		left = int(size)
		return err
	})
	return left, err
}
