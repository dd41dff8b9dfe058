-- renewLease returns 1 if ARGV[2] is the token of the hold.
if now >= ends or token ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[1])))
redis.call('EXPIRE', KEYS[1], 86400)
return 1
