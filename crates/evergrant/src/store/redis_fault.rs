//! What Redis or the way to it said, sorted by what helps.

use std::fmt;

#[cfg(feature = "redis")]
use redis::{ErrorKind, RedisError};

/// Why Redis did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RedisFault {
    /// No connection: refused, unknown host, TLS failure, or it broke.
    Unreachable(String),
    /// No answer in time.
    TimedOut,
    /// The user name or password was refused, or one is needed.
    WrongPassword,
    /// The user may not run a command or use a key.
    NoPermission(String),
    /// `maxmemory` is reached and nothing may be evicted.
    OutOfMemory,
    /// The server is a replica that takes no writes.
    ReadOnlyReplica,
    /// The server is starting, or its replica has lost its master.
    NotReady(String),
    /// The server is a node of a cluster and does not hold these keys.
    IsCluster,
    /// The server refuses writes because it could not save, or has too few replicas.
    NotDurable(String),
    /// Some script runs for too long, or ours was killed.
    Script(String),
    /// A key is in use by something else.
    ForeignKey,
    /// The server is older than version 6.
    TooOld,
    /// The record was sealed with another key.
    WrongKey,
    /// The record cannot be opened or read.
    Damaged(String),
    /// Anything else that the server said.
    Said(String),
}

impl RedisFault {
    #[cfg(feature = "redis")]
    pub(super) fn of(error: &RedisError) -> Self {
        let detail = clean(error.detail().unwrap_or_default());
        match error.code().unwrap_or_default() {
            "WRONGPASS" | "NOAUTH" => return Self::WrongPassword,
            "NOPERM" => return Self::NoPermission(detail),
            "OOM" => return Self::OutOfMemory,
            "READONLY" => return Self::ReadOnlyReplica,
            "LOADING" | "MASTERDOWN" => return Self::NotReady(detail),
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => return Self::IsCluster,
            "MISCONF" | "NOREPLICAS" => return Self::NotDurable(detail),
            "BUSY" | "UNKILLABLE" => return Self::Script(detail),
            "WRONGTYPE" => return Self::ForeignKey,
            "NOPROTO" => return Self::TooOld,
            _ => {}
        }
        let text = clean(&error.to_string());
        if error.is_timeout() {
            return Self::TimedOut;
        }
        if error.is_io_error() || error.is_connection_dropped() {
            return Self::Unreachable(innermost(error));
        }
        if error.kind() == ErrorKind::AuthenticationFailed {
            return Self::WrongPassword;
        }
        if error.kind() == ErrorKind::RESP3NotSupported {
            return Self::TooOld;
        }
        // Inside a script, errors of commands arrive as text.
        match text.as_str() {
            said if said.contains("OOM ") => Self::OutOfMemory,
            said if said.contains("READONLY") => Self::ReadOnlyReplica,
            said if said.contains("WRONGTYPE") => Self::ForeignKey,
            said if said.contains("NOPERM") || said.contains("ACL") => Self::NoPermission(text),
            said if said.contains("killed by user") => Self::Script(text),
            _ => Self::Said(text),
        }
    }

    /// Is the connection of no further use? For [`RedisFault::ReadOnlyReplica`] another one may lead to the new master.
    #[cfg(feature = "redis")]
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::ReadOnlyReplica)
    }

    /// The next step for whoever runs this.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "check that Redis runs, its address and port, and redis:// or rediss:// as it speaks"
            }
            Self::TimedOut => "check the network to Redis, and with `redis-cli --latency` how busy it is",
            Self::WrongPassword => {
                "put the right user and password into EVERGRANT_STORE: redis://USER:PASSWORD@HOST:PORT"
            }
            Self::NoPermission(_) => {
                "allow the user: ~evergrant:* &evergrant:* +@read +@write +@scripting +@pubsub +time +hello +select +role +info \
                 +cluster|slots"
            }
            Self::OutOfMemory => {
                "raise maxmemory, or delete what is not needed; nothing was lost, the old record is there"
            }
            Self::ReadOnlyReplica => "name the server that is written to, not a replica",
            Self::NotReady(_) => "wait until Redis has loaded its data, or its failover is over",
            Self::IsCluster => "name it as what it is: redis+cluster://HOST:PORT, or rediss+cluster:// with TLS",
            Self::NotDurable(_) => "repair the disk or the replicas of Redis; it takes no writes until then",
            Self::Script(_) => {
                "end the script with `redis-cli SCRIPT KILL` and find it in `redis-cli SLOWLOG GET`; ours take well under a millisecond"
            }
            Self::ForeignKey => "name another database: redis://HOST:PORT/1",
            Self::TooOld => "use Redis 6 or later, or Valkey",
            Self::WrongKey => "set EVERGRANT_STORE_KEY to the key that the other processes use",
            Self::Damaged(_) => {
                "something else wrote to our key; restore it from a backup, or delete it and log in again"
            }
            Self::Said(_) => "look at the log of Redis",
        }
    }
}

impl fmt::Display for RedisFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "it cannot be reached: {why}"),
            Self::TimedOut => f.write_str("it did not answer in time"),
            Self::WrongPassword => f.write_str("it refuses the user name or password"),
            Self::NoPermission(what) => write!(f, "the user has no permission: {what}"),
            Self::OutOfMemory => f.write_str("its memory is full (maxmemory)"),
            Self::ReadOnlyReplica => f.write_str("it is a replica that takes no writes"),
            Self::NotReady(what) => write!(f, "it is not ready: {what}"),
            Self::IsCluster => f.write_str("it is a node of a cluster"),
            Self::NotDurable(what) => write!(f, "it takes no writes: {what}"),
            Self::Script(what) => write!(f, "a script blocks it or was killed: {what}"),
            Self::ForeignKey => f.write_str("our keys hold something else there"),
            Self::TooOld => f.write_str("it does not speak RESP3"),
            Self::WrongKey => f.write_str("the record there was sealed with another key; it was left untouched"),
            Self::Damaged(cause) => write!(f, "the record there is damaged ({cause}); it was left untouched"),
            Self::Said(what) => f.write_str(what),
        }
    }
}

#[cfg(feature = "redis")]
fn innermost(error: &RedisError) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    clean(&inner.to_string())
}

/// One short line: a server's words may hold anything.
#[cfg(feature = "redis")]
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_sorted_by_what_helps() {
        let of = |code: &str, detail: &str| {
            RedisFault::of(&redis::make_extension_error(code.to_owned(), Some(detail.to_owned())))
        };
        assert_eq!(of("WRONGPASS", "invalid username-password pair"), RedisFault::WrongPassword);
        assert_eq!(of("NOAUTH", "Authentication required."), RedisFault::WrongPassword);
        assert_eq!(of("OOM", "command not allowed when used memory > 'maxmemory'."), RedisFault::OutOfMemory);
        assert_eq!(of("MISCONF", "x"), RedisFault::NotDurable("x".to_owned()));
        assert_eq!(of("NOREPLICAS", "x"), RedisFault::NotDurable("x".to_owned()));
        assert_eq!(of("BUSY", "x"), RedisFault::Script("x".to_owned()));
        assert!(
            matches!(of("SOMETHING", "new\n"), RedisFault::Said(text) if text.contains("new") && !text.contains('\n'))
        );
    }
}
