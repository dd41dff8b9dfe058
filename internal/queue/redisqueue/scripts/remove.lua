-- remove deletes the job ARGV[1] at the time ARGV[2]. It returns ok, missing, or the state that is in the way.
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
return 'ok'
