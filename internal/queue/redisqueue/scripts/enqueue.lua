-- enqueue adds the jobs ARGV[4] on, nine fields each, and returns the IDs that stand for them. ARGV[1] is the most
-- unfinished jobs, ARGV[2] and ARGV[3] the numbers of queues and of unfinished states, whose names follow.
local most, queues, states = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first = 4 + queues + states
local backlog = 0
for q = 4, 3 + queues do
  for s = 4 + queues, first - 1 do backlog = backlog + call('ZCARD', shelf(ARGV[q], ARGV[s])) end
end
if backlog + (#ARGV - first + 1) / 9 > most then return {'full', backlog} end
local ids, fresh = {'ok'}, false
for i = first, #ARGV, 9 do
  local id, added = add(ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3], ARGV[i+4], ARGV[i+5], ARGV[i+6], ARGV[i+7], ARGV[i+8])
  ids[#ids + 1] = id
  fresh = fresh or added
end
if fresh then signal() end
return ids
