-- Both scripts begin with this: the facts of a store, of which others may have changed any field.
--
-- epoch: the incarnation of the store. revision: of its last change. used: how full it is, in words. average: of the sizes
-- of changes, in bytes. ends: whether there are expiry times.
local FIELDS = { 'epoch', 'revision', 'used', 'average', 'ends' }
local FORMS = {
  epoch = '^' .. string.rep('%w', 16) .. '$',
  revision = '^%d+$',
  used = '^%-?%d+$',
  average = '^%d+%.?%d*$',
  ends = '^[01]$',
}

-- Returns the facts by their names; a field that is missing is nil. The second result is the error if somebody else has
-- written one of them.
local function read_facts(key)
  local facts, values = {}, redis.call('HMGET', key, unpack(FIELDS))
  for place, field in ipairs(FIELDS) do
    local text = values[place]
    if text then
      local fact = text
      if field ~= 'epoch' then fact = tonumber(text) end
      -- Larger numbers are not exact.
      if not string.find(text, FORMS[field]) or (field ~= 'epoch' and fact > 2 ^ 53) then
        local shown = string.gsub(string.sub(text, 1, 40), '[^%w%p ]', '?')
        local what = 'the field ' .. field .. ' of the key ' .. key
        return nil, redis.error_reply('RCLUSTERTYPE ' .. what .. ' was not written by a store: "' .. shown .. '"')
      end
      facts[field] = fact
    end
  end
  return facts
end
