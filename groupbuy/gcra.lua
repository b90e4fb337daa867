-- Rate limits in Redis, run by gcra.py as acquire() or report(). Times are milliseconds.
-- A limit is a hash: free_at, struck (as free_at, moved by refusals), until (the end of its last
-- block), level (how many blocks came in a row). KEYS are of one scope.

local STRIKES = 20  -- unforgiven refusals that a client may have without a block
local FIRST, LONGEST = 10000, 3600000  -- of the first block and of the longest
local FORGET = 600000  -- after a block, until the next one lasts FIRST again

local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000

local function read(key, period)
  local state = redis.call('HMGET', key, 'free_at', 'struck', 'until', 'level')
  local limit = {key = key, period = period, free_at = tonumber(state[1]) or 0,
    struck = tonumber(state[2]) or 0, blocked_until = tonumber(state[3]) or 0,
    level = tonumber(state[4]) or 0}
  -- More than three periods can only be owed under a limit that has been changed.
  if limit.free_at > now + 3 * period then limit.free_at = 0 end
  return limit
end

local function write(limit, ...)
  local remembered = limit.blocked_until > 0 and limit.blocked_until + FORGET - now or 0
  redis.call('HSET', limit.key, ...)
  redis.call('PEXPIRE', limit.key,
    math.ceil(math.max(limit.period, limit.free_at - now, remembered)))
end

local function move(limit, free_at)
  limit.free_at = free_at
  write(limit, 'free_at', string.format('%.3f', free_at))
end

local function block(limit)  -- returns its duration
  local level = limit.blocked_until + FORGET > now and limit.level or 0
  local duration = math.min(FIRST * 2 ^ level, LONGEST)
  limit.blocked_until = math.floor(now + duration)
  local ends = string.format('%.0f', limit.blocked_until)
  write(limit, 'until', ends, 'level', level + 1, 'struck', 0)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  redis.call('ZADD', KEYS[1], ends, limit.key)
  redis.call('PEXPIRE', KEYS[1], LONGEST)
  return duration
end

local function strike(limit, interval)  -- returns the duration of the block, or nil
  limit.struck = math.max(limit.struck, now) + interval
  if limit.struck > now + STRIKES * interval + 0.01 then return block(limit) end
  write(limit, 'struck', string.format('%.3f', limit.struck))
end

-- KEYS: the blocks of the scope, then each limit. ARGV: of each limit its requests, the seconds of
-- its period, whether it may block. Returns how long to wait, 0 when all limits admit the request.
local function acquire()
  local moved = {}
  for i = 2, #KEYS do
    local requests, seconds, may_block = ARGV[3 * i - 5], ARGV[3 * i - 4], ARGV[3 * i - 3]
    local limit = read(KEYS[i], seconds * 1000)
    if limit.blocked_until > now then return math.ceil(limit.blocked_until - now) end
    local interval = limit.period / requests
    local free_at = math.max(limit.free_at, now) + interval
    local wait = free_at - limit.period - now
    if wait > 0.01 then
      return math.ceil(may_block == '1' and strike(limit, interval) or wait)
    end
    moved[limit] = free_at
  end
  for limit, free_at in pairs(moved) do move(limit, free_at) end
  return 0
end

-- KEYS: each limit. ARGV: of each limit how far its requests moved it, the time since the first of
-- them, the seconds of its period. Returns of each limit how far its free_at and the end of its
-- block are ahead, in microseconds.
local function report()
  local states = {}
  for i, key in ipairs(KEYS) do
    local moved, age, seconds = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
    local limit = read(key, seconds * 1000)
    move(limit, math.max(limit.free_at, now - age) + moved)
    states[i] = {math.max(0, math.floor(1000 * (limit.free_at - now))),
      math.max(0, math.floor(1000 * (limit.blocked_until - now)))}
  end
  return states
end
