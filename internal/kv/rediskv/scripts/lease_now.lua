-- lease_now is what the scripts of a lease begin with: now, in microseconds, and the hold of KEYS[1].
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local held = redis.call('HMGET', KEYS[1], 'token', 'until')
local token, ends = tonumber(held[1] or '0'), tonumber(held[2] or '0')
