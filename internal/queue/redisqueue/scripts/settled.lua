-- settled tells of each job of ARGV whether it has ended (1), is still there (0) or is not known (2).
local answer = {}
for i, id in ipairs(ARGV) do
  local state = call('HGET', job(id), 'state')
  if state then
    answer[i] = ended(state) and 1 or 0
  else
    answer[i] = call('ZSCORE', P .. 'gone', id) and 1 or 2
  end
end
return answer
