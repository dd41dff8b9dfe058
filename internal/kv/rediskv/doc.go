// Package rediskv shares the cache, the limiter and the leases among instances through Redis. Everything in it may be
// lost: while Redis is away the cache asks the store, the limiter counts for this instance alone, and no lease is given.
// docs/reference/redis.md lists the keys.
package rediskv
