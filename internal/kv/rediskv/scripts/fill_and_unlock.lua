-- fillAndUnlock sets KEYS[1] to ARGV[2] for ARGV[3] ms, if that is not 0, and frees the lock KEYS[2] if it is held as
-- ARGV[1].
if ARGV[3] ~= '0' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
