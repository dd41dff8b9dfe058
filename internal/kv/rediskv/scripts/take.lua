-- take is kv.Rate.Take for KEYS[1]: ARGV are the interval in microseconds, the limit, and n, which is 0 to the limit + 1.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval, limit, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local burst = interval * limit
local full = tonumber(redis.call('GET', KEYS[1]) or '0')
local start = math.min(math.max(full, now), now + burst)
local after = start + want * interval
local over = after - now - burst
local allowed = over <= 0
if want == 0 then
  over = start + interval - now - burst
  allowed = over <= 0
end
local retry = 0
if not allowed then
  retry = over
  after = start
elseif want > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.floor((after - now) / 1000) + 1)
end
return {allowed and 1 or 0, math.floor((burst - (after - now)) / interval), after - now, retry}
