-- cancelling returns the jobs of the worker ARGV[1] that shall end.
local mine = {}
for _, id in ipairs(call('SMEMBERS', P .. 'cancelling')) do
  if call('HGET', job(id), 'worker') == ARGV[1] then mine[#mine + 1] = id end
end
return mine
