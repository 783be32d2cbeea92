-- Both scripts begin with this: the facts of a store. Other programs may have changed any field.
--
-- epoch: the incarnation of the store. revision: of its last change. used: how full it is, in words. average: of the sizes
-- of changes, in bytes. ends: whether there are expiry times.

-- A whole number that is exact; nil otherwise.
local function whole(text)
  local number = tonumber(text)
  if number and number <= 2 ^ 53 and number % 1 == 0 then return number end
end

-- Returns the facts by their names; a missing field is nil. The second result is the error if another program
-- has written one of them.
local function read_facts(key)
  local epoch, revision, used, average, ends =
    unpack(redis.call('HMGET', key, 'epoch', 'revision', 'used', 'average', 'ends'))
  local facts = { revision = whole(revision), used = whole(used), average = tonumber(average), ends = whole(ends) }
  local field, found
  if epoch then
    if #epoch == 16 then facts.epoch = epoch else field, found = 'epoch', epoch end
  end
  if revision and not (facts.revision and facts.revision >= 0) then field, found = 'revision', revision end
  if used and not facts.used then field, found = 'used', used end
  -- NaN is not equal to itself.
  if average and not (facts.average and facts.average >= 0 and facts.average <= 2 ^ 53) then
    field, found = 'average', average
  end
  if ends and facts.ends ~= 0 and facts.ends ~= 1 then field, found = 'ends', ends end
  if not field then return facts end
  local shown = string.gsub(string.sub(found, 1, 40), '[^%w%p ]', '?')
  local what = 'the field ' .. field .. ' of the key ' .. key
  return nil, redis.error_reply('RCLUSTERTYPE ' .. what .. ' was not written by a store: "' .. shown .. '"')
end
