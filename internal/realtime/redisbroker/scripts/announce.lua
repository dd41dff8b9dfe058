-- announce notes the channels ARGV[5] on to be wanted until ARGV[4]; what was wanted until ARGV[3] is forgotten. ARGV[1]
-- must be the generation of the part. Only whoever began it (ARGV[2] is "1") returns it to a part that has an earlier
-- one or none: otherwise the part has lost what was wanted.
local known = redis.call('GET', KEYS[1] .. ':gen')
if known ~= ARGV[1] then
  if ARGV[2] ~= '1' or (known and tonumber(known) > tonumber(ARGV[1])) then return 'lost' end
  redis.call('SET', KEYS[1] .. ':gen', ARGV[1])
end
local wanted = KEYS[1] .. ':wanted'
redis.call('ZREMRANGEBYSCORE', wanted, '-inf', ARGV[3])
for i = 5, #ARGV do redis.call('ZADD', wanted, 'GT', ARGV[4], ARGV[i]) end
return 'ok'
