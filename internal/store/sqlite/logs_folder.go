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

// maxTailRows bounds the rows of the tail, because every question lists them: small commits are folded by their number.
const maxTailRows = 512

// tailSize is the size of the stored tail.
type tailSize struct{ entries, rows int64 }

// full reports whether the tail is worth a fold, or so many of them.
func (n tailSize) full(options LogOptions, folds int64) bool {
	return n.entries >= folds*int64(options.FoldRows) || n.rows >= folds*maxTailRows
}

// folder folds the tail in the background.
type folder struct {
	store *Store
	// grown tells that the tail grew; telling never blocks the writer.
	grown    chan struct{}
	mu       sync.Mutex
	size     tailSize
	stopping chan struct{}
	done     chan struct{}
	stopOnce sync.Once
}

// startFolder starts with a look at the tail, which a crash may have left full.
func startFolder(s *Store) *folder {
	f := &folder{store: s, grown: make(chan struct{}, 1), size: tailSize{1, 1}, stopping: make(chan struct{}), done: make(chan struct{})}
	go f.run()
	return f
}

func (f *folder) stop() {
	f.stopOnce.Do(func() { close(f.stopping) })
	<-f.done
}

// add tells that the tail grew.
func (f *folder) add(by tailSize) {
	f.mu.Lock()
	f.size.entries += by.entries
	f.size.rows += by.rows
	f.mu.Unlock()
	select {
	case f.grown <- struct{}{}:
	default:
	}
}

func (f *folder) tail() tailSize {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

func (f *folder) run() {
	defer close(f.done)
	options := f.store.options.Logs
	idle := time.NewTimer(options.FoldIdle)
	defer idle.Stop()
	oldest := time.Now()
	for {
		select {
		case <-f.stopping:
			return
		case <-f.grown:
			if f.tail().full(options, 1) {
				f.foldWhile(func(left tailSize) bool { return left.full(options, 1) })
				oldest = time.Now()
			} else if time.Since(oldest) >= options.FoldAge {
				f.foldWhile(func(left tailSize) bool { return left.rows > 0 })
				oldest = time.Now()
			}
		case <-idle.C:
			if f.tail().rows > 0 {
				f.foldWhile(func(left tailSize) bool { return left.rows > 0 })
			}
			oldest = time.Now()
		}
		idle.Reset(options.FoldIdle)
	}
}

// foldWhile folds once, and again while more wants it.
func (f *folder) foldWhile(more func(left tailSize) bool) {
	for {
		select {
		case <-f.stopping:
			return
		default:
		}
		left, err := f.store.foldOnce(context.Background())
		if err != nil {
			// The next growth or silence tries again; nothing is lost meanwhile.
			if hearth.ErrorCode(err) != hearth.CodeUnavailable {
				f.store.options.Logger.Error("logs could not be folded", "err", err)
			}
			return
		}
		f.mu.Lock()
		f.size = left
		f.mu.Unlock()
		if !more(left) {
			return
		}
	}
}

// foldOnce folds once; left is the size of the tail that remains.
func (s *Store) foldOnce(ctx context.Context) (left tailSize, err error) {
	err = s.write(ctx, "FoldOnce", func(t *tx) error {
		if err := s.fold(t); err != nil {
			return err
		}
		var err error
		left, err = t.w.logs.tailSize(t)
		return err
	})
	return left, err
}
