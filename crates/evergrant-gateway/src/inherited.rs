//! Sockets that somebody else bound and handed to this process, as a service manager does.
//!
//! Such a socket outlives the process: whoever connects while one process ends and the next one starts waits in its
//! queue. So a gateway that has done with it only lets go of it. What it does to its own sockets at the end, taking in
//! the queue and refusing newcomers, would take callers away from the successor: a packet filter, for one, holds for
//! every process that has the socket.
//!
//! A socket stays here for as long as the gateway runs, so that a listener which one reload takes away can come back
//! with the next.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use crate::address::Address;

/// Sockets that are bound already, by their addresses.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Arc<BTreeMap<Address, InheritedSocket>>);

/// A socket that is bound already.
#[derive(Debug)]
pub enum InheritedSocket {
    /// One for TCP.
    Tcp(TcpListener),
    /// One in the file system.
    Unix(UnixListener),
}

impl InheritedSocket {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell, or it is a Unix socket without a path.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("the socket has no path"))?;
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

impl Inherited {
    /// These sockets.
    ///
    /// # Errors
    /// As [`InheritedSocket::address`].
    pub fn new(sockets: impl IntoIterator<Item = InheritedSocket>) -> io::Result<Self> {
        let by_address = sockets.into_iter().map(|socket| Ok((socket.address()?, socket)));
        Ok(Self(Arc::new(by_address.collect::<io::Result<_>>()?)))
    }

    /// Is there one at this address?
    #[must_use]
    pub fn has(&self, address: &Address) -> bool {
        self.0.contains_key(address)
    }

    /// The socket at this address, to listen on; it also stays here.
    pub(crate) fn socket(&self, address: &Address) -> Option<io::Result<InheritedSocket>> {
        self.0.get(address).map(InheritedSocket::try_clone)
    }
}
