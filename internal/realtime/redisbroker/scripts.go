package redisbroker

import (
	"hash/fnv"
	"strconv"

	"hearth/internal/redisconn"
)

// parts is how many parts the channels are spread over. Each part's keys lie in one slot of a cluster:
//
//	{live:N}:gen             the generation of the part
//	{live:N}:wanted          a sorted set: the channels that somebody reads or may come back to, by when that ends
//	{live:N}:GEN:top:CHANNEL a hash: t, the offset of the last event; b, the bytes of the kept ones
//	{live:N}:GEN:log:CHANNEL a stream: the kept events, under their offsets
//
// and beside them {live}, a hash: gen, the generation of all, and run, the server that it began on.
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

// common is what the scripts of a part begin with: KEYS[1] is the part, ARGV[1] the caller's generation. A caller of another
// one than the part's is told, and has done nothing.
const common = `
if redis.call('GET', KEYS[1] .. ':gen') ~= ARGV[1] then return 'lost' end
local call = redis.call
local function micros()
  local t = call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function whole(n) return string.format('%.0f', n) end
local function top(ch) return KEYS[1] .. ':' .. ARGV[1] .. ':top:' .. ch end
local function log(ch) return KEYS[1] .. ':' .. ARGV[1] .. ':log:' .. ch end
`

var (
	// generation returns the generation of all, and whether it begins now. A new one begins on a new server, and when the
	// present one is ARGV[1]. Generations grow: they are the time of their beginning in microseconds.
	generation = redisconn.NewScript(`
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local known = redis.call('HMGET', KEYS[1], 'run', 'gen')
if known[2] and known[1] == run and known[2] ~= ARGV[1] then return {known[2], 0} end
local t = redis.call('TIME')
local gen = tonumber(t[1]) * 1000000 + tonumber(t[2])
for _, old in ipairs({known[2] or '0', ARGV[1]}) do
  local n = tonumber(old) or 0
  if n >= gen then gen = n + 1 end
end
gen = string.format('%.0f', gen)
redis.call('HSET', KEYS[1], 'run', run, 'gen', gen)
return {gen, 1}`)

	// announce notes the channels ARGV[5] on to be wanted until ARGV[4]; what was wanted until ARGV[3] is forgotten. ARGV[1]
	// must be the generation of the part. Only whoever began it (ARGV[2] is "1") returns it to a part that has an earlier
	// one or none: otherwise the part has lost what was wanted.
	announce = redisconn.NewScript(`
local known = redis.call('GET', KEYS[1] .. ':gen')
if known ~= ARGV[1] then
  if ARGV[2] ~= '1' or (known and tonumber(known) > tonumber(ARGV[1])) then return 'lost' end
  redis.call('SET', KEYS[1] .. ':gen', ARGV[1])
end
local wanted = KEYS[1] .. ':wanted'
redis.call('ZREMRANGEBYSCORE', wanted, '-inf', ARGV[3])
for i = 5, #ARGV do redis.call('ZADD', wanted, 'GT', ARGV[4], ARGV[i]) end
return 'ok'`)

	// sift tells which of the channels ARGV[3] on are wanted after ARGV[2].
	sift = redisconn.NewScript(common + `
local answer = {}
for i, ends in ipairs(call('ZMSCORE', KEYS[1] .. ':wanted', unpack(ARGV, 3))) do
  answer[i] = (ends and tonumber(ends) > tonumber(ARGV[2])) and 1 or 0
end
return answer`)

	// publish keeps an event and hands it to all instances: ARGV are the feed, the most events and bytes of a channel, how
	// long they are kept in ms, the channel, the time in ms, and the data.
	publish = redisconn.NewScript(common + `
local feed, size, limit, age, ch, now, data = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local held = call('HMGET', top(ch), 't', 'b')
local offset = (held[1] and tonumber(held[1]) or micros()) + 1
local count, bytes = call('XLEN', log(ch)), tonumber(held[2] or '0')
if count == 0 then bytes = 0 end
call('XADD', log(ch), whole(offset) .. '-0', 't', now, 'd', data)
count, bytes = count + 1, bytes + #data
while count > size or bytes > limit do
  local first = call('XRANGE', log(ch), '-', '+', 'COUNT', 1)[1]
  call('XDEL', log(ch), first[1])
  count, bytes = count - 1, bytes - #first[2][4]
end
call('HSET', top(ch), 't', whole(offset), 'b', bytes)
call('PEXPIRE', log(ch), age)
call('PEXPIRE', top(ch), 2 * age)
call('PUBLISH', feed, 'P ' .. ARGV[1] .. ' ' .. ch .. ' ' .. whole(offset) .. ' ' .. now .. '\n' .. data)
return whole(offset)`)

	// history returns the top of the channel ARGV[2] and the events after ARGV[3], if there is one before the top; or only
	// their bytes if ARGV[5] is "1". ARGV[4] is how long the top is kept, in ms.
	history = redisconn.NewScript(common + `
local ch = ARGV[2]
local at = call('HGET', top(ch), 't')
if not at then
  at = whole(micros())
  call('HSET', top(ch), 't', at, 'b', 0)
end
call('PEXPIRE', top(ch), ARGV[4])
local events = {}
if ARGV[3] ~= '' and tonumber(ARGV[3]) < tonumber(at) then events = call('XRANGE', log(ch), '(' .. ARGV[3], '+') end
if ARGV[5] == '1' then
  local bytes = 0
  for _, e in ipairs(events) do bytes = bytes + #e[2][4] end
  return {at, bytes}
end
return {at, events}`)

	// breakPlaces makes the places of the channel ARGV[3] unplaceable: its next event comes two beyond everything before.
	// ARGV[2] is the feed, ARGV[4] how long the top is kept, in ms.
	breakPlaces = redisconn.NewScript(common + `
local ch = ARGV[3]
local at = math.max(tonumber(call('HGET', top(ch), 't') or '0') + 2, micros())
call('DEL', log(ch))
call('HSET', top(ch), 't', whole(at), 'b', 0)
call('PEXPIRE', top(ch), ARGV[4])
call('PUBLISH', ARGV[2], 'B ' .. ARGV[1] .. ' ' .. ch)
return 'ok'`)

	// forget drops the events of the channel ARGV[2]; places stay.
	forget = redisconn.NewScript(common + `
call('DEL', log(ARGV[2]))
return 'ok'`)
)
