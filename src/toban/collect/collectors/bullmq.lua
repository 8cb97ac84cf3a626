-- How a queue of BullMQ stands, and which of its jobs have ended; it reads only, and no job's data.
--
-- ARGV: what its keys begin with ("bull:vendure-job-queue:"), how many jobs of a state are told apart, since
-- when jobs that ended are wanted (milliseconds) and how many of them at most.
--
-- Answers nothing where there is no such queue, else two lists: of each state and name "state name count oldest", the
-- oldest in milliseconds: when it was added, and of those that are running when it was begun; of jobs that ended "id ended failed tries name", those that ended first first.

local key, most, since, many = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('EXISTS', key .. 'meta') == 0 then
    return false
end

local standing = {}

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
        -- A job that is being begun this moment has no time yet.
        if at > 0 and (known[2] == 0 or at < known[2]) then
            known[2] = at
        end
    end
    for _, name in ipairs(order) do
        standing[#standing + 1] = {state, name, found[name][1], string.format('%.0f', found[name][2])}
    end
    if beyond > 0 then
        standing[#standing + 1] = {state, 'other', beyond, '0'}
    end
end

-- Jobs come in at the left of a list and are taken from its right, where the oldest are.
for _, list in ipairs({{'waiting', 'wait', 'timestamp'}, {'waiting', 'paused', 'timestamp'}, {'running', 'active', 'processedOn'}}) do
    local ids = redis.call('LRANGE', key .. list[2], -most, -1)
    local held = #ids < most and #ids or redis.call('LLEN', key .. list[2])
    count(list[1], list[3], ids, held - #ids)
end
for _, set in ipairs({{'waiting', 'prioritized'}, {'retrying', 'delayed'}}) do
    local ids = redis.call('ZRANGE', key .. set[2], 0, most - 1)
    local held = #ids < most and #ids or redis.call('ZCARD', key .. set[2])
    count(set[1], 'timestamp', ids, held - #ids)
end

local ended = {}
for _, state in ipairs({'completed', 'failed'}) do
    local found = redis.call('ZRANGEBYSCORE', key .. state, since, '+inf', 'WITHSCORES', 'LIMIT', 0, many)
    for i = 1, #found, 2 do
        local job = redis.call('HMGET', key .. found[i], 'name', 'atm', 'attemptsMade')
        local tries = job[2] or job[3] or '1'
        ended[#ended + 1] = {found[i], found[i + 1], state == 'failed' and 1 or 0, tries, job[1] or 'other'}
    end
end
return {standing, ended}
