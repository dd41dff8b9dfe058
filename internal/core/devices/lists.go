package devices

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth"
)

const (
	// deviceSize is about what a listed device costs beside its texts, in bytes.
	deviceSize = 400
	// maxGenerations bounds the scopes whose changes are counted one by one.
	maxGenerations = 50_000
)

// lists keeps pages of devices. A page ends when a device of its scopes is created, changed or deleted, not by
// heartbeats: what they change is laid over it when it is read.
type lists struct {
	mu    sync.Mutex
	pages map[string]*cachedPage
	bytes int
	limit int
	// generations count the changes of each scope, every those of all.
	generations map[hearth.Scope]uint64
	every       uint64
	// epoch counts how often generations was emptied.
	epoch uint64
}

type cachedPage struct {
	list   hearth.List[hearth.Device]
	stamp  string
	readAt time.Time
	bytes  int
}

func newLists(limit int) *lists {
	return &lists{pages: map[string]*cachedPage{}, limit: limit, generations: map[hearth.Scope]uint64{}}
}

// changed ends the pages of a scope.
func (l *lists) changed(scope hearth.Scope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.generations) >= maxGenerations {
		clear(l.generations)
		l.epoch++
	}
	l.generations[scope]++
	l.every++
}

// forget ends all pages.
func (l *lists) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.generations)
	l.epoch++
	l.every++
}

// stamp returns what a page of that reach has to have been read after.
func (l *lists) stamp(reach hearth.Reach) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stampLocked(reach)
}

func (l *lists) stampLocked(reach hearth.Reach) string {
	if reach.All {
		return fmt.Sprint("all ", l.every)
	}
	stamp := make([]byte, 0, 32)
	stamp = fmt.Append(stamp, l.epoch)
	for _, scope := range reach.Scopes {
		stamp = fmt.Append(stamp, " ", l.generations[scope])
	}
	return string(stamp)
}

// find returns a page that is still true and was read at oldest or later.
func (l *lists) find(key string, reach hearth.Reach, oldest time.Time) (hearth.List[hearth.Device], bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := l.pages[key]
	if page == nil || page.readAt.Before(oldest) || page.stamp != l.stampLocked(reach) {
		return hearth.List[hearth.Device]{}, false
	}
	return page.list, true
}

// keep stores a page that was read when the stamp was as given.
func (l *lists) keep(key, stamp string, list hearth.List[hearth.Device], now time.Time) {
	size := len(key) + len(stamp) + deviceSize
	for i := range list.Items {
		d := &list.Items[i]
		size += deviceSize + len(d.Name) + len(d.Type) + len(d.Metadata)
		for _, tag := range d.Tags {
			size += len(tag) + 16
		}
	}
	if size > l.limit/16 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(key)
	for old := range l.pages { // in random order
		if l.bytes+size <= l.limit {
			break
		}
		l.dropLocked(old)
	}
	l.pages[key] = &cachedPage{list: list, stamp: stamp, readAt: now, bytes: size}
	l.bytes += size
}

func (l *lists) dropLocked(key string) {
	if page := l.pages[key]; page != nil {
		l.bytes -= page.bytes
		delete(l.pages, key)
	}
}

// pageKey names a page; "" if what it holds may change with a heartbeat, so that it cannot be kept.
func pageKey(filter hearth.DeviceFilter, page hearth.Page) string {
	if filter.Status != "" || filter.Connection != "" || strings.HasSuffix(page.Sort, "last_active_at") {
		return ""
	}
	return fmt.Sprintf("%v %q %q %q %q %d %s %q %v",
		filter.Reach.All, filter.Reach.Scopes, filter.Type, filter.Tag, filter.Query, page.Size(), page.Sort, page.Cursor.String(), page.Count)
}
