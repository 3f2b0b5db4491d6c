//! A bound listener, and the connections that come in through it.
//!
//! The file of a Unix socket outlives its process, so one that is found may be a dead process's or a live one's. Who
//! answers there is live and keeps it; what nobody listens on is replaced. The file is open to its owner alone from its
//! first moment: the mode is set on the socket before it gets its name. Its folder must be there, and must not be one
//! where others could put a socket of their own in its place: writable by everybody and not sticky.
//!
//! A socket that was handed to this process is taken as it is (`inherited`): its file, its queue and its end are the
//! business of whoever made it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use evergrant::tls::TlsError;
use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener, UnixSocket};

use crate::address::Address;
use crate::inherited::{Inherited, InheritedSocket};
use crate::stream::Stream;

/// A listener that is bound.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, Owner),
    /// With its file, unless somebody else made it.
    Unix(UnixListener, Option<SocketFile>),
}

/// Whose socket a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This process's alone.
    Us,
    /// It was handed to us, and others have it too.
    Shared,
}

impl Listener {
    /// Binds an address, or takes the socket that is bound there already. Also says which address it became, because
    /// port 0 takes any free one.
    pub(crate) async fn bind(wanted: &Address, inherited: &Inherited) -> Result<(Self, Address), BindError> {
        let failed = |cause: io::Error| match cause.kind() == io::ErrorKind::AddrInUse {
            true => BindError::InUse(wanted.clone()),
            false => BindError::Listen { addr: wanted.clone(), cause },
        };
        if let Some(socket) = inherited.socket(wanted) {
            let listener = socket.and_then(Self::take).map_err(failed)?;
            return Ok((listener, wanted.clone()));
        }
        match wanted {
            Address::Tcp(addr) => {
                let listener = TcpListener::bind(addr).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok((Self::Tcp(listener, Owner::Us), Address::Tcp(bound)))
            }
            Address::Unix(path) => {
                let listener = bind_unix(path).map_err(failed)?;
                let file = SocketFile::of(path).map_err(failed)?;
                Ok((Self::Unix(listener, Some(file)), wanted.clone()))
            }
        }
    }

    /// Listens on a socket that is bound already.
    fn take(socket: InheritedSocket) -> io::Result<Self> {
        match socket {
            InheritedSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?, Owner::Shared))
            }
            InheritedSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?, None))
            }
        }
    }

    /// Whose socket it is.
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Tcp(_, owner) => *owner,
            Self::Unix(_, Some(_)) => Owner::Us,
            Self::Unix(_, None) => Owner::Shared,
        }
    }

    /// Lets nobody connect any more; whoever has connected can still be accepted. Only for a socket of our own.
    ///
    /// For TCP the kernel has no such call, but it can be told to ignore packets that open a connection. Whoever sends
    /// one meanwhile sends it again after a second, and finds either this process's successor or nobody.
    pub(crate) fn refuse_newcomers(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(listener, Owner::Us) => {
                // Without the filter, somebody who connects in the last instant is reset; nothing else depends on it.
                if let Err(error) = socket2::SockRef::from(listener).attach_filter(&no_syn()) {
                    tracing::debug!(%error, "cannot stop connections before the listener is closed");
                }
            }
            #[cfg(not(target_os = "linux"))]
            Self::Tcp(_, Owner::Us) => {}
            Self::Unix(_, Some(file)) => file.remove(),
            Self::Tcp(_, Owner::Shared) | Self::Unix(_, None) => {}
        }
    }

    /// The next connection. Running out of descriptors is waited out rather than spun on.
    pub(crate) async fn accept(&self) -> Stream {
        loop {
            match self.try_accept().await {
                Ok(stream) => return stream,
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Without it small answers wait for the caller's acknowledgement; a socket that refuses is dying.
                _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

impl Address {
    /// Fails if somebody listens there, and leaves everything as it is.
    ///
    /// # Errors
    /// [`BindError::InUse`]. Whatever else is wrong is found out by listening.
    pub fn check_is_free(&self) -> Result<(), BindError> {
        let in_use = match self {
            Self::Tcp(addr) => {
                std::net::TcpListener::bind(addr).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
            }
            Self::Unix(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
        };
        if in_use { Err(BindError::InUse(self.clone())) } else { Ok(()) }
    }
}

/// Drops packets with the SYN flag, which is in byte 13 of a TCP header (RFC 9293 section 3.1), and no others.
#[cfg(target_os = "linux")]
fn no_syn() -> [socket2::SockFilter; 4] {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        socket2::SockFilter::new(LOAD_BYTE, 0, 0, 13),
        socket2::SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
        socket2::SockFilter::new(RETURN, 0, 0, 0),
        socket2::SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// The file of a Unix socket that this process made; removed when dropped, unless somebody else's is there by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Removes the file, so that nobody finds the socket any more.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A file that cannot be removed is replaced by the next process that listens there.
            _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    check_folder(path)?;
    make_way(path)?;
    let socket = UnixSocket::new_stream()?;
    // On Linux the name is made with this mode. Elsewhere the call may be refused, and the mode is set below.
    _ = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR);
    socket.bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    socket.listen(BACKLOG)
}

/// May others take the socket's place?
fn check_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| folder.is_absolute());
    let folder = folder.ok_or_else(|| io::Error::other("the path of the socket is not absolute"))?;
    let metadata = std::fs::metadata(folder)
        .map_err(|error| io::Error::new(error.kind(), format!("its folder {}: {error}", folder.display())))?;
    if metadata.mode() & 0o1002 == 0o0002 {
        let cause = format!("everybody may replace files in its folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, cause));
    }
    Ok(())
}

/// Removes the socket of a dead process; anything else that is in the way stays there.
fn make_way(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name, and it is no socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Why a gateway cannot start, or cannot become what a reload asks for.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("cannot listen on {0}: the {what} is in use by another process", what = if .0.path().is_some() { "socket" } else { "port" })]
    InUse(Address),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {cause}")]
    Listen {
        /// The address as configured.
        addr: Address,
        /// The system's reason.
        cause: io::Error,
    },
    /// The upstream needs TLS and that cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// As tokio has it for TCP.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn unix(folder: &tempfile::TempDir) -> Address {
        Address::Unix(folder.path().join("gateway.sock"))
    }

    async fn bind(wanted: &Address) -> Result<(Listener, Address), BindError> {
        Listener::bind(wanted, &Inherited::default()).await
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, bound) = bind(&unix(&folder)).await.unwrap();
        let path = bound.path().unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = unix(&folder);
        drop(std::os::unix::net::UnixListener::bind(address.path().unwrap()).unwrap());
        assert!(address.path().unwrap().exists(), "the file of a dead process is left");
        let (live, _) = bind(&address).await.unwrap();
        assert!(matches!(bind(&address).await, Err(BindError::InUse(_))));
        assert!(matches!(address.check_is_free(), Err(BindError::InUse(_))));
        drop(live);
        address.check_is_free().unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let address = unix(&folder);
        std::fs::write(address.path().unwrap(), "precious").unwrap();
        let error = bind(&address).await.unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(address.path().unwrap()).unwrap(), "precious");
    }

    #[tokio::test]
    async fn the_folder_must_be_there_and_safe() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Address::Unix(folder.path().join("no/gateway.sock"));
        let error = bind(&missing).await.unwrap_err().to_string();
        assert!(error.contains("/no: "), "{error}");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind(&unix(&folder)).await.unwrap_err().to_string();
        assert!(error.contains("everybody may replace files"), "{error}");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        bind(&unix(&folder)).await.unwrap();
        let error = bind(&Address::Unix("gateway.sock".into())).await.unwrap_err().to_string();
        assert!(error.contains("not absolute"), "{error}");
    }

    #[tokio::test]
    async fn whoever_is_in_the_queue_is_served_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        for address in [Address::loopback(0), unix(&folder)] {
            let (listener, bound) = bind(&address).await.unwrap();
            let connect = || -> io::Result<()> {
                match &bound {
                    Address::Tcp(addr) => {
                        std::net::TcpStream::connect_timeout(addr, Duration::from_millis(100)).map(std::mem::forget)
                    }
                    Address::Unix(path) => std::os::unix::net::UnixStream::connect(path).map(std::mem::forget),
                }
            };
            connect().unwrap();
            listener.refuse_newcomers();
            assert!(connect().is_err(), "{bound}");
            listener.accept().await;
            assert!(tokio::time::timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "{bound}");
        }
    }

    #[tokio::test]
    async fn a_successors_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let address = unix(&folder);
        let (first, _) = bind(&address).await.unwrap();
        std::fs::remove_file(address.path().unwrap()).unwrap();
        let (_second, _) = bind(&address).await.unwrap();
        drop(first);
        assert!(address.path().unwrap().exists());
    }
}
