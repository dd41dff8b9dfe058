-- releaseLease ends the hold of the token ARGV[1].
if token == tonumber(ARGV[1]) and ends > 0 then redis.call('HSET', KEYS[1], 'until', 0) end
return 1
