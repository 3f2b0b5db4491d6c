//! The `--store` setting: which store, and where.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{KeyringName, RedisUrl};

/// A store as the settings name it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// `memory`: forgotten at exit.
    #[default]
    Memory,
    /// `file:PATH`: one sealed file.
    File(PathBuf),
    /// `file+plain:PATH`: one file in plain text, for its owner only.
    PlainFile(PathBuf),
    /// `keyring` or `keyring:NAME`: the keyring of the desktop.
    Keyring(KeyringName),
    /// `redis://` or `rediss://`, also with `+sentinel` or `+cluster`: what a fleet shares.
    Redis(RedisUrl),
}

impl StoreUrl {
    /// Reads the setting. A leading `~/` is the home folder.
    ///
    /// # Errors
    /// When the text names no store, no path, or a store that this version does not have.
    pub fn parse(text: &str) -> Result<Self, StoreUrlError> {
        let text = text.trim();
        if text == "memory" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("file+plain:") {
            return Ok(Self::PlainFile(file_path("file+plain", path)?));
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(file_path("file", path)?));
        }
        let scheme = text.split(':').next().unwrap_or_default();
        match scheme {
            "redis" | "rediss" | "valkey" | "valkeys" | "redis+sentinel" | "rediss+sentinel" | "valkey+sentinel"
            | "valkeys+sentinel" | "redis+cluster" | "rediss+cluster" | "valkey+cluster" | "valkeys+cluster" => {
                let scheme =
                    if scheme.starts_with("rediss") || scheme.starts_with("valkeys") { "rediss" } else { "redis" };
                RedisUrl::parse(text).map(Self::Redis).map_err(|cause| StoreUrlError::Path { scheme, cause })
            }
            _ if scheme.starts_with("redis+") || scheme.starts_with("redis-") || scheme.starts_with("rediss+") => {
                Err(StoreUrlError::NotSupported(scheme.to_owned()))
            }
            "keyring" if text == scheme => Ok(Self::Keyring(KeyringName::default())),
            "keyring" => {
                let name = text.trim_start_matches("keyring:");
                let name =
                    KeyringName::parse(name).map_err(|cause| StoreUrlError::Path { scheme: "keyring", cause })?;
                Ok(Self::Keyring(name))
            }
            // The rest may hold a password (`scheme://user:password@host`), so it is not repeated.
            _ if text.contains("://") => Err(StoreUrlError::Unknown(format!("{scheme}://..."))),
            _ => Err(StoreUrlError::Unknown(text.to_owned())),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;
    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::PlainFile(path) => write!(f, "file+plain:{}", path.display()),
            Self::Keyring(name) => name.fmt(f),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// Why a text names no store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreUrlError {
    /// A socket, or another way to Redis.
    #[error("`{0}://` is not supported: expected redis://, redis+sentinel:// or redis+cluster://, or rediss for TLS")]
    NotSupported(String),
    /// Not a store.
    #[error("unknown store `{0}`: expected one of {EXPECTED}")]
    Unknown(String),
    /// A file store without a usable path, or a server that cannot be reached by its URL.
    #[error("`{scheme}:` {cause}")]
    Path {
        /// The scheme as written.
        scheme: &'static str,
        /// What is wrong with the path.
        cause: &'static str,
    },
}

const EXPECTED: &str = "`memory`, `file:PATH`, `file+plain:PATH`, `keyring`, `redis://HOST` or `rediss://HOST`";

fn file_path(scheme: &'static str, text: &str) -> Result<PathBuf, StoreUrlError> {
    let error = |cause| StoreUrlError::Path { scheme, cause };
    // `file:///var/x` is the same as `file:/var/x`; `file://host/x` would name another machine.
    let text = match text.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err(error("names a host: write the path directly after the colon")),
        None => text,
    };
    if text.is_empty() {
        return Err(error("needs a path"));
    }
    if text.ends_with('/') {
        return Err(error("needs the path of a file, not of a folder"));
    }
    match text.strip_prefix("~/") {
        Some(rest) => {
            Ok(std::env::home_dir().ok_or_else(|| error("starts with `~` and there is no home folder"))?.join(rest))
        }
        None => Ok(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        StoreUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_stores_read_back() {
        let redis = "rediss://cache.example:6380/2";
        let sentinel = "redis+sentinel://127.0.0.1:26379,127.0.0.1:26380/main/0";
        let cluster = "rediss+cluster://node.example:6379";
        let others = ["memory", "keyring", "keyring:nightly", "file:/var/lib/x/store", "file+plain:relative/store"];
        for text in others.into_iter().chain([redis, sentinel, cluster]) {
            assert_eq!(StoreUrl::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(StoreUrl::parse("file:///a/b"), Ok(StoreUrl::File(PathBuf::from("/a/b"))));
        let home = std::env::home_dir().unwrap();
        assert_eq!(StoreUrl::parse("file:~/b"), Ok(StoreUrl::File(home.join("b"))));
    }

    #[test]
    fn what_is_not_a_store_is_told_what_would_be_one() {
        assert!(error("redis+unix://:hunter2@host/main").contains("`redis+unix://` is not supported"));
        assert!(error("redis+sentinel://host").contains("names no primary"));
        assert!(error("redis://a,b").contains("several servers"));
        assert!(error("keyring://x").contains("`keyring:` needs a name"));
        assert!(error("").contains("expected one of `memory`"));
        assert!(error("/tmp/store").contains("unknown store `/tmp/store`"));
        assert!(error("file:").contains("needs a path"));
        assert!(error("file:folder/").contains("not of a folder"));
        assert!(error("file+plain://host/x").contains("names a host"));
    }

    #[test]
    fn a_password_in_a_store_url_is_not_repeated() {
        for text in ["redis://:hunter2@host/x", "redis+unix://:hunter2@host", "postgres://user:hunter2@host/x"] {
            assert!(!error(text).contains("hunter2"), "{}", error(text));
        }
    }
}
