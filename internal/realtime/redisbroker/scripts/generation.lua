-- generation returns the generation of all, and whether it begins now. A new one begins on a new server, and when the
-- present one is ARGV[1]. Generations grow: they are the time of their beginning in microseconds.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
local known = redis.call('HMGET', KEYS[1], 'run', 'gen')
if known[2] and known[1] == run and known[2] ~= ARGV[1] then return {known[2], 0} end
local t = redis.call('TIME')
local gen = tonumber(t[1]) * 1000000 + tonumber(t[2])
for _, old in ipairs({known[2] or '0', ARGV[1]}) do
  local n = tonumber(old) or 0
  if n >= gen then gen = n + 1 end
end
gen = string.format('%.0f', gen)
redis.call('HSET', KEYS[1], 'run', run, 'gen', gen)
return {gen, 1}
