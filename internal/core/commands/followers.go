package commands

import (
	"maps"
	"slices"
	"sync"
)

// followers are what is woken when a device may have a new command, by device. Who keeps the connections bounds them.
type followers struct {
	mu sync.Mutex
	of map[string][]*follower
}

type follower struct{ wake func() }

func (f *followers) add(deviceID string, wake func()) (stop func()) {
	one := &follower{wake}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[string][]*follower{}
	}
	f.of[deviceID] = append(f.of[deviceID], one)
	return func() { f.remove(deviceID, one) }
}

func (f *followers) remove(deviceID string, gone *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := slices.DeleteFunc(f.of[deviceID], func(one *follower) bool { return one == gone })
	if f.of[deviceID] = left; len(left) == 0 {
		delete(f.of, deviceID)
	}
}

func (f *followers) wake(deviceID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.of[deviceID] {
		one.wake()
	}
}

func (f *followers) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.of))
}
