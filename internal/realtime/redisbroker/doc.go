// Package redisbroker carries live events between instances: centrifuge's broker over the bus, with history in Redis
// streams, presence, and the tickets that streams are opened with. docs/reference/redis.md lists the keys, docs/adr/0009 and 0014 the reasons.
package redisbroker
