-- beginEpoch begins the epoch ARGV[1] if the server is another one than the epoch was begun on, or if ARGV[2] is
-- "always". Then it publishes the message ARGV[4] in the channel ARGV[3].
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
if ARGV[2] ~= 'always' and redis.call('HGET', KEYS[1], 'run') == run then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'seq', 0, 'floor', 0, 'run', run)
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
