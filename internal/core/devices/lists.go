package devices

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"hearth"
	"hearth/internal/boundedcache"
)

const (
	// deviceSize is about what a listed device and what is made of it (see Listing.Fixed) cost without their texts, in bytes.
	deviceSize = 900
	// maxGenerations bounds the scopes whose changes are counted one by one.
	maxGenerations = 50_000
	// maxLists bounds the bytes of kept pages.
	maxLists = 32 << 20
)

// lists keeps pages of devices. A page ends when a device of its scopes is created, changed or deleted, not by
// heartbeats: what they change is laid over it when it is read.
type lists struct {
	pages *boundedcache.Cache[string, cachedPage]

	mu sync.Mutex
	// generations count the changes of each scope, every those of all.
	generations map[hearth.Scope]uint64
	every       uint64
	// epoch counts how often generations was emptied.
	epoch uint64
}

// cachedPage is a page with the stamp of before it was read.
type cachedPage struct {
	Listing
	stamp string
}

// Listing is a page of devices.
type Listing struct {
	hearth.List[hearth.Device]
	// cached is nil for a page that is not kept.
	cached *cachedItems
}

// cachedItems are the devices as the store returned them.
type cachedItems struct {
	items []hearth.Device
	once  sync.Once
	fixed any
}

// Fixed returns what build makes of the devices of the page, in their order: once for as long as the page is cached. The devices
// have their Status, Idle and LastActiveAt of then, which heartbeats change without ending the page. All callers pass the same
// function.
func Fixed[T any](l Listing, build func([]hearth.Device) T) T {
	if l.cached == nil {
		return build(l.Items)
	}
	l.cached.once.Do(func() { l.cached.fixed = build(l.cached.items) })
	return l.cached.fixed.(T) //nolint:forcetypeassert // see above
}

// listVersion is what the lists were at when a page was missing.
type listVersion struct {
	boundedcache.Version
	stamp string
}

func newLists(options Options, ttl time.Duration) *lists {
	return &lists{generations: map[hearth.Scope]uint64{}, pages: boundedcache.New(boundedcache.Options[string, cachedPage]{
		Bytes: maxLists, Size: pageSize, TTL: ttl, Clock: options.Clock,
	})}
}

func pageSize(key string, page cachedPage) int {
	size := len(key) + len(page.stamp) + deviceSize
	for i := range page.Items {
		d := &page.Items[i]
		size += deviceSize + 2*(len(d.Name)+len(d.Type)+len(d.Metadata))
		for _, tag := range d.Tags {
			size += 2*len(tag) + 16
		}
	}
	return size
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

// stamp returns what changes with every change of a device within reach.
func (l *lists) stamp(reach hearth.Reach) string {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// find returns a page that is still true, or the version for keep.
func (l *lists) find(key string, reach hearth.Reach) (list Listing, ok bool, version listVersion) {
	stamp := l.stamp(reach)
	page, ok, at := l.pages.Find(key)
	return page.Listing, ok && page.stamp == stamp, listVersion{at, stamp}
}

// keep stores a page that was read after find returned version, and returns it.
func (l *lists) keep(version listVersion, key string, list hearth.List[hearth.Device]) Listing {
	listing := Listing{list, &cachedItems{items: list.Items}}
	l.pages.Keep(version.Version, key, cachedPage{listing, version.stamp})
	return listing
}

// pageKey names a page; "" if what it holds may change with a heartbeat, so that it cannot be kept.
func pageKey(filter hearth.DeviceFilter, page hearth.Page) string {
	if filter.Status != "" || filter.Connection != "" || strings.HasSuffix(page.Sort, "last_active_at") {
		return ""
	}
	return fmt.Sprintf("%v %q %q %q %q %q %d %s %q %v",
		filter.Reach.All, filter.Reach.Scopes, filter.Type, filter.Tag, filter.Serial, filter.Query, page.Size(), page.Sort, page.Cursor.String(), page.Count)
}
