-- endRuns books outcomes: ARGV[1] is now, then ten fields each: ID, lease, state, next time, error, cancelled, whether
-- there is progress, and that. It returns the jobs that are lost.
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
return lost
