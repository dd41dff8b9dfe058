package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Cache keeps the results of questions by key. All methods may be called at once from many goroutines.
//
// Three things end a kept value: its TTL, the need for room (a cache is bounded by bytes), and Invalidate. A cache that
// cannot reach its shared layer goes on without it: Load then asks the load function, and nothing gets wrong, only slower.
type Cache interface {
	// Load returns the value of key: the kept one, or else what load returns, which is then kept. The bytes must not be changed.
	//
	// One load of a key runs at a time in a process; callers that ask for the key meanwhile get the same result. It runs on
	// a context with the values of the first asker's, and is cancelled only when all who wait for it are gone: one that
	// stops waiting gets the context's error and does not disturb the others. An error of load goes to all who wait and is not kept; a panic
	// becomes an error. A load must not call Load for the same key.
	//
	// A value whose load began before an Invalidate of one of its names is never given to a Load that begins after that
	// Invalidate returned: such a Load starts a load of its own.
	Load(ctx context.Context, key string, options Options, load func(context.Context) ([]byte, error)) ([]byte, error)
	// Invalidate ends every value with one of the names. A name is a tag of the value's Options, its whole key, or a
	// beginning of its key that ends in one of the first MaxPrefixes colons, colon included.
	//
	// In this process it holds at once when Invalidate returns, whatever becomes of the context. Instances that share a
	// layer follow within a second; while this one cannot reach the layer it repeats the attempt, and uses the layer for
	// nothing before it succeeded.
	Invalidate(ctx context.Context, names ...string)
	// Stats returns the counters of each layer, the nearest first.
	Stats() []LayerStats
}

// Options say how a value is kept.
type Options struct {
	// TTL is how long, counted from the end of the load. Zero or less: the value is shared with those who wait for it and
	// not kept.
	TTL time.Duration
	// Tags are names that Invalidate ends the value by, next to its key and the key's beginnings.
	Tags []string
}

// LayerStats counts what a layer of a cache did since it was opened.
type LayerStats struct {
	// Layer is "memory" or "redis".
	Layer string
	// Hits are answers from the layer; Misses are questions that it had no fresh value for; Loads are calls of load
	// functions; Evictions are values that made room.
	Hits, Misses, Loads, Evictions uint64
	// Entries and Bytes are what the layer holds now, roughly; Capacity is the bound of Bytes. Zero where unknown.
	Entries, Bytes, Capacity uint64
}

// MaxPrefixes is how many colons of a key, from its start, end a name that Invalidate takes.
const MaxPrefixes = 4

// KindAnalytics is the kind of the keys of analytics: the first part of Key. Its values are kept for TTLAnalytics.
const (
	KindAnalytics = "analytics"
	TTLAnalytics  = 5 * time.Minute
)

// maxRest bounds the part of a key behind its owner, in bytes; a longer one is hashed.
const maxRest = 160

// Key makes a key by the scheme kind:{owner}:rest, such as "devices:{user-id}:query". Values of one owner lie on one node
// of a cluster. Owner, an id or a scope, holds no braces; rest, joined by colons, is hashed when it is long.
func Key(kind, owner string, rest ...string) string {
	tail := strings.Join(rest, ":")
	if len(tail) > maxRest {
		sum := sha256.Sum256([]byte(tail))
		tail = hex.EncodeToString(sum[:])
	}
	return Prefix(kind, owner) + tail
}

// Prefix is the beginning of all keys of a kind and an owner: the name that Invalidate ends them by.
func Prefix(kind, owner string) string { return kind + ":{" + owner + "}:" }

// Names returns every name that Invalidate ends the value of a key by, for adapters: the tags, the key and its beginnings.
func Names(key string, tags []string) []string {
	names := make([]string, 0, len(tags)+1+MaxPrefixes)
	names = append(names, tags...)
	names = append(names, key)
	for i, seen := 0, 0; i < len(key)-1 && seen < MaxPrefixes; i++ {
		if key[i] == ':' {
			names = append(names, key[:i+1])
			seen++
		}
	}
	return names
}
