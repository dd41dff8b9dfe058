package boundedcache_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/boundedcache"
)

func TestAValueReadBeforeAnInvalidationIsNotKeptAfterIt(t *testing.T) {
	t.Parallel()
	invalidations := map[string]func(*boundedcache.Cache[string, int]){
		"Set":        func(c *boundedcache.Cache[string, int]) { c.Set("a", 2) },
		"Delete":     func(c *boundedcache.Cache[string, int]) { c.Delete("a") },
		"DeleteFunc": func(c *boundedcache.Cache[string, int]) { c.DeleteFunc(func(string, int) bool { return true }) },
	}
	for name, invalidate := range invalidations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, entries := range []int{10, 1 << 16} { // one shard, many shards
				c := boundedcache.New(boundedcache.Options[string, int]{Entries: entries})
				_, _, version := c.Find("a")
				invalidate(c)
				if c.Keep(version, "a", 1) {
					t.Error("a value read before was kept")
				}
				if value, ok, _ := c.Find("a"); ok && value != 2 {
					t.Errorf("found %d", value)
				}
				_, _, version = c.Find("a")
				if !c.Keep(version, "a", 3) {
					t.Error("a value read after it was refused")
				}
				if value, ok, _ := c.Find("a"); !ok || value != 3 {
					t.Errorf("found %d, %v; want 3", value, ok)
				}
			}
		})
	}
}

func TestOnlyMatchingValuesAreInvalidated(t *testing.T) {
	t.Parallel()
	c := boundedcache.New(boundedcache.Options[int, int]{Entries: 1 << 16})
	for n := range 1000 {
		c.Set(n, n%2)
	}
	c.DeleteFunc(func(_, value int) bool { return value == 1 })
	for n := range 1000 {
		if _, ok, _ := c.Find(n); ok != (n%2 == 0) {
			t.Fatalf("%d is found: %v", n, ok)
		}
	}
}

func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 10, 640, 1 << 13} {
		c := boundedcache.New(boundedcache.Options[string, int]{Entries: limit})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for n := range 10_000 {
					key := fmt.Sprint(worker, n)
					if _, _, version := c.Find(key); n%2 == 0 {
						c.Keep(version, key, n)
					} else {
						c.Set(key, n)
					}
				}
			})
		}
		wg.Wait()
		if held := c.Len(); held > limit || held < limit/2 {
			t.Errorf("%d entries are held, of at most %d", held, limit)
		}
	}
}

func TestBytesAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 1600
	c := boundedcache.New(boundedcache.Options[int, string]{Bytes: limit, Size: func(_ int, value string) int { return len(value) }})
	for n := range 1000 {
		c.Set(n%300, string(make([]byte, n%90)))
	}
	held := 0
	c.DeleteFunc(func(_ int, value string) bool { held += len(value); return false })
	if held > limit || held < limit/2 {
		t.Errorf("%d bytes are held, of at most %d", held, limit)
	}
	c.Set(7, "small")
	c.Set(7, string(make([]byte, limit/16+1)))
	if _, ok, _ := c.Find(7); ok {
		t.Error("a value too large to be kept left the one before in its place")
	}
}

func TestValuesAgeFromTheMomentBeforeTheyWereRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := boundedcache.New(boundedcache.Options[string, int]{Entries: 10, TTL: time.Minute})
		_, _, version := c.Find("slowly read")
		time.Sleep(50 * time.Second)
		c.Keep(version, "slowly read", 1)
		c.Set("set", 2)
		if _, ok, _ := c.Find("slowly read"); !ok {
			t.Error("the value aged too early")
		}
		time.Sleep(10 * time.Second)
		if _, ok, _ := c.Find("slowly read"); ok {
			t.Error("the value is older than its TTL")
		}
		if _, ok, _ := c.Find("set"); !ok {
			t.Error("the other value aged too early")
		}
	})
}

func TestAgesFollowAGivenClock(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	c := boundedcache.New(boundedcache.Options[string, int]{
		Entries: 10, TTL: time.Minute, Clock: func() time.Time { return time.Unix(now.Load(), 0) },
	})
	c.Set("a", 1)
	now.Store(59)
	if _, ok, _ := c.Find("a"); !ok {
		t.Error("the value aged too early")
	}
	now.Store(60)
	if _, ok, _ := c.Find("a"); ok {
		t.Error("the value is older than its TTL")
	}
}

// A reader that reads while writers change the source never leaves an old value behind.
func TestAReaderNeverOutlivesAWriter(t *testing.T) {
	t.Parallel()
	c := boundedcache.New(boundedcache.Options[int, int64]{Entries: 100})
	var source atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				if _, ok, version := c.Find(1); !ok {
					c.Keep(version, 1, source.Load())
				}
			}
		})
	}
	for range 5000 {
		want := source.Add(1)
		c.Delete(1)
		if value, ok, _ := c.Find(1); ok && value < want {
			t.Errorf("found %d after it became %d", value, want)
			break
		}
	}
	wg.Wait()
}

func BenchmarkFind(b *testing.B) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprint("ttl=", ttl), func(b *testing.B) {
			c := boundedcache.New(boundedcache.Options[[32]byte, int]{Entries: 1 << 15, TTL: ttl})
			c.Set([32]byte{1}, 1)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, ok, _ := c.Find([32]byte{1}); !ok {
						b.Error("not found")
					}
				}
			})
		})
	}
}
