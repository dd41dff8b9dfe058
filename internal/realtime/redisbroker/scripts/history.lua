-- history returns the top of the channel ARGV[2] and the events after ARGV[3], if there is one before the top; or only
-- their bytes if ARGV[5] is "1". ARGV[4] is how long the top is kept, in ms.
local ch = ARGV[2]
local at = call('HGET', top(ch), 't')
if not at then
  at = whole(micros())
  call('HSET', top(ch), 't', at, 'b', 0)
end
call('PEXPIRE', top(ch), ARGV[4])
local events = {}
if ARGV[3] ~= '' and tonumber(ARGV[3]) < tonumber(at) then events = call('XRANGE', log(ch), '(' .. ARGV[3], '+') end
if ARGV[5] == '1' then
  local bytes = 0
  for _, e in ipairs(events) do bytes = bytes + #e[2][4] end
  return {at, bytes}
end
return {at, events}
