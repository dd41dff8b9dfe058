package commands

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
)

// waits are the calls that wait for something to happen to a key: to a device or to a command.
type waits struct {
	// closed is closed when no call may wait any more.
	closed chan struct{}

	mu         sync.Mutex
	keys       map[string][]*waiting // the oldest of a key first
	n          int
	most, each int
	stopped    bool
}

// waiting is one call that waits.
type waiting struct {
	// wake is signalled when something happened, or with displaced.
	wake chan struct{}
	// displaced is set once the wait is over because newer ones of the key took its place.
	displaced atomic.Bool
	// handed is the command that it waited for, where that is known: the first one of the device.
	handed atomic.Pointer[hearth.Command]
}

// newWaits returns waits for most calls, each of one key.
func newWaits(most, each int) *waits {
	return &waits{closed: make(chan struct{}), keys: map[string][]*waiting{}, most: most, each: each}
}

// add begins a wait. CodeUnavailable if there are too many.
func (w *waits) add(key string) (*waiting, error) {
	added := &waiting{wake: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= w.most {
		return nil, &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many requests wait for commands here", RetryAfter: 5 * time.Second}
	}
	of := w.keys[key]
	if len(of) >= w.each { // a device that lost its connection comes back, and its old request still waits
		of[0].displaced.Store(true)
		of[0].signal()
		of = of[1:]
		w.n--
	}
	w.keys[key] = append(slices.Clip(of), added)
	w.n++
	return added, nil
}

// remove ends a wait.
func (w *waits) remove(key string, gone *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.keys[key]
	for i, one := range of {
		if one != gone {
			continue
		}
		w.n--
		if len(of) == 1 {
			delete(w.keys, key)
			return
		}
		w.keys[key] = append(of[:i:i], of[i+1:]...)
		return
	}
}

// wake wakes the waits of a key.
func (w *waits) wake(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.keys[key] {
		one.signal()
	}
}

// hand is wake with a command for which the waits of the device need not look.
func (w *waits) hand(deviceID string, c hearth.Command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.keys[deviceID] {
		one.handed.Store(&c)
		one.signal()
	}
}

func (w *waiting) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// all returns the keys that are waited for.
func (w *waits) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := make([]string, 0, len(w.keys))
	for key := range w.keys {
		keys = append(keys, key)
	}
	return keys
}

func (w *waits) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// stop ends all waits, and those that begin later.
func (w *waits) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.stopped = true
		close(w.closed)
	}
}
