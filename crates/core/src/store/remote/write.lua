-- Executes a batch of requests in order, each completely or not at all, and publishes the changes. The rules are those of
-- crates/core/src/store/plan.rs.
--
-- KEYS: 1 values (hash), 2 facts (hash), 3 expiry times (sorted set), 4 changes (stream), 5 the state of this writer (hash)
-- ARGV: 1 the connection of this writer, 2 the number of the batch, 3 the largest number of words, 4 how many bytes of
-- changes to keep, 5 how many changes to keep, 6 whether to remove expired keys; then three for each operation: its head,
-- its key, its value.
--
-- The server does not undo what a script has done before it failed, for example because a permission is
-- missing. The script then removes the fields `used` and `ends`: the next greeting counts again, and lets all
-- machines reload the store; the next batch adds the missing expiry times.
local VALUES, FACTS, ENDS, CHANGES, WRITER = unpack(KEYS)
local LIMIT, HISTORY, MOST = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ABSENT = 0
-- How many expired keys are removed at a time, and how often for writes that do not fit: others wait meanwhile.
local SOME, ROUNDS = 256, 16

if redis.call('HGET', WRITER, 'connection') ~= ARGV[1] then
  return redis.error_reply('RCLUSTERGREET this connection is not the one of this writer')
end
local facts, wrong = read_facts(FACTS)
if wrong then return wrong end
local epoch, revision, used, average = facts.epoch, facts.revision, facts.used, facts.average
if not (epoch and revision and used and average) then
  return redis.error_reply('RCLUSTERGREET the store has been deleted, or a batch has failed in the middle')
end
if used > 0 and redis.call('EXISTS', VALUES) == 0 then
  return redis.error_reply('RCLUSTERGREET the values have been deleted')
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local groups, results = {}, {}
local has_written, has_changed_ends = false, false
-- Whether there may be more expired keys.
local has_expired = false

-- Executes a command that writes.
local function put(command, key, ...)
  local result = redis.call(command, key, ...)
  has_written = true
  if key == ENDS then has_changed_ends = true end
  return result
end

local function words(key, value_len, expires)
  return 3 + (expires ~= 0 and 1 or 0) + math.ceil(#key / 8) + math.ceil(value_len / 8)
end

-- The stored value of a key: bytes, revision, expiry time, kind. Data that is too short was written by
-- another program: it is not a value, and is overwritten.
local function stored(key)
  local raw = redis.call('HGET', VALUES, key)
  if not raw or #raw < 17 then return nil, ABSENT, 0, 0 end
  local of, expires, kind = struct.unpack('<ddB', raw)
  return raw, of, expires, kind
end

local function change(number, kind, key, value, expires)
  return struct.pack('<BBHId', number, kind, #key, #value, expires) .. key .. value
end

-- Adds the changes of one revision.
local function tell(changes)
  groups[#groups + 1] = struct.pack('<dI', revision, #changes) .. table.concat(changes)
end

local function answer(status, of, number)
  results[#results + 1] = struct.pack('<Bdd', status, of, number)
end

-- Adds the expiry times of all values.
local function restore_ends()
  local all = redis.call('HGETALL', VALUES)
  for place = 1, #all, 2 do
    local key, raw = all[place], all[place + 1]
    local expires = #raw < 17 and 0 or select(2, struct.unpack('<dd', raw))
    if expires > 0 and expires < 2 ^ 53 then put('ZADD', ENDS, string.format('%.0f', expires), key) end
  end
  facts.ends = redis.call('EXISTS', ENDS)
  put('HSET', FACTS, 'ends', facts.ends)
end

-- Removes a value that has expired. That is a change of its own.
local function expire(key, raw, expires)
  put('ZREM', ENDS, key)
  put('HDEL', VALUES, key)
  used = used - words(key, #raw - 17, expires)
  revision = revision + 1
  tell({ change(3, 0, key, '', 0) })
end

local function is_over(expires)
  return expires ~= 0 and expires <= now
end

local function remove_expired()
  local keys = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, SOME)
  has_expired = #keys == SOME
  for _, key in ipairs(keys) do
    local raw, _, expires = stored(key)
    if raw and is_over(expires) then
      expire(key, raw, expires)
    elseif raw and expires > now then
      put('ZADD', ENDS, expires, key)
    else
      put('ZREM', ENDS, key)
    end
  end
end

-- Removes expired keys for a write that does not fit. Returns whether it may fit now.
local function make_room()
  if ROUNDS == 0 then return false end
  ROUNDS = ROUNDS - 1
  local before = used
  remove_expired()
  return has_expired or used < before
end

local function clear(prefix)
  local count = 0
  if prefix == '' then
    for _ = 1, ROUNDS do
      remove_expired()
      if not has_expired then break end
    end
    count = redis.call('HLEN', VALUES)
    if count > 0 then
      put('DEL', ENDS)
      put('DEL', VALUES)
      used = 0
    end
  else
    for _, key in ipairs(redis.call('HKEYS', VALUES)) do
      if string.sub(key, 1, #prefix) == prefix then
        local raw, _, expires = stored(key)
        if raw and is_over(expires) then
          expire(key, raw, expires)
        else
          put('HDEL', VALUES, key)
          if expires ~= 0 then put('ZREM', ENDS, key) end
          if raw then used = used - words(key, #raw - 17, expires) end
          count = count + 1
        end
      end
    end
  end
  if count > 0 then
    revision = revision + 1
    tell({ change(5, 0, prefix, '', 0) })
  end
  answer(0, revision, count)
end

-- Plans all operations of a request, and executes them if none is refused.
local function write(first, last)
  local planned, order, before, number = {}, {}, {}, 0
  -- Expired values are removed first, so that their expiry is a change before this one.
  for at = first, last, 3 do
    local key = ARGV[at + 1]
    if not before[key] then
      local raw, of, expires, kind = stored(key)
      if raw and is_over(expires) then
        expire(key, raw, expires)
        raw, of, expires, kind = nil, ABSENT, 0, 0
      end
      before[key] = { raw = raw, of = of, expires = expires, kind = kind }
    end
  end
  for at = first, last, 3 do
    local code, _, kind, lifetime, condition, ms, wanted, by, initial = struct.unpack('<BBBBBdddd', ARGV[at])
    local key, value = ARGV[at + 1], ARGV[at + 2]
    local has, of, expires, kind_before, value_before = false, ABSENT, 0, 0, ''
    local plan, old = planned[key], before[key]
    if plan then
      if plan.value and not is_over(plan.expires) then
        has, of, expires, kind_before, value_before = true, revision + 1, plan.expires, plan.kind, plan.value
      end
    elseif old.raw then
      has, of, expires, kind_before, value_before = true, old.of, old.expires, old.kind, nil
    end
    local function refused(status)
      -- What the request itself has planned does not exist yet.
      return answer(status, old.of, 0)
    end
    local function current_value()
      return value_before or string.sub(old.raw, 18)
    end
    local ends = 0
    if lifetime == 1 then ends = expires elseif lifetime == 2 then ends = now + ms end

    if condition == 1 and wanted ~= of then return refused(1) end
    if (code == 2 or code == 3) and not has then return refused(1) end
    local wanted_plan
    if code == 1 then
      wanted_plan = { kind = kind, value = value, expires = ends }
    elseif code == 2 then
      wanted_plan = { kind = 0, value = false, expires = 0 }
    elseif code == 3 then
      wanted_plan = { kind = kind_before, value = current_value(), expires = ends }
    elseif code == 4 then
      local sum = initial
      if has then
        local bytes = current_value()
        if kind_before ~= 1 or #bytes ~= 8 then return refused(2) end
        sum, ends = struct.unpack('<d', bytes), expires
      end
      number = sum + by
      -- For Infinity and NaN, the difference from themselves is NaN.
      if number - number ~= 0 then return refused(2) end
      wanted_plan = { kind = 1, value = struct.pack('<d', number), expires = ends }
    end
    if wanted_plan then
      if plan then
        for place, other in ipairs(order) do
          if other == key then table.remove(order, place) break end
        end
      end
      planned[key] = wanted_plan
      order[#order + 1] = key
    end
  end

  local added, replaced, count = 0, 0, 0
  for _, key in ipairs(order) do
    local plan, old = planned[key], before[key]
    -- A key that was created and deleted in the same request leaves no change.
    if plan.value or old.raw then
      count = count + 1
      if plan.value then added = added + words(key, #plan.value, plan.expires) end
      if old.raw then replaced = replaced + words(key, #old.raw - 17, old.expires) end
    end
  end
  if count == 0 then return answer(0, revision, number) end
  if added > 0 and used + added - replaced > LIMIT then
    if make_room() then return write(first, last) end
    return answer(3, revision, 0)
  end

  revision, used = revision + 1, used + added - replaced
  local changes = {}
  for _, key in ipairs(order) do
    local plan, old = planned[key], before[key]
    if plan.value then
      put('HSET', VALUES, key, struct.pack('<ddB', revision, plan.expires, plan.kind) .. plan.value)
      if plan.expires ~= 0 then
        put('ZADD', ENDS, string.format('%.0f', plan.expires), key)
      elseif old.expires ~= 0 then
        put('ZREM', ENDS, key)
      end
      changes[#changes + 1] = change(1, plan.kind, key, plan.value, plan.expires)
    elseif old.raw then
      put('HDEL', VALUES, key)
      if old.expires ~= 0 then put('ZREM', ENDS, key) end
      changes[#changes + 1] = change(2, 0, key, '', 0)
    end
  end
  tell(changes)
  answer(0, revision, number)
end

local function execute()
  -- A batch has failed in the middle, or another program has deleted the expiry times.
  if not facts.ends or (facts.ends == 1 and redis.call('EXISTS', ENDS) == 0) then restore_ends() end
  if ARGV[6] == '1' then remove_expired() end
  local at = 7
  while at <= #ARGV do
    local code, more = struct.unpack('<BB', ARGV[at])
    if code == 6 then
      clear(ARGV[at + 1])
      at = at + 3
    else
      local first = at
      while more == 1 do
        at = at + 3
        code, more = struct.unpack('<BB', ARGV[at])
      end
      write(first, at)
      at = at + 3
    end
  end

  local all = table.concat(results)
  if #groups > 0 then
    local payload = epoch .. table.concat(groups)
    average = average + (#payload - average) / 32
    local most = math.max(16, math.min(MOST, math.floor(HISTORY / average)))
    put('XADD', CHANGES, 'MAXLEN', '~', most, '*', 'd', payload)
    put(
      'HSET',
      FACTS,
      'revision',
      string.format('%.0f', revision),
      'used',
      string.format('%.0f', used),
      'average',
      string.format('%.3f', average),
      'ends',
      has_changed_ends and redis.call('EXISTS', ENDS) or facts.ends
    )
    -- If the answer is lost, this writer gets it when it reconnects.
    put('HSET', WRITER, 'batch', ARGV[2], 'answer', struct.pack('<dd', revision, 0) .. all)
  end
  return struct.pack('<dd', revision, has_expired and 1 or 0) .. all
end

local is_done, result = pcall(execute)
if is_done then return result end
local why = type(result) == 'table' and result.err or result
if not string.find(why, '^%u+ ') then why = 'ERR ' .. why end
if has_written then
  redis.pcall('HDEL', FACTS, 'used', 'ends')
  why = 'RCLUSTERTORN a batch has failed in the middle: ' .. why
end
return redis.error_reply((string.gsub(why, '[\r\n]', ' ')))
