-- readOrLock returns the value of KEYS[1] and its remaining ms, unless ARGV[3] is "1"; else who holds the lock KEYS[2],
-- which is now taken as ARGV[1] for ARGV[2] ms if it was not acquired.
if ARGV[3] ~= '1' then
  local value = redis.call('GET', KEYS[1])
  if value then return {value, redis.call('PTTL', KEYS[1])} end
end
local holder = redis.call('GET', KEYS[2])
if holder then return holder end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
