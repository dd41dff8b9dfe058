package alarms

import (
	"slices"
	"sync"
)

// maxWork bounds the devices that wait to be judged here; the readings of one beyond it are found in the store.
const maxWork = 100_000

// worklist are the devices to judge, each by one goroutine at a time.
type worklist struct {
	mu      sync.Mutex
	waiting []string
	// state has every device that waits or is judged; one that is judged is judged again if again.
	state   map[string]*workState
	ready   *sync.Cond
	stopped bool
}

type workState struct{ judged, again bool }

func newWorklist() *worklist {
	w := &worklist{state: map[string]*workState{}}
	w.ready = sync.NewCond(&w.mu)
	return w
}

func (w *worklist) add(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		switch of := w.state[id]; {
		case of != nil:
			of.again = of.judged
		case len(w.state) < maxWork && !w.stopped:
			w.state[id] = &workState{}
			w.waiting = append(w.waiting, id)
			w.ready.Signal()
		}
	}
}

// next waits for devices, and returns up to n of them; none once the list is stopped.
func (w *worklist) next(n int) (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && !w.stopped {
		w.ready.Wait()
	}
	if w.stopped {
		return nil
	}
	n = min(n, len(w.waiting))
	ids, w.waiting = slices.Clone(w.waiting[:n]), w.waiting[n:]
	for _, id := range ids {
		w.state[id].judged = true
	}
	return ids
}

func (w *worklist) done(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.state[id]
	if !of.again {
		delete(w.state, id)
		return
	}
	*of = workState{}
	w.waiting = append(w.waiting, id)
	w.ready.Signal()
}

func (w *worklist) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.ready.Broadcast()
}
