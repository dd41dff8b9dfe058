// Package kvtest is the suite that every adapter of kv passes.
package kvtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/kv"
)

// CacheSetup is an empty cache and what the suite needs around it.
type CacheSetup struct {
	Cache kv.Cache
	// Peer is another instance over the same shared layer; nil if the adapter shares nothing.
	Peer kv.Cache
	// Advance lets so much time pass for the cache.
	Advance func(time.Duration)
}

// ttl is longer than any test; short is a TTL that tests wait for.
const (
	ttl   = time.Hour
	short = 100 * time.Millisecond
)

// Cache runs the suite for caches.
func Cache(t *testing.T, open func(t *testing.T) CacheSetup) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, CacheSetup)
	}{
		{"keeps what was loaded", keeps},
		{"loads once for all who ask at the same time", loadsOnce},
		{"returns an error to all who wait and keeps none", keepsNoError},
		{"turns a panic into an error", survivesPanic},
		{"goes on with a load whose first asker gave up", leaderGivesUp},
		{"cancels a load without waiters", noWaiters},
		{"passes the asker's context values to the load", passesValues},
		{"ends values by tag, key and beginning of the key", invalidates},
		{"ends values by time", expires},
		{"keeps nothing without a TTL", keepsNothing},
		{"never keeps a load that an invalidation overtook", overtaken},
		{"never returns a value older than the last invalidation", neverStale},
		{"stays within its bytes", bounded},
		{"returns a value that is too large to keep", tooLarge},
		{"counts hits, misses and loads", counts},
		{"follows an invalidation of another instance", followsPeer},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

// loader returns a load function with a fixed value, and the number of its calls.
func loader(value string) (func(context.Context) ([]byte, error), *atomic.Int64) {
	calls := new(atomic.Int64)
	return func(context.Context) ([]byte, error) {
		calls.Add(1)
		return []byte(value), nil
	}, calls
}

func expect(t *testing.T, c kv.Cache, key string, options kv.Options, want string) {
	t.Helper()
	got, err := c.Load(t.Context(), key, options, func(context.Context) ([]byte, error) { return []byte(want), nil })
	if err != nil || string(got) != want {
		t.Fatalf("Load(%q) = %q, %v, want %q", key, got, err, want)
	}
}

func keeps(t *testing.T, s CacheSetup) {
	load, calls := loader("v")
	for range 5 {
		got, err := s.Cache.Load(t.Context(), "k", kv.Options{TTL: ttl}, load)
		if err != nil || string(got) != "v" {
			t.Fatalf("Load = %q, %v", got, err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("loaded %d times, want 1", n)
	}
}

func loadsOnce(t *testing.T, s CacheSetup) {
	const askers = 100
	var calls atomic.Int64
	release, begun := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			got, err := s.Cache.Load(context.Background(), "k", kv.Options{TTL: ttl}, func(context.Context) ([]byte, error) {
				if calls.Add(1) == 1 {
					close(begun)
				}
				<-release
				return []byte("v"), nil
			})
			if err != nil || string(got) != "v" {
				t.Errorf("Load = %q, %v", got, err)
			}
		})
	}
	<-begun
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("loaded %d times for %d askers, want 1", n, askers)
	}
}

func keepsNoError(t *testing.T, s CacheSetup) {
	failure := errors.New("the store is gone")
	release := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	begun := make(chan struct{})
	fail := func(context.Context) ([]byte, error) {
		if calls.Add(1) == 1 {
			close(begun)
		}
		<-release
		return nil, failure
	}
	for range 10 {
		wg.Go(func() {
			if _, err := s.Cache.Load(context.Background(), "k", kv.Options{TTL: ttl}, fail); !errors.Is(err, failure) {
				t.Errorf("got %v, want the load's own error", err)
			}
		})
	}
	<-begun
	close(release)
	wg.Wait()
	expect(t, s.Cache, "k", kv.Options{TTL: ttl}, "now it works")
}

func survivesPanic(t *testing.T, s CacheSetup) {
	_, err := s.Cache.Load(t.Context(), "k", kv.Options{TTL: ttl}, func(context.Context) ([]byte, error) { panic("a bug") })
	if err == nil {
		t.Fatal("a load that panicked gave no error")
	}
	expect(t, s.Cache, "k", kv.Options{TTL: ttl}, "v")
}

func leaderGivesUp(t *testing.T, s CacheSetup) {
	var calls atomic.Int64
	begun, release := make(chan struct{}), make(chan struct{})
	load := func(ctx context.Context) ([]byte, error) {
		if calls.Add(1) == 1 {
			close(begun)
		}
		select {
		case <-release:
			return []byte("v"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	leaderCtx, giveUp := context.WithCancel(t.Context())
	leader := make(chan error, 1)
	go func() {
		_, err := s.Cache.Load(leaderCtx, "k", kv.Options{TTL: ttl}, load)
		leader <- err
	}()
	<-begun
	misses := total(s.Cache).Misses
	follower := make(chan error, 1)
	go func() {
		got, err := s.Cache.Load(context.Background(), "k", kv.Options{TTL: ttl}, load)
		if err == nil && string(got) != "v" {
			err = fmt.Errorf("got %q", got)
		}
		follower <- err
	}()
	until(t, "the follower waits", func() bool { return total(s.Cache).Misses > misses })
	giveUp()
	if err := <-leader; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v, want context.Canceled", err)
	}
	close(release)
	if err := <-follower; err != nil {
		t.Errorf("the follower got %v", err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("loaded %d times, want 1", n)
	}
}

func noWaiters(t *testing.T, s CacheSetup) {
	begun, ended := make(chan struct{}), make(chan struct{})
	ctx, giveUp := context.WithCancel(t.Context())
	asker := make(chan error, 1)
	go func() {
		_, err := s.Cache.Load(ctx, "k", kv.Options{TTL: ttl}, func(ctx context.Context) ([]byte, error) {
			close(begun)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		})
		asker <- err
	}()
	<-begun
	giveUp()
	<-ended
	if err := <-asker; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	expect(t, s.Cache, "k", kv.Options{TTL: ttl}, "v")
}

func passesValues(t *testing.T, s CacheSetup) {
	type contextKey struct{}
	ctx := context.WithValue(t.Context(), contextKey{}, "request 7")
	got, err := s.Cache.Load(ctx, "k", kv.Options{TTL: ttl}, func(ctx context.Context) ([]byte, error) {
		text, _ := ctx.Value(contextKey{}).(string)
		return []byte(text), nil
	})
	if err != nil || string(got) != "request 7" {
		t.Errorf("Load = %q, %v", got, err)
	}
}

func invalidates(t *testing.T, s CacheSetup) {
	const key = "devices:{user:1}:page=2:x:y"
	for _, test := range []struct {
		name string
		ends bool
	}{
		{"org:7", true},
		{"device:9", true},
		{key, true},
		{"devices:", true},
		{"devices:{user:1}:", true},
		{"devices:{user:1}:page=2:", true},
		{"devices:{user:1}:page=2:x:", false}, // the fifth colon
		{"devices:{user:1", false},
		{"devices:{user:1}", false},
		{"devices:{user:2}:", false},
		{"org:", false},
		{"", false},
	} {
		options := kv.Options{TTL: ttl, Tags: []string{"org:7", "device:9"}}
		s.Cache.Invalidate(t.Context(), key)
		expect(t, s.Cache, key, options, "before")
		expect(t, s.Cache, "devices:{user:3}:", kv.Options{TTL: ttl}, "another's")
		s.Cache.Invalidate(t.Context(), "unknown", test.name)
		want := "before"
		if test.ends {
			want = "after"
		}
		got, err := s.Cache.Load(t.Context(), key, options, func(context.Context) ([]byte, error) { return []byte("after"), nil })
		if err != nil || string(got) != want {
			t.Errorf("after Invalidate(%q) Load = %q, %v, want %q", test.name, got, err, want)
		}
	}
}

func expires(t *testing.T, s CacheSetup) {
	expect(t, s.Cache, "k", kv.Options{TTL: short}, "old")
	expect(t, s.Cache, "long", kv.Options{TTL: ttl}, "stays")
	s.Advance(short + 20*time.Millisecond)
	expect(t, s.Cache, "k", kv.Options{TTL: short}, "new")
	load, calls := loader("loaded again")
	got, err := s.Cache.Load(t.Context(), "long", kv.Options{TTL: ttl}, load)
	if err != nil || string(got) != "stays" || calls.Load() != 0 {
		t.Errorf("a value within its TTL: %q, %v", got, err)
	}
}

func keepsNothing(t *testing.T, s CacheSetup) {
	expect(t, s.Cache, "k", kv.Options{}, "one")
	expect(t, s.Cache, "k", kv.Options{TTL: -1}, "two")
	expect(t, s.Cache, "k", kv.Options{TTL: ttl}, "three")
}

func overtaken(t *testing.T, s CacheSetup) {
	options := kv.Options{TTL: ttl, Tags: []string{"tag"}}
	begun, release := make(chan struct{}), make(chan struct{})
	early := make(chan string, 1)
	go func() {
		got, err := s.Cache.Load(context.Background(), "k", options, func(context.Context) ([]byte, error) {
			close(begun)
			<-release
			return []byte("old"), nil
		})
		if err != nil {
			t.Error(err)
		}
		early <- string(got)
	}()
	<-begun
	s.Cache.Invalidate(t.Context(), "tag")
	// The old load is still under way: a caller that asks now must not wait for it.
	expect(t, s.Cache, "k", options, "new")
	close(release)
	if got := <-early; got != "old" {
		t.Errorf("who asked before the invalidation got %q, want old", got)
	}
	got, err := s.Cache.Load(t.Context(), "k", options, func(context.Context) ([]byte, error) { return []byte("newer"), nil })
	if err != nil || (string(got) != "new" && string(got) != "newer") {
		t.Errorf("after an overtaken load: %q, %v", got, err)
	}
}

func neverStale(t *testing.T, s CacheSetup) {
	const keys, writers, readers, rounds = 4, 2, 6, 400
	var truth, settled [keys]atomic.Uint64
	var locks [keys]sync.Mutex
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := range rounds {
				k := (i + w) % keys
				locks[k].Lock()
				now := truth[k].Add(1)
				s.Cache.Invalidate(context.Background(), fmt.Sprintf("tag:%d", k))
				settled[k].Store(now)
				locks[k].Unlock()
			}
		})
	}
	for r := range readers {
		reading.Go(func() {
			for i := r; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := i % keys
				atLeast := settled[k].Load()
				options := kv.Options{TTL: ttl, Tags: []string{fmt.Sprintf("tag:%d", k)}}
				got, err := s.Cache.Load(context.Background(), fmt.Sprintf("key:%d", k), options, func(context.Context) ([]byte, error) {
					return binary.BigEndian.AppendUint64(nil, truth[k].Load()), nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if seen := binary.BigEndian.Uint64(got); seen < atLeast {
					t.Errorf("got version %d after version %d was invalidated", seen, atLeast)
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}

func bounded(t *testing.T, s CacheSetup) {
	capacity := s.Cache.Stats()[0].Capacity
	if capacity == 0 || capacity > 4<<20 {
		t.Fatalf("the suite wants a small cache, not one of %d bytes", capacity)
	}
	value := bytes.Repeat([]byte("x"), 2000)
	for i := range 4 * int(capacity) / len(value) {
		_, err := s.Cache.Load(t.Context(), fmt.Sprintf("key:%d", i), kv.Options{TTL: ttl, Tags: []string{fmt.Sprintf("tag:%d", i)}},
			func(context.Context) ([]byte, error) { return bytes.Clone(value), nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the cache shrinks to its bound", func() bool {
		layer := s.Cache.Stats()[0]
		return layer.Bytes <= layer.Capacity && layer.Evictions > 0
	})
}

func tooLarge(t *testing.T, s CacheSetup) {
	huge := bytes.Repeat([]byte("x"), int(s.Cache.Stats()[0].Capacity)+1)
	got, err := s.Cache.Load(t.Context(), "k", kv.Options{TTL: ttl}, func(context.Context) ([]byte, error) { return huge, nil })
	if err != nil || !bytes.Equal(got, huge) {
		t.Errorf("a value larger than the cache: %d bytes, %v", len(got), err)
	}
}

func counts(t *testing.T, s CacheSetup) {
	before := total(s.Cache)
	for range 3 {
		expect(t, s.Cache, "k", kv.Options{TTL: ttl}, "v")
	}
	after := total(s.Cache)
	if hits, misses, loads := after.Hits-before.Hits, after.Misses-before.Misses, after.Loads-before.Loads; hits != 2 ||
		misses != 1 || loads != 1 {
		t.Errorf("%d hits, %d misses, %d loads, want 2, 1, 1", hits, misses, loads)
	}
}

func followsPeer(t *testing.T, s CacheSetup) {
	if s.Peer == nil {
		return // shares nothing: then there is no other instance to follow
	}
	options := kv.Options{TTL: ttl, Tags: []string{"tag"}}
	expect(t, s.Cache, "k", options, "old")
	s.Peer.Invalidate(t.Context(), "tag")
	until(t, "the other instance's invalidation arrives", func() bool {
		got, err := s.Cache.Load(t.Context(), "k", options, func(context.Context) ([]byte, error) { return []byte("new"), nil })
		return err == nil && string(got) == "new"
	})
}

// total returns the counters of the nearest layer.
func total(c kv.Cache) kv.LayerStats { return c.Stats()[0] }

// until polls for something that happens in the adapter's background, for five seconds at most.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
