//! Where a value came from: every message about a setting names the place where it can be changed.

use std::fmt;
use std::path::PathBuf;

use super::excerpt::Excerpt;

/// The place of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A flag, as `--region`.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A variable set by a line of an `--env-file`.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// The content of a file that another setting names.
    SecretFile {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// The setting that names it.
        named_by: Box<Self>,
    },
    /// A key of a settings file.
    File(Box<Excerpt>),
    /// A socket that the service manager passed on, by its name.
    Socket(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::EnvFile { path, line, name } => write!(f, "{}:{line} ({name})", path.display()),
            Self::SecretFile { path, named_by } if path.as_os_str() == "-" => write!(f, "standard input ({named_by})"),
            Self::SecretFile { path, named_by } => write!(f, "{} ({named_by})", path.display()),
            Self::File(excerpt) => write!(f, "{} ({})", excerpt.position(), excerpt.key),
            Self::Socket(name) => write!(f, "the socket `{name}` of the service manager"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) origin: Origin,
}
