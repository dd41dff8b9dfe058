-- prelude is what all scripts share. KEYS[1] is rootKey. ARGV begins with the bus's channel of wake-ups and the caller's ID there;
-- the scripts count from what follows.
local wakeups, caller = table.remove(ARGV, 1), table.remove(ARGV, 1)
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
local function signal() call('PUBLISH', wakeups, caller) end
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
