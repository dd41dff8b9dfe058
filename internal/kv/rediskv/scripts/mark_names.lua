-- markNames invalidates the names ARGV[5] on. ARGV[2] is how many names are remembered, ARGV[3] the channel, ARGV[4] the
-- message.
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
for i = 5, #ARGV do redis.call('ZADD', KEYS[2], seq, ARGV[i]) end
local most = tonumber(ARGV[2])
local over = redis.call('ZCARD', KEYS[2]) - most
if over > 0 then
  local last = redis.call('ZRANGE', KEYS[2], over + math.floor(most / 10) - 1, over + math.floor(most / 10) - 1, 'WITHSCORES')
  redis.call('HSET', KEYS[1], 'floor', last[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', last[2])
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return seq
