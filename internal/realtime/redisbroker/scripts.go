package redisbroker

import (
	"embed"
	"hash/fnv"
	"strconv"

	"hearth/internal/redisconn"
)

// parts is how many parts the channels are spread over. Each part's keys lie in one slot of a cluster:
//
//	{live:N}:gen             the generation of the part
//	{live:N}:wanted          a sorted set: the channels with readers, or that readers may come back to, by when that ends
//	{live:N}:GEN:top:CHANNEL a hash: t, the offset of the last event; b, the bytes of the kept ones
//	{live:N}:GEN:log:CHANNEL a stream: the kept events, under their offsets
//
// and {live}, a hash: gen, the generation of all, and run, the server that it began on.
const (
	parts   = 16
	rootKey = "{live}"
)

func partKey(n int) string { return "{live:" + strconv.Itoa(n) + "}" }

// partOf returns the part of a channel. It is the same in every process.
func partOf(channel string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel)) // never fails
	return int(h.Sum32() % parts)
}

//go:embed scripts/*.lua
var scripts embed.FS

var (
	generation  = redisconn.Load(scripts, "generation")
	announce    = redisconn.Load(scripts, "announce")
	sift        = redisconn.Load(scripts, "common", "sift")
	publish     = redisconn.Load(scripts, "common", "publish")
	history     = redisconn.Load(scripts, "common", "history")
	breakPlaces = redisconn.Load(scripts, "common", "break_places")
	forget      = redisconn.Load(scripts, "common", "forget")
)
