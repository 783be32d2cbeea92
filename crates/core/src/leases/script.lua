-- A lease by name. Its hash has the fields
--   owner   the current owner, or ''   until   when it ends, in ms of the server's clock
--   token   the last fencing token     ttl     the longest time to live so far, in ms
--   turn    the next machine to get it turn_until   until when it is reserved for that machine
--   waiting until when a request waits, so that a release must be published
--
-- KEYS: 1 the hash, 2 the stream in which releases are published, 3 a hash about the server:
--   run      the last known id of its run
--   changed  since when it has been this run, in ms of the server's clock
-- ARGV: 1 the operation (acquire, steal, renew, release), 2 the owner, 3 the time to live in ms, 4 the owner's token or '0',
-- 5 the machine, 6 the name.
-- Returns the result and a number:
--   held and the token; busy and the ms after which to retry; renewed, lost or released, and 0.
local key, what, owner, ttl = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local token, machine = tonumber(ARGV[4]), ARGV[5]

-- How long a released lease is reserved for the next machine in turn, in ms.
local TURN = 500
-- How long an unused hash is kept, in ms.
local KEPT = 86400000
-- The approximate number of releases kept: a machine that was disconnected for longer sends its requests again.
local RELEASES = 1000

-- The first command needs no memory: then a server that is out of memory does not refuse the others.
redis.call('HDEL', key, '-')

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local micros = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end

local has = {}
local all = redis.call('HGETALL', key)
for place = 1, #all, 2 do has[all[place]] = all[place + 1] end
local function number(field) return tonumber(has[field] or '0') end
local longest = math.max(number('ttl'), ttl)

-- A server that was restarted, or that was a replica, may not know the last lease. No other owner gets one until that lease
-- must have ended; its owner keeps it. If nothing is known of the server, this is its first lease, or it lost all data when
-- it was started; its uptime is rounded down. Or it was a replica that had received nothing yet, which may run for long.
local facts = redis.call('INFO', 'server')
local run = string.match(facts, 'run_id:(%w+)') or ''
local known, changed = unpack(redis.call('HMGET', KEYS[3], 'run', 'changed'))
if known ~= run then
  local uptime = tonumber(string.match(facts, 'uptime_in_seconds:(%d+)') or '0') * 1000
  local was_replica = not string.find(redis.call('INFO', 'replication'), 'second_repl_offset:-1', 1, true)
  changed = (known or was_replica) and now or now - uptime
  redis.call('HSET', KEYS[3], 'run', run, 'changed', text(changed))
end
if tonumber(changed) > now then
  -- The clock was set back.
  changed = now
  redis.call('HSET', KEYS[3], 'changed', text(changed))
end
local ready = tonumber(changed) + longest

-- A time that is further in the future than any that is written now was written before the clock was set back. What ends then
-- has at most its whole length left, so it is moved to there: nobody waits longer for it, and it does not end early.
local function limit(field, most)
  if number(field) > now + most then
    has[field] = text(now + most)
    redis.call('HSET', key, field, has[field])
  end
end
limit('until', longest)
limit('turn_until', longest + TURN)
limit('waiting', 2 * longest + TURN)

local function keep(...)
  redis.call('HSET', key, 'ttl', text(longest), ...)
  redis.call('PEXPIRE', key, KEPT + longest)
end

local function tell()
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', RELEASES, '*', 'name', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], KEPT)
end

local free = (has.owner or '') == '' or number('until') <= now
local mine = has.owner == owner

if what == 'release' then
  if mine then
    keep('owner', '', 'turn_until', text(now + TURN))
    if number('waiting') > now then tell() end
  end
  return { 'released', '0' }
end

if what == 'renew' then
  -- If the lease is gone and no other owner has had it since, its owner keeps it. The same if the server has lost it and
  -- knows only an older one.
  if (mine or free) and number('token') <= token or number('token') < token then
    keep('owner', owner, 'until', text(now + ttl), 'token', text(token))
    return { 'renewed', '0' }
  end
  return { 'lost', '0' }
end

local wait = 0
-- If it has the lease already, the answer has not arrived, and it does not use it. A server that has lost later leases may
-- also say so, so it gets another token, and not before those must have ended.
if not mine and what ~= 'steal' then
  if not free then
    wait = number('until') - now
  elseif (has.turn or '') ~= '' and has.turn ~= machine and number('turn_until') > now then
    wait = number('turn_until') - now
  end
end
if ready > now then wait = math.max(wait, ready - now) end
if wait > 0 then
  local turn, turn_until = has.turn or '', number('turn_until')
  if turn == '' or turn_until <= now then turn, turn_until = machine, now + wait + TURN end
  local waiting = math.max(number('waiting'), now + wait + longest)
  keep('turn', turn, 'turn_until', text(turn_until), 'waiting', text(waiting))
  return { 'busy', text(wait) }
end

-- Tokens increase even if the server has lost the last one, as long as its clock advances.
token = math.max(number('token') + 1, micros)
if what == 'steal' and not free and not mine then tell() end
local turn = has.turn or ''
if turn == machine then turn = '' end
keep('owner', owner, 'until', text(now + ttl), 'token', text(token), 'turn', turn)
return { 'held', text(token) }
