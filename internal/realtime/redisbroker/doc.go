// Package redisbroker carries live events between instances through Redis: centrifuge's broker with history in Redis
// streams, presence, and the tickets that streams are opened with. docs/reference/redis.md lists the keys, docs/adr/0009 the reasons.
package redisbroker
