-- Draws the next number of the counter KEYS[1], after setting it to ARGV[2] if
-- it is not above ARGV[1]. Numbers are compared and returned as strings, because a number
-- of Lua is exact only up to 2^53. What is no integer is left to INCR, whose
-- error then names it.
local current = redis.call('GET', KEYS[1])
local floor = ARGV[1]
local behind = false
if not current then
	behind = true
elseif string.match(current, '^-%d+$') then
	behind = true
elseif string.match(current, '^%d+$') then
	behind = #current < #floor or (#current == #floor and current <= floor)
end
if behind then
	redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('INCR', KEYS[1])
return redis.call('GET', KEYS[1])
