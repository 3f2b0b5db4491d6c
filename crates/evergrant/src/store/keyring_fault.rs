//! What the keyring or the way to it said, sorted by what helps.

use std::fmt;

/// Why the keyring did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeyringFault {
    /// There is no session bus, or no Secret Service on it.
    Unreachable(String),
    /// The service has no collection to put items into.
    NoCollection,
    /// It is locked, and nobody unlocked it.
    Locked,
    /// No answer in time.
    TimedOut,
    /// A record is larger than an item may be.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// As many are allowed.
        most: usize,
    },
    /// An item cannot be read.
    Damaged(String),
    /// An item was written by a later version.
    Version(u64),
    /// There is no folder for the locks.
    NoPlace,
    /// Anything else that the service said.
    Said(String),
}

impl KeyringFault {
    /// The next step for whoever runs this.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "run it in a desktop session (DBUS_SESSION_BUS_ADDRESS names its bus); elsewhere use `file:` with a key or \
                 a passphrase"
            }
            Self::NoCollection => "make a default keyring, in the desktop's password manager or with its first login",
            Self::Locked => "unlock the keyring: log in to the desktop, or answer its question for the password",
            Self::TimedOut => "see whether the keyring asks for its password in a window, or restart its service",
            Self::TooLarge { .. } => "use `file:` or Redis for this credential; the keyring still holds the old record",
            Self::Damaged(_) => "`evergrant store forget` removes it; then log in again if the grant rotates",
            Self::Version(_) => "use the program version that wrote it, or another name: `keyring:NAME`",
            Self::NoPlace => "set HOME or XDG_STATE_HOME to a folder of this user",
            Self::Said(_) => "see the log of the keyring's service",
        }
    }
}

impl KeyringFault {
    /// The next step when it is a client secret that was wanted.
    #[must_use]
    pub const fn secret_hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "run it in a desktop session (DBUS_SESSION_BUS_ADDRESS names its bus); elsewhere keep the secret in a file: \
                 --client-secret-file"
            }
            Self::Damaged(_) | Self::Version(_) => {
                "`evergrant secret forget` removes it, `evergrant secret set` writes it anew"
            }
            Self::NoCollection
            | Self::Locked
            | Self::TimedOut
            | Self::TooLarge { .. }
            | Self::NoPlace
            | Self::Said(_) => self.hint(),
        }
    }
}

impl fmt::Display for KeyringFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) => write!(f, "no Secret Service can be reached: {cause}"),
            Self::NoCollection => f.write_str("the Secret Service has no default collection"),
            Self::Locked => f.write_str("it is locked, and was not unlocked"),
            Self::TimedOut => f.write_str("it gave no answer in time"),
            Self::TooLarge { bytes, most } => write!(f, "a record of {bytes} bytes is too large for an item ({most})"),
            Self::Damaged(cause) => write!(f, "an item cannot be read ({cause}); it was left untouched"),
            Self::Version(found) => write!(f, "an item has format version {found}; it was left untouched"),
            Self::NoPlace => f.write_str("there is no folder for its locks"),
            Self::Said(text) => f.write_str(text),
        }
    }
}
