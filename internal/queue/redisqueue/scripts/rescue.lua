-- rescue takes back at most ARGV[3] jobs whose lease ended before ARGV[1], or ends after ARGV[4]. ARGV[2] is the most losses.
local now = ARGV[1]
local expired = call('ZRANGEBYSCORE', P .. 'running', '-inf', '(' .. now, 'LIMIT', 0, ARGV[3])
if #expired == 0 then expired = call('ZRANGEBYSCORE', P .. 'running', '(' .. ARGV[4], '+inf', 'LIMIT', 0, ARGV[3]) end
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
return #expired
