-- cancel ends the job ARGV[1], or asks it to end, at the time ARGV[2]. It returns ok, missing, or the state that is in the way.
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
return 'ok'
