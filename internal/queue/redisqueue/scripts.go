package redisqueue

import "hearth/internal/redisconn"

// All keys have one hash tag, so that a script may touch any of them on a cluster:
//
//	{jobs}:job:ID            a hash: the job's fields
//	{jobs}:in:QUEUE:STATE    a sorted set of ID|KIND in the order of the names: lists and counts
//	{jobs}:due:QUEUE:KIND    a sorted set of the IDs that wait, by their time: claims
//	{jobs}:running           a sorted set of the IDs that run, by the end of their lease: rescues
//	{jobs}:cancelling        a set of the IDs that run and shall end
//	{jobs}:ended:STATE       a sorted set of the IDs that have ended, by when: purges
//	{jobs}:gone              a sorted set of the IDs that were deleted by somebody, by when, for a week
//	{jobs}:unique            a hash: the ID that holds each unique key
//	{jobs}:slots             a hash: the last slot of each periodic job
//	{jobs}:changed           the channel that tells of something to claim or to cancel
const (
	rootKey        = "{jobs}"
	changedChannel = "{jobs}:changed"
)

// prelude is what all scripts share. KEYS[1] is rootKey.
const prelude = `
local P = KEYS[1] .. ':'
local call = redis.call
local function job(id) return P .. 'job:' .. id end
local function shelf(queue, state) return P .. 'in:' .. queue .. ':' .. state end
local function due(queue, kind) return P .. 'due:' .. queue .. ':' .. kind end
local function ended(state) return state == 'completed' or state == 'dead' end
local function move(id, queue, kind, from, to)
  call('ZREM', shelf(queue, from), id .. '|' .. kind)
  call('ZADD', shelf(queue, to), 0, id .. '|' .. kind)
end
local function signal() call('PUBLISH', P .. 'changed', '') end
local function free(id, unique)
  if unique and unique ~= '' and call('HGET', P .. 'unique', unique) == id then call('HDEL', P .. 'unique', unique) end
end
-- finish books the end of a job that waits or runs.
local function finish(id, queue, kind, from, to, unique, now)
  move(id, queue, kind, from, to)
  call('ZADD', P .. 'ended:' .. to, now, id)
  free(id, unique)
end
-- add gives the ID of the job that stands for the new one, and whether that is the new one.
local function add(id, kind, queue, payload, state, max, unique, at, created)
  if call('EXISTS', job(id)) == 1 then return id, false end
  if unique ~= '' then
    local holder = call('HGET', P .. 'unique', unique)
    if holder then return holder, false end
    call('HSET', P .. 'unique', unique, id)
  end
  call('HSET', job(id), 'id', id, 'kind', kind, 'queue', queue, 'payload', payload, 'state', state, 'max', max, 'unique', unique,
    'at', at, 'created', created, 'attempt', 0, 'losses', 0, 'lease', 0)
  call('ZADD', shelf(queue, state), 0, id .. '|' .. kind)
  call('ZADD', due(queue, kind), at, id)
  return id, true
end
`

var (
	// enqueue adds the jobs ARGV[4] on, nine fields each, and returns the IDs that stand for them. ARGV[1] is the most
	// unfinished jobs, ARGV[2] and ARGV[3] the numbers of queues and of unfinished states, whose names follow.
	enqueue = redisconn.NewScript(prelude + `
local most, queues, states = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first = 4 + queues + states
local backlog = 0
for q = 4, 3 + queues do
  for s = 4 + queues, first - 1 do backlog = backlog + call('ZCARD', shelf(ARGV[q], ARGV[s])) end
end
if backlog + (#ARGV - first + 1) / 9 > most then return {'full', backlog} end
local ids, fresh = {'ok'}, false
for i = first, #ARGV, 9 do
  local id, added = add(ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3], ARGV[i+4], ARGV[i+5], ARGV[i+6], ARGV[i+7], ARGV[i+8])
  ids[#ids + 1] = id
  fresh = fresh or added
end
if fresh then signal() end
return ids`)

	// enqueueSlot adds the job ARGV[3] on if ARGV[2] is later than the last slot of ARGV[1].
	enqueueSlot = redisconn.NewScript(prelude + `
local last = call('HGET', P .. 'slots', ARGV[1])
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
call('HSET', P .. 'slots', ARGV[1], ARGV[2])
if not last then return 0 end
local _, added = add(unpack(ARGV, 3))
if not added then return 0 end
signal()
return 1`)

	// claim leases jobs to the worker ARGV[1]; ARGV[2] is now, ARGV[3] the end of the leases. Then come the number of
	// queues, each with its slots, and the number of kinds, each with its attempts. It returns the time of the next other
	// job, or 0, and the claimed jobs' fields.
	claim = redisconn.NewScript(prelude + `
local worker, now, ends = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local queues = tonumber(ARGV[4])
local kinds = 6 + 2 * queues
local next = 0
local answer = {0}
local function later(at) if next == 0 or at < next then next = at end end
for q = 5, 3 + 2 * queues, 2 do
  local queue, slots = ARGV[q], tonumber(ARGV[q + 1])
  local found = {}
  for k = kinds, #ARGV, 2 do
    local waiting = call('ZRANGE', due(queue, ARGV[k]), 0, slots, 'WITHSCORES')
    for i = 1, #waiting, 2 do
      found[#found + 1] = {id = waiting[i], at = tonumber(waiting[i + 1]), kind = ARGV[k], max = tonumber(ARGV[k + 1])}
    end
  end
  table.sort(found, function(a, b) if a.at ~= b.at then return a.at < b.at end return a.id < b.id end)
  for i, f in ipairs(found) do
    if i > slots or f.at > now then later(f.at) break end
    call('ZREM', due(queue, f.kind), f.id)
    move(f.id, queue, f.kind, call('HGET', job(f.id), 'state'), 'running')
    call('HINCRBY', job(f.id), 'attempt', 1)
    call('HINCRBY', job(f.id), 'lease', 1)
    call('HSET', job(f.id), 'state', 'running', 'worker', worker, 'started', now)
    call('HDEL', job(f.id), 'step', 'done', 'total')
    if f.max > 0 then call('HSET', job(f.id), 'max', f.max) end
    call('ZADD', P .. 'running', ends, f.id)
    answer[#answer + 1] = call('HGETALL', job(f.id))
  end
end
answer[1] = next
return answer`)

	// beat renews the leases of the worker ARGV[1] to ARGV[2]: from ARGV[3] on six fields a job, its ID, lease, whether there
	// is progress, and that. It returns the jobs that are lost.
	beat = redisconn.NewScript(prelude + `
local lost = {}
for i = 3, #ARGV, 6 do
  local id = ARGV[i]
  local held = call('HMGET', job(id), 'state', 'worker', 'lease')
  if held[1] == 'running' and held[2] == ARGV[1] and held[3] == ARGV[i+1] then
    call('ZADD', P .. 'running', ARGV[2], id)
    if ARGV[i+2] == '1' then call('HSET', job(id), 'step', ARGV[i+3], 'done', ARGV[i+4], 'total', ARGV[i+5]) end
  else
    lost[#lost + 1] = id
  end
end
return lost`)

	// cancelling returns the jobs of the worker ARGV[1] that shall end.
	cancelling = redisconn.NewScript(prelude + `
local mine = {}
for _, id in ipairs(call('SMEMBERS', P .. 'cancelling')) do
  if call('HGET', job(id), 'worker') == ARGV[1] then mine[#mine + 1] = id end
end
return mine`)

	// endRuns books outcomes: ARGV[1] is now, then ten fields each: ID, lease, state, next time, error, cancelled, whether
	// there is progress, and that. It returns the jobs that are lost.
	endRuns = redisconn.NewScript(prelude + `
local now, lost, waits = ARGV[1], {}, false
for i = 2, #ARGV, 10 do
  local id, outcome = ARGV[i], ARGV[i+2]
  local held = call('HMGET', job(id), 'state', 'lease', 'kind', 'queue', 'unique', 'attempt', 'at')
  if held[1] == 'running' and held[2] == ARGV[i+1] then
    local kind, queue = held[3], held[4]
    local wished = call('SREM', P .. 'cancelling', id) == 1
    local state, cancelled, at = outcome, ARGV[i+5], held[7]
    if wished then
      state = 'completed'
      if outcome ~= 'completed' then cancelled = '1' end
    end
    if outcome == 'pending' then call('HSET', job(id), 'attempt', tonumber(held[6]) - 1) end
    if outcome == 'retrying' then at = ARGV[i+3] end
    call('ZREM', P .. 'running', id)
    call('HSET', job(id), 'state', state, 'cancelled', cancelled, 'at', at, 'worker', '')
    if state ~= 'pending' then call('HSET', job(id), 'finished', now) end
    if state == 'completed' then call('HSET', job(id), 'payload', '{}') end
    if ARGV[i+4] ~= '' then call('HSET', job(id), 'error', ARGV[i+4]) end
    if ARGV[i+6] == '1' then call('HSET', job(id), 'step', ARGV[i+7], 'done', ARGV[i+8], 'total', ARGV[i+9]) end
    if ended(state) then
      finish(id, queue, kind, 'running', state, held[5], now)
    else
      move(id, queue, kind, 'running', state)
      call('ZADD', due(queue, kind), at, id)
      waits = true
    end
  else
    lost[#lost + 1] = id
  end
end
if waits then signal() end
return lost`)

	// rescue takes back at most ARGV[3] jobs whose lease ended before ARGV[1]. ARGV[2] is the most losses.
	rescue = redisconn.NewScript(prelude + `
local now = ARGV[1]
local expired = call('ZRANGEBYSCORE', P .. 'running', '-inf', '(' .. now, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(expired) do
  local held = call('HMGET', job(id), 'kind', 'queue', 'unique', 'attempt', 'losses', 'worker', 'at')
  local kind, queue = held[1], held[2]
  local wished = call('SREM', P .. 'cancelling', id) == 1
  local state = 'pending'
  if tonumber(held[5]) >= tonumber(ARGV[2]) then state = 'dead' end
  if wished then state = 'completed' end
  call('ZREM', P .. 'running', id)
  call('HSET', job(id), 'state', state, 'attempt', tonumber(held[4]) - 1, 'losses', tonumber(held[5]) + 1, 'worker', '',
    'error', 'the worker ' .. held[6] .. ' was lost', 'cancelled', wished and 1 or 0)
  if ended(state) then
    call('HSET', job(id), 'finished', now)
    if wished then call('HSET', job(id), 'payload', '{}') end
    finish(id, queue, kind, 'running', state, held[3], now)
  else
    move(id, queue, kind, 'running', state)
    call('ZADD', due(queue, kind), held[7], id)
  end
end
if #expired > 0 then signal() end
return #expired`)

	// purge removes at most ARGV[3] jobs that completed before ARGV[1] or died before ARGV[2].
	purge = redisconn.NewScript(prelude + `
local room, removed = tonumber(ARGV[3]), 0
for i, state in ipairs({'completed', 'dead'}) do
  local old = call('ZRANGEBYSCORE', P .. 'ended:' .. state, '-inf', '(' .. ARGV[i], 'LIMIT', 0, room - removed)
  for _, id in ipairs(old) do
    local held = call('HMGET', job(id), 'queue', 'kind')
    if held[1] then call('ZREM', shelf(held[1], state), id .. '|' .. held[2]) end
    call('ZREM', P .. 'ended:' .. state, id)
    call('DEL', job(id))
  end
  removed = removed + #old
end
return removed`)

	// settled tells of each job of ARGV whether it has ended (1), is still there (0) or is not known (2).
	settled = redisconn.NewScript(prelude + `
local answer = {}
for i, id in ipairs(ARGV) do
  local state = call('HGET', job(id), 'state')
  if state then
    answer[i] = ended(state) and 1 or 0
  else
    answer[i] = call('ZSCORE', P .. 'gone', id) and 1 or 2
  end
end
return answer`)

	// cancel, retry and delete change the job ARGV[1] at the time ARGV[2]. They answer ok, missing, or the state that is in
	// the way; retry also taken.
	cancel = redisconn.NewScript(prelude + `
local id = ARGV[1]
local held = call('HMGET', job(id), 'state', 'kind', 'queue', 'unique')
local state, kind, queue = held[1], held[2], held[3]
if not state then return 'missing' end
if ended(state) then return state end
if state == 'running' then
  call('SADD', P .. 'cancelling', id)
else
  call('ZREM', due(queue, kind), id)
  call('HSET', job(id), 'state', 'completed', 'cancelled', 1, 'payload', '{}', 'finished', ARGV[2])
  finish(id, queue, kind, state, 'completed', held[4], ARGV[2])
end
signal()
return 'ok'`)

	retry = redisconn.NewScript(prelude + `
local id = ARGV[1]
local held = call('HMGET', job(id), 'state', 'kind', 'queue', 'unique')
local state, kind, queue, unique = held[1], held[2], held[3], held[4]
if not state then return 'missing' end
if state == 'dead' then
  if unique ~= '' then
    if call('HSETNX', P .. 'unique', unique, id) == 0 then return 'taken' end
  end
  call('ZREM', P .. 'ended:dead', id)
  call('HSET', job(id), 'attempt', 0, 'losses', 0, 'finished', 0)
elseif state ~= 'scheduled' and state ~= 'retrying' then
  return state
end
move(id, queue, kind, state, 'pending')
call('HSET', job(id), 'state', 'pending', 'at', ARGV[2])
call('ZADD', due(queue, kind), ARGV[2], id)
signal()
return 'ok'`)

	remove = redisconn.NewScript(prelude + `
local id = ARGV[1]
local held = call('HMGET', job(id), 'state', 'kind', 'queue', 'unique')
local state, kind, queue = held[1], held[2], held[3]
if not state then return 'missing' end
if state == 'running' then return state end
call('ZREM', shelf(queue, state), id .. '|' .. kind)
call('ZREM', due(queue, kind), id)
call('ZREM', P .. 'ended:' .. state, id)
free(id, held[4])
call('DEL', job(id))
call('ZADD', P .. 'gone', ARGV[2], id)
call('ZREMRANGEBYSCORE', P .. 'gone', '-inf', tonumber(ARGV[2]) - 604800000)
signal()
return 'ok'`)
)
