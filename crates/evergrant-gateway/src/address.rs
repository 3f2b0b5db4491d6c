//! Where a gateway listens: a TCP address, or a Unix socket in the file system.
//!
//! A Unix socket is written `unix:/run/user/1000/evergrant.sock`. It is the safer of the two: the system says who is at
//! the other end, no web page can reach it, and its file can be closed to everybody else. Its path is absolute, because
//! the folder that a service is started in is nobody's choice.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// A port on IPv4 loopback.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The IP address and port, if it has them.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// The path, if it is a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Can only programs of this machine connect?
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|addr| addr.ip().is_loopback())
    }

    /// Would two listeners with these addresses be in each other's way? All addresses of the machine (`0.0.0.0`, and `[::]`,
    /// which takes IPv4 along) include each of them; port 0 is a different port each time.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                let includes =
                    |all: &SocketAddr, one: &SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
                one.port() == two.port()
                    && one.port() != 0
                    && (one.ip() == two.ip() || includes(one, two) || includes(two, one))
            }
            (Self::Unix(one), Self::Unix(two)) => one == two,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }

    /// Would one listener do for both?
    pub(crate) fn is_same_place_as(&self, other: &Self) -> bool {
        self == other && self.clashes_with(other)
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Address {
        Address::Tcp(text.parse().unwrap())
    }

    #[test]
    fn two_listeners_clash_if_one_port_would_be_taken_twice() {
        for (one, two, clash) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
        ] {
            assert_eq!(tcp(one).clashes_with(&tcp(two)), clash, "{one} {two}");
            assert_eq!(tcp(two).clashes_with(&tcp(one)), clash, "{two} {one}");
        }
        let socket = Address::Unix("/a".into());
        assert!(socket.clashes_with(&socket) && !socket.clashes_with(&Address::Unix("/b".into())));
        assert!(!tcp("0.0.0.0:1").is_same_place_as(&tcp("127.0.0.1:1")));
    }
}
