package redisqueue

import (
	"embed"

	"hearth/internal/redisconn"
)

// All keys have one hash tag, so that a script may touch any of them on a cluster:
//
//	{jobs}:job:ID            a hash: the job's fields
//	{jobs}:in:QUEUE:STATE    a sorted set of ID|KIND in the order of the names: lists and counts
//	{jobs}:due:QUEUE:KIND    a sorted set of the IDs that wait, by their time: claims
//	{jobs}:running           a sorted set of the IDs that run, by the end of their lease: rescues
//	{jobs}:cancelling        a set of the IDs that run and shall end
//	{jobs}:ended:STATE       a sorted set of the IDs that have ended, by when: purges
//	{jobs}:gone              a sorted set of the IDs that were deleted by a user, by when, for a week
//	{jobs}:unique            a hash: the ID that holds each unique key
//	{jobs}:slots             a hash: the last slot of each periodic job
//
// Something to claim or to cancel wakes the workers by the bus's topic.
const (
	rootKey = "{jobs}"
	topic   = "jobs"
)

//go:embed scripts/*.lua
var scripts embed.FS

var (
	enqueue     = redisconn.Load(scripts, "prelude", "enqueue")
	enqueueSlot = redisconn.Load(scripts, "prelude", "enqueue_slot")
	claim       = redisconn.Load(scripts, "prelude", "claim")
	beat        = redisconn.Load(scripts, "prelude", "beat")
	cancelling  = redisconn.Load(scripts, "prelude", "cancelling")
	endRuns     = redisconn.Load(scripts, "prelude", "end_runs")
	rescue      = redisconn.Load(scripts, "prelude", "rescue")
	purge       = redisconn.Load(scripts, "prelude", "purge")
	endedScript = redisconn.Load(scripts, "prelude", "settled")
	cancel      = redisconn.Load(scripts, "prelude", "cancel")
	retry       = redisconn.Load(scripts, "prelude", "retry")
	remove      = redisconn.Load(scripts, "prelude", "remove")
)
