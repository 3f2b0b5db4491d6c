//! Who is at the other end of a caller's connection.

use std::fmt;
use std::net::SocketAddr;

/// The other end of one connection, as far as the system tells.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address; a Unix socket has none.
    pub(crate) addr: Option<SocketAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unix socket"),
        }
    }
}
