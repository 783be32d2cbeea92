-- Registers the connection of a writer: from now on only this connection writes for it. Creates the store if necessary.
--
-- KEYS: as in write.lua.
-- ARGV: 1 the connection, 2 the epoch of a new store, 3 the epoch that the writer knows or '', 4 the last revision that it
-- has applied, 5 the last entry of the changes that it has applied or ''.
-- Returns the epoch, the revision that the server had reached, the time, whether the stream still has the changes after the
-- writer's position, its last batch and the answer to that.
local VALUES, FACTS, ENDS, CHANGES, WRITER = unpack(KEYS)
for place, kind in ipairs({ 'hash', 'hash', 'zset', 'stream', 'hash' }) do
  local found = redis.call('TYPE', KEYS[place]).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('RCLUSTERTYPE the key ' .. KEYS[place] .. ' is a ' .. found .. ' and not a ' .. kind)
  end
end
local facts, wrong = read_facts(FACTS)
if wrong then return wrong end

local batch, answer = unpack(redis.call('HMGET', WRITER, 'batch', 'answer'))
-- The first command needs no memory: then a server that is out of memory does not refuse the others.
redis.call('HDEL', WRITER, 'connection')
redis.call('HSET', WRITER, 'connection', ARGV[1])
redis.call('PEXPIRE', WRITER, 86400000)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch, revision, used = facts.epoch, facts.revision, facts.used
local reached = tonumber(ARGV[4])
local goes_on, is_whole = false, true

-- How full the store is, and its highest revision, computed from its values alone.
local function count()
  local words, highest = 0, 0
  local all = redis.call('HGETALL', VALUES)
  for place = 1, #all, 2 do
    local key, raw = all[place], all[place + 1]
    if #raw >= 17 then
      local of, expires = struct.unpack('<dd', raw)
      words = words + 3 + (expires ~= 0 and 1 or 0) + math.ceil(#key / 8) + math.ceil((#raw - 17) / 8)
      highest = math.max(highest, of)
    end
  end
  return words, highest
end

if epoch then
  -- A batch has failed in the middle, or another program has deleted the values or a fact: then machines may
  -- have other values than the server.
  is_whole = revision and used and facts.average and (used <= 0 or redis.call('EXISTS', VALUES) == 1)
  if not is_whole then
    local words, highest = count()
    redis.call('HSET', FACTS, 'used', string.format('%.0f', words), 'average', facts.average or 128)
    revision = math.max(revision or 0, highest)
  end
  if ARGV[5] == '' then
    goes_on = epoch == ARGV[3] and revision == reached
  else
    goes_on = epoch == ARGV[3] and revision >= reached and #redis.call('XRANGE', CHANGES, ARGV[5], ARGV[5]) > 0
  end
else
  redis.call('DEL', VALUES, ENDS, CHANGES)
  redis.call('HSET', FACTS, 'used', 0, 'average', 128, 'ends', 0)
end
-- A server that has lost its latest writes, as after a restart or a failover, has also lost their revisions, and cannot know
-- that. So each greeting leaps over those that may have been given out: all writes since begin beyond them. They begin with
-- the time in microseconds. If they are ahead of it, as when the clock was set back, the microseconds of the second make it
-- unlikely that a leap that was lost as well has led to the same ones.
local reached_here = revision or 0
local LEAP = 1000000
local MAX_CHANGES = 100000
revision = math.max(time[1] * 1000000 + time[2], math.max(reached, reached_here) + LEAP + time[2])
local is_new = not epoch or not is_whole or (epoch == ARGV[3] and not goes_on and reached_here <= reached)
if is_new then
  -- The store is new, or the server has lost acknowledged writes of which this writer knows.
  epoch, goes_on = ARGV[2], false
end
-- An entry without changes: the leap, and where it begins.
local leap = epoch .. struct.pack('<dId', revision, 0, reached_here)
-- Trimmed, because a machine that cannot load greets again and again, also if nobody writes.
local told = redis.pcall('XADD', CHANGES, 'MAXLEN', '~', MAX_CHANGES, '*', 'd', leap)
-- Without a right to add to the stream there is no leap: machines would wait for it, and no write succeeds either.
if is_new or not (type(told) == 'table' and told.err) then
  redis.call('HSET', FACTS, 'epoch', epoch, 'revision', string.format('%.0f', revision))
end
return {
  epoch,
  string.format('%.0f', reached_here),
  string.format('%.0f', now),
  goes_on and '1' or '0',
  batch or '',
  answer or '',
}
