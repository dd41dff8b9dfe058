-- sift tells which of the channels ARGV[3] on are wanted after ARGV[2].
local answer = {}
for i, ends in ipairs(call('ZMSCORE', KEYS[1] .. ':wanted', unpack(ARGV, 3))) do
  answer[i] = (ends and tonumber(ends) > tonumber(ARGV[2])) and 1 or 0
end
return answer
