-- common is what the scripts of a part begin with: KEYS[1] is the part, ARGV[1] the caller's generation. A caller of another
-- one than the part's is told, and has done nothing.
if redis.call('GET', KEYS[1] .. ':gen') ~= ARGV[1] then return 'lost' end
local call = redis.call
local function micros()
  local t = call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function whole(n) return string.format('%.0f', n) end
local function top(ch) return KEYS[1] .. ':' .. ARGV[1] .. ':top:' .. ch end
local function log(ch) return KEYS[1] .. ':' .. ARGV[1] .. ':log:' .. ch end
