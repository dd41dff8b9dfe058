-- begin is how each script makes sure that there is an epoch. ARGV[1] is a new one.
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'floor')
if not state[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', 0, 'floor', 0)
  redis.call('DEL', KEYS[2])
  state = {ARGV[1], '0', '0'}
end
