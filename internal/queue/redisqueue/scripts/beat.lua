-- beat renews the leases of the worker ARGV[1] to ARGV[2]: from ARGV[3] on six fields a job, its ID, lease, whether there
-- is progress, and that. It returns the jobs that are lost.
local lost = {}
for i = 3, #ARGV, 6 do
  local id = ARGV[i]
  local held = call('HMGET', job(id), 'state', 'worker', 'lease')
  if held[1] == 'running' and held[2] == ARGV[1] and held[3] == ARGV[i+1] then
    call('ZADD', P .. 'running', ARGV[2], id)
    if ARGV[i+2] == '1' then call('HSET', job(id), 'step', ARGV[i+3], 'done', ARGV[i+4], 'total', ARGV[i+5]) end
  else
    lost[#lost + 1] = id
  end
end
return lost
