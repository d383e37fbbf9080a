-- Takes the lock KEYS[1] for ARGV[1] during ARGV[2] milliseconds, or renews it
-- if ARGV[1] holds it already. Returns 1 if ARGV[1] holds it now.
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
	return 1
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	return 1
end
return 0
