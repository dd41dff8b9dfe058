-- purge removes at most ARGV[3] jobs that completed before ARGV[1] or died before ARGV[2].
local room, removed = tonumber(ARGV[3]), 0
for i, state in ipairs({'completed', 'dead'}) do
  local old = call('ZRANGEBYSCORE', P .. 'ended:' .. state, '-inf', '(' .. ARGV[i], 'LIMIT', 0, room - removed)
  for _, id in ipairs(old) do
    local held = call('HMGET', job(id), 'queue', 'kind')
    if held[1] then call('ZREM', shelf(held[1], state), id .. '|' .. held[2]) end
    call('ZREM', P .. 'ended:' .. state, id)
    call('DEL', job(id))
  end
  removed = removed + #old
end
return removed
