//! Who is at the other end of a caller's connection.
//!
//! A token on loopback would belong to every user of the machine, so the gateway asks the system whose socket the
//! other end is: once per connection, when it is accepted. A Unix socket carries the credentials of whoever connected.
//! A TCP connection of this machine has both its ends in the kernel's table, where the far end is found by the four
//! numbers that name it, with its owner (`peer::lookup`). A connection from another machine has no owner that could be
//! known here; neither has one on a system without such a table.
//!
//! What is found is the far end only as long as the near end is still joined to it: after a reset the same four numbers
//! may name somebody else's connection. So the near end is looked at again after the look-up, and a caller that was gone
//! by then is nobody.

use std::fmt;
use std::net::SocketAddr;

use crate::stream::Stream;

#[cfg(target_os = "linux")]
mod lookup;

/// The other end of one connection, as far as the system tells.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address; a Unix socket has none.
    pub(crate) addr: Option<SocketAddr>,
    /// The user whose process it is.
    pub(crate) owner: Owner,
}

/// The user at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This user of the machine, by its number.
    User(u32),
    /// The system cannot tell.
    Unknown,
}

impl Peer {
    /// The other end of a caller's connection.
    pub(crate) fn of(stream: &Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => Self::of_tcp(stream),
            Stream::Unix(stream) => Self::of_unix(stream),
        }
    }

    /// Did it come through a Unix socket?
    pub(crate) fn is_unix(&self) -> bool {
        self.addr.is_none()
    }

    /// The other end of a TCP connection; asks the system, which takes some microseconds.
    pub(crate) fn of_tcp(stream: &tokio::net::TcpStream) -> Self {
        let (Ok(near), Ok(far)) = (stream.local_addr(), stream.peer_addr()) else {
            // It is gone, but it was no Unix socket.
            return Self { addr: Some(SocketAddr::from(([0; 4], 0))), owner: Owner::Unknown };
        };
        let owner = local_owner(near, far).filter(|_| stream.peer_addr().is_ok());
        Self { addr: Some(far), owner: owner.map_or(Owner::Unknown, Owner::User) }
    }

    /// The other end of a Unix socket: whoever connected it.
    pub(crate) fn of_unix(stream: &tokio::net::UnixStream) -> Self {
        let owner = stream.peer_cred().map_or(Owner::Unknown, |credentials| Owner::User(credentials.uid()));
        Self { addr: None, owner }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => addr.fmt(f)?,
            None => f.write_str("unix socket")?,
        }
        match self.owner {
            Owner::User(uid) => write!(f, " (uid {uid})"),
            Owner::Unknown => Ok(()),
        }
    }
}

/// The owner of the far end, if that is on this machine and the system can name it.
fn local_owner(near: SocketAddr, far: SocketAddr) -> Option<u32> {
    let (near, far) = (canonical(near), canonical(far));
    // One machine has both ends if they have one address; beyond that an address may be anybody's.
    if !far.ip().is_loopback() && far.ip() != near.ip() {
        return None;
    }
    #[cfg(target_os = "linux")]
    return lookup::owner_of(far, near);
    #[cfg(not(target_os = "linux"))]
    None
}

/// A dual-stack listener sees IPv4 callers with mapped addresses; the system's table does not.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_kinds_of_sockets_name_their_user() {
        let own = Owner::User(rustix::process::geteuid().as_raw());
        let (unix, _other) = tokio::net::UnixStream::pair().unwrap();
        assert_eq!(Peer::of_unix(&unix).owner, own);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, addr) = listener.accept().await.unwrap();
        let peer = Peer::of_tcp(&stream);
        assert_eq!(peer.addr, Some(addr));
        if cfg!(target_os = "linux") {
            assert_eq!(peer.owner, own);
            drop(caller);
            assert_eq!(Peer::of_tcp(&stream).owner, Owner::Unknown, "who hung up is nobody");
        }
    }
}
