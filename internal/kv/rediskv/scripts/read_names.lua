-- readNames returns the epoch, the number of the last invalidation, and the highest number of the names, which are ARGV[2] on.
local high = tonumber(state[3])
for _, mark in ipairs(redis.call('ZMSCORE', KEYS[2], unpack(ARGV, 2))) do
  if mark and tonumber(mark) > high then high = tonumber(mark) end
end
return {state[1], tonumber(state[2]), high}
