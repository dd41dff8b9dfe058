-- acquireLease returns the new token, or 0 if KEYS[1] is held. ARGV[1] is the TTL in microseconds.
if now < ends then return 0 end
token = math.max(now, token + 1)
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token), 'until', string.format('%.0f', now + tonumber(ARGV[1])))
redis.call('EXPIRE', KEYS[1], 86400)
return token
