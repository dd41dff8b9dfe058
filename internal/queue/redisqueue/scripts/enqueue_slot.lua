-- enqueueSlot adds the job ARGV[4] on if ARGV[2] is later than the last slot of ARGV[1]. A last slot after ARGV[3] is of a clock that was
-- ahead, and counts as none.
local last = call('HGET', P .. 'slots', ARGV[1])
if last and tonumber(last) > tonumber(ARGV[3]) then last = false end
if last and tonumber(ARGV[2]) <= tonumber(last) then return 0 end
call('HSET', P .. 'slots', ARGV[1], ARGV[2])
if not last then return 0 end
local _, added = add(unpack(ARGV, 4))
if not added then return 0 end
signal()
return 1
