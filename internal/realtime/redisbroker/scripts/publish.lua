-- publish keeps an event and publishes it on the bus, in one step: ARGV are the bus's channel for it and the caller's ID there, the
-- most events and bytes of a channel, how long they are kept in ms, the channel, the time in ms, and the data.
local to, from, size, limit, age = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local ch, now, data = ARGV[7], ARGV[8], ARGV[9]
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
call('PUBLISH', to, from .. 'P ' .. ARGV[1] .. ' ' .. whole(offset) .. ' ' .. now .. '\n' .. data)
return whole(offset)
