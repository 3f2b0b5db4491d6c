//! What runs inside Redis: each script is one step that nobody else can come between.
//!
//! Three keys per credential, with a hash tag so that all lie on one node. `record` is a hash of `fence`, `generation`
//! and the sealed `entry`; `lease` is the owner's name with a time to live; `waiting` lists who waits for it. The fence counts acquisitions. Whoever
//! writes shows the fence of its acquisition: a higher one means that somebody has acquired since, and the writer, which
//! may have been stopped for a minute, is too late. A member of the fleet that finds less than it has itself (Redis was
//! emptied, or fell back to a replica that lagged) writes its copy back and blocks the lease for one time to live:
//! whoever held it before is still at work and takes it back with its next heartbeat.

/// `lease record waiting | owner ttl_ms fence_known generation_known member` → 1, time, fence and entry; or 0, time,
/// holder, its fence, the rest of its time to live and the members that wait; or -1 if the record is older than what the
/// caller has seen.
///
/// Who waits is listed, for as long as it tries again, so that all know who takes over after whom. A lease that has more
/// time left than its holder gave it was made before the clock of Redis was set back; it gets that time again.
pub(super) const ACQUIRE: &str = r"
local time = redis.call('TIME')
local stored = redis.call('HMGET', KEYS[2], 'fence', 'generation', 'entry', 'ttl')
if tonumber(stored[2] or '0') < tonumber(ARGV[4]) then
  return {-1, time[1], time[2], '', '', 0, ''}
end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - 2 * ttl)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '(' .. now, '+inf')
  redis.call('ZADD', KEYS[3], now, ARGV[5])
  redis.call('PEXPIRE', KEYS[3], 2 * ttl)
  local waiting = table.concat(redis.call('ZRANGE', KEYS[3], 0, 127), ' ')
  local left, most = redis.call('PTTL', KEYS[1]), tonumber(stored[4] or ARGV[2])
  if left > most then
    left = most
    redis.call('PEXPIRE', KEYS[1], left)
  end
  return {0, time[1], time[2], holder, stored[1] or '0', left, waiting}
end
local fence = string.format('%.0f', math.max(tonumber(stored[1] or '0'), tonumber(ARGV[3])) + 1)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[2], 'fence', fence, 'ttl', ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[5])
return {1, time[1], time[2], fence, stored[3] or '', 0, ''}
";

/// `lease record | owner ttl_ms fence` → 1 if the lease is still the owner's, for another time to live.
pub(super) const HEARTBEAT: &str = r"
local holder = redis.call('GET', KEYS[1])
local fence = tonumber(redis.call('HGET', KEYS[2], 'fence') or '0')
local others = holder and holder ~= ARGV[1] and holder ~= 'recovering'
if others or fence > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if fence < tonumber(ARGV[3]) then redis.call('HSET', KEYS[2], 'fence', ARGV[3]) end
return 1
";

/// `lease record | owner ttl_ms fence base generation entry channel is_last` → 1, 0 if a newer generation is stored or
/// -1 if somebody else has acquired since; and the generation stored.
///
/// `base` is the generation that the owner read or wrote last. The last write gives the lease back. Run twice it changes
/// nothing more: after a broken connection nobody knows whether the first one arrived. A write that is not the last one
/// needs the lease also the second time.
pub(super) const WRITE: &str = r"
local holder = redis.call('GET', KEYS[1])
local stored = redis.call('HMGET', KEYS[2], 'fence', 'generation', 'entry')
local fence, generation = tonumber(stored[1] or '0'), tonumber(stored[2] or '0')
local others = holder and holder ~= ARGV[1] and holder ~= 'recovering'
local late = others or fence > tonumber(ARGV[3])
if late and (stored[3] ~= ARGV[6] or ARGV[8] == '0') then return {-1, tostring(stored[2] or '0')} end
if stored[3] ~= ARGV[6] then
  if generation > tonumber(ARGV[4]) then return {0, tostring(stored[2] or '0')} end
  redis.call('HSET', KEYS[2], 'fence', ARGV[3], 'generation', ARGV[5], 'entry', ARGV[6])
  if tonumber(ARGV[5]) > generation then redis.call('PUBLISH', ARGV[7], ARGV[5]) end
end
if ARGV[8] == '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif holder == ARGV[1] or holder == 'recovering' then
  redis.call('DEL', KEYS[1])
end
return {1, ARGV[5]}
";

/// `lease record waiting | owner channel member` → gives the lease back if it is the owner's, and wakes those who wait for
/// it. A member that waited does so no more.
pub(super) const RELEASE: &str = r"
redis.call('ZREM', KEYS[3], ARGV[3])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'released')
return 1
";

/// `record` → time, generation and entry.
pub(super) const READ: &str = r"
local time = redis.call('TIME')
local stored = redis.call('HMGET', KEYS[1], 'generation', 'entry')
return {time[1], time[2], stored[1] or '0', stored[2] or ''}
";

/// `lease record | ttl_ms fence generation entry channel` → restores what the store has lost; 1 if it did.
///
/// Whoever holds the lease meanwhile is about to write something newer.
pub(super) const WRITE_BACK: &str = r"
local stored = redis.call('HMGET', KEYS[2], 'fence', 'generation')
if tonumber(stored[2] or '0') >= tonumber(ARGV[3]) then return 0 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= 'recovering' then return 0 end
if tonumber(stored[1] or '0') < tonumber(ARGV[2]) then redis.call('HSET', KEYS[2], 'fence', ARGV[2]) end
redis.call('HSET', KEYS[2], 'generation', ARGV[3], 'entry', ARGV[4])
redis.call('SET', KEYS[1], 'recovering', 'PX', ARGV[1])
redis.call('PUBLISH', ARGV[5], ARGV[3])
return 1
";

#[cfg(test)]
mod model;
