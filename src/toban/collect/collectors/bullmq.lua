-- Returns the state of a queue of BullMQ, and its ended jobs. It is read-only, and reads no job's data.
--
-- ARGV: the prefix of its keys ("bull:vendure-job-queue:"), the number of jobs of a state whose names are read, the
-- time since when ended jobs are wanted (milliseconds), and the most of them.
--
-- Returns nil where there is no such queue, else two lists: for each state and name "state name count oldest", the
-- oldest in milliseconds: when it was added, or started where it is running; for ended jobs "id ended failed attempts
-- name", the earliest first.

local key, max_named, since, max_ended = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('EXISTS', key .. 'meta') == 0 then
    return false
end

local states = {}

local function count(state, since_when, ids, beyond)
    local found, order = {}, {}
    for _, id in ipairs(ids) do
        local job = redis.call('HMGET', key .. id, 'name', since_when)
        local name, at = job[1] or 'other', tonumber(job[2]) or 0
        local known = found[name]
        if not known then
            known = {0, at}
            found[name] = known
            order[#order + 1] = name
        end
        known[1] = known[1] + 1
        -- A job that is just being started has no time yet.
        if at > 0 and (known[2] == 0 or at < known[2]) then
            known[2] = at
        end
    end
    for _, name in ipairs(order) do
        states[#states + 1] = {state, name, found[name][1], string.format('%.0f', found[name][2])}
    end
    if beyond > 0 then
        states[#states + 1] = {state, 'other', beyond, '0'}
    end
end

-- Jobs are added at the left of a list and taken from its right, where the oldest are.
for _, list in ipairs({{'waiting', 'wait', 'timestamp'}, {'waiting', 'paused', 'timestamp'}, {'running', 'active', 'processedOn'}}) do
    local ids = redis.call('LRANGE', key .. list[2], -max_named, -1)
    local length = #ids < max_named and #ids or redis.call('LLEN', key .. list[2])
    count(list[1], list[3], ids, length - #ids)
end
for _, set in ipairs({{'waiting', 'prioritized'}, {'retrying', 'delayed'}}) do
    local ids = redis.call('ZRANGE', key .. set[2], 0, max_named - 1)
    local length = #ids < max_named and #ids or redis.call('ZCARD', key .. set[2])
    count(set[1], 'timestamp', ids, length - #ids)
end

local ended = {}
for _, state in ipairs({'completed', 'failed'}) do
    local found = redis.call('ZRANGEBYSCORE', key .. state, since, '+inf', 'WITHSCORES', 'LIMIT', 0, max_ended)
    for i = 1, #found, 2 do
        local job = redis.call('HMGET', key .. found[i], 'name', 'atm', 'attemptsMade')
        local attempts = job[2] or job[3] or '1'
        ended[#ended + 1] = {found[i], found[i + 1], state == 'failed' and 1 or 0, attempts, job[1] or 'other'}
    end
end
return {states, ended}
