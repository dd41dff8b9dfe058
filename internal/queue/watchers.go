package queue

import "sync"

// Watchers are the signals that a Backend's Watch has given out.
type Watchers struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

// Add returns a new signal, and what ends it.
func (w *Watchers) Add() (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[chan struct{}]struct{}{}
	}
	w.all[ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, ch)
	}
}

// Signal signals all.
func (w *Watchers) Signal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.all {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
