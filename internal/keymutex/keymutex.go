// Package keymutex locks by key: holders of one key exclude one another, those of different keys do not.
package keymutex

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrBusy is the error of Lock when MaxUsers callers hold or wait for the key.
var ErrBusy = errors.New("keymutex: too many callers wait for the key")

// Mutex is a mutex for each key. The zero Mutex is ready to use; it keeps nothing of a key that no caller uses.
type Mutex[K cmp.Ordered] struct {
	// MaxUsers bounds the callers that hold or wait for one key; 0 means no bound. Set it before the first Lock.
	MaxUsers int

	mu    sync.Mutex
	locks map[K]*lock
}

type lock struct {
	held  chan struct{} // has a value while a caller holds the key
	users int           // guarded by Mutex.mu
}

// Lock waits until no other caller holds the key and returns the function that releases it, which must be called once.
// It returns the context's error if ctx ends first, and ErrBusy at once when too many callers wait.
func (m *Mutex[K]) Lock(ctx context.Context, key K) (unlock func(), err error) {
	m.mu.Lock()
	l := m.locks[key]
	switch {
	case l == nil:
		if m.locks == nil {
			m.locks = map[K]*lock{}
		}
		l = &lock{held: make(chan struct{}, 1)}
		m.locks[key] = l
	case m.MaxUsers > 0 && l.users >= m.MaxUsers:
		m.mu.Unlock()
		return nil, ErrBusy
	}
	l.users++
	m.mu.Unlock()

	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; m.leave(key, l) }, nil
	case <-ctx.Done():
		m.leave(key, l)
		return nil, ctx.Err()
	}
}

// LockAll is Lock for all of the keys, which may name one more than once. Those of two calls are locked in one order, so that neither
// waits for the other.
func (m *Mutex[K]) LockAll(ctx context.Context, keys []K) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		release, err := m.Lock(ctx, key)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, release)
	}
	return unlock, nil
}

func (m *Mutex[K]) leave(key K, l *lock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(m.locks, key)
	}
}
