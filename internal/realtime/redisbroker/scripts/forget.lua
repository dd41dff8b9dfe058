-- forget drops the events of the channel ARGV[2]; places stay.
call('DEL', log(ARGV[2]))
return 'ok'
