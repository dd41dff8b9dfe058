-- claim leases jobs to the worker ARGV[1]; ARGV[2] is now, ARGV[3] the end of the leases. A job that was added or ran
-- after ARGV[4] is due: the clock was ahead. Then come the number of
-- queues, each with its slots, and the number of kinds, each with its attempts. It returns the time of the next other
-- job, or 0, and the claimed jobs' fields.
local worker, now, ends = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local ahead, queues = tonumber(ARGV[4]), tonumber(ARGV[5])
local kinds = 7 + 2 * queues
local next = 0
local answer = {0}
local function jumped(id)
  local state, created, started = unpack(call('HMGET', job(id), 'state', 'created', 'started'))
  return state == 'pending' or math.max(tonumber(created or 0), tonumber(started or 0)) > ahead
end
local function later(at) if next == 0 or at < next then next = at end end
for q = 6, 4 + 2 * queues, 2 do
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
    if i > slots or f.at > now and not jumped(f.id) then later(f.at) break end
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
return answer
