-- breakPlaces makes the places of the channel ARGV[4] unplaceable: its next event comes two beyond everything before.
-- ARGV[2] is the bus's channel for its events, ARGV[3] the caller's ID there, ARGV[5] how long the top is kept, in ms.
local ch = ARGV[4]
local at = math.max(tonumber(call('HGET', top(ch), 't') or '0') + 2, micros())
call('DEL', log(ch))
call('HSET', top(ch), 't', whole(at), 'b', 0)
call('PEXPIRE', top(ch), ARGV[5])
call('PUBLISH', ARGV[2], ARGV[3] .. 'B ' .. ARGV[1])
return 'ok'
