//! How safe a record is in a Redis or Valkey server: what the server keeps on disk, and what it may throw away.
//!
//! A fleet's grant lives there, so a server that forgets at a restart, or evicts keys when its memory is full, loses it.
//! Both are settings that stay unnoticed until then. They are read from `INFO`, and the snapshots from `CONFIG GET save`,
//! which managed services forbid: then they are unknown.
//!
//! Source: the Redis documentation of `INFO`, of persistence, and of key eviction.

/// What a server says about keeping its data.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RedisSafety {
    /// Its version.
    pub version: String,
    /// Does it log every write to disk (`appendonly`)?
    pub keeps_log: bool,
    /// Does it write snapshots by itself? Unknown where the server does not tell.
    pub keeps_snapshots: Option<bool>,
    /// How many replicas hold a copy.
    pub replicas: u64,
    /// What it throws away when its memory is full, if that can happen: the name of the policy.
    pub evicts: Option<String>,
}

impl RedisSafety {
    /// Reads the answer to `INFO`, and the value of the setting `save` if that was told.
    #[must_use]
    pub fn read(info: &str, save: Option<&str>) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
        };
        let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
        let text = |name: &str| field(name).chars().filter(char::is_ascii_graphic).take(NAME_LIMIT).collect::<String>();
        let policy = text("maxmemory_policy");
        let is_harmless = policy.is_empty() || policy == "noeviction" || number("maxmemory") == 0;
        Self {
            version: text("redis_version"),
            keeps_log: field("aof_enabled") == "1",
            keeps_snapshots: save.map(|save| !save.trim().is_empty()),
            replicas: number("connected_slaves"),
            evicts: (!is_harmless).then_some(policy),
        }
    }

    /// Does the server certainly forget everything at a restart?
    #[must_use]
    pub fn forgets(&self) -> bool {
        !self.keeps_log && self.keeps_snapshots == Some(false)
    }
}

const NAME_LIMIT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n\
                        # Persistence\r\naof_enabled:0\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n";

    #[test]
    fn what_is_kept_and_what_is_evicted_is_read() {
        let safety = RedisSafety::read(INFO, Some(""));
        assert_eq!((safety.version.as_str(), safety.replicas), ("7.0.15", 2));
        assert_eq!(safety.evicts.as_deref(), Some("allkeys-lru"));
        assert!(safety.forgets());
        assert!(!RedisSafety::read(&INFO.replace("aof_enabled:0", "aof_enabled:1"), Some("")).forgets());
        assert!(!RedisSafety::read(INFO, Some("3600 1")).forgets());
        assert!(!RedisSafety::read(INFO, None).forgets(), "what is not told is not called missing");
    }

    #[test]
    fn a_policy_that_cannot_strike_is_none() {
        assert_eq!(RedisSafety::read(&INFO.replace("maxmemory:1048576", "maxmemory:0"), None).evicts, None);
        assert_eq!(RedisSafety::read(&INFO.replace("allkeys-lru", "noeviction"), None).evicts, None);
        assert_eq!(RedisSafety::read("", None), RedisSafety::default());
    }
}
