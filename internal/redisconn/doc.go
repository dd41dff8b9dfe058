// Package redisconn is the one connection to Redis that cache, limiter, leases, queue and realtime share: how it is opened,
// what is said when it cannot be, and what becomes of calls while Redis is away.
//
// A call costs at most its timeout when Redis stops answering, and nothing while Redis is known to be away: the first call
// that fails opens a breaker, every other is refused at once, and one goroutine asks until Redis answers again.
package redisconn
