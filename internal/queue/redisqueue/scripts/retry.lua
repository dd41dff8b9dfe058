-- retry makes the job ARGV[1] pending at the time ARGV[2]. It returns ok, missing, taken, or the state that is in the way.
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
return 'ok'
