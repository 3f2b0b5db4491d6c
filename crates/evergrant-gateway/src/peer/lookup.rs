//! Finds the owner of a TCP socket of this machine in the kernel's tables (Linux).
//!
//! The kernel answers one exact question over netlink, "which socket has this local and this remote address"
//! (`sock_diag(7)`), in some microseconds, however many connections there are. The request is 72 bytes of fixed layout,
//! built here by hand; a library for it would bring four crates along. Sandboxes that have no such socket still have
//! `/proc/net/tcp`, which must be read from its beginning each time; which of the two works is tried once, on a
//! connection of our own.
//!
//! Three answers of the kernel look like an owner and are none. A socket that its process has closed already is listed
//! with user 0 and inode 0, and so is one in TIME_WAIT: believing that would make every caller that hangs up at once a
//! root. A listener on the same port is found where the connection itself is gone. And a socket that is only trying to
//! connect is not the other end of ours. So the socket must have an inode, and be in a state that the other end of an
//! accepted connection can be in.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// The user whose socket goes from `local` to `remote`.
pub(super) fn owner_of(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    match way()? {
        Way::SockDiag => ask_kernel(local, remote).ok().flatten(),
        Way::ProcNet => read_proc(local, remote),
    }
}

#[derive(Clone, Copy)]
enum Way {
    SockDiag,
    ProcNet,
}

/// The way that finds a connection of our own.
fn way() -> Option<Way> {
    static WAY: OnceLock<Option<Way>> = OnceLock::new();
    *WAY.get_or_init(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let stream = TcpStream::connect(listener.local_addr().ok()?).ok()?;
        let (local, remote) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let own = Some(rustix::process::geteuid().as_raw());
        if ask_kernel(local, remote).ok().flatten() == own {
            return Some(Way::SockDiag);
        }
        (read_proc(local, remote) == own).then_some(Way::ProcNet)
    })
}

fn ask_kernel(local: SocketAddr, remote: SocketAddr) -> Result<Option<u32>, Errno> {
    let netlink = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    sendto(&netlink, &request(local, remote), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    // The kernel has answered before the request returns; without an answer there is none to wait for.
    let mut answer = [0; 512];
    let (length, _) = recv(&netlink, &mut answer, RecvFlags::DONTWAIT)?;
    Ok(owner_in(&answer[..length.min(512)]))
}

/// A `nlmsghdr` and an `inet_diag_req_v2` for one socket.
fn request(local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    put(0, &72_u32.to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(16, &family.as_raw().to_ne_bytes()[ONE_BYTE]);
    put(17, &[IPPROTO_TCP]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &local.port().to_be_bytes());
    put(26, &remote.port().to_be_bytes());
    for (at, ip) in [(28, local.ip()), (44, remote.ip())] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // No cookie: any socket with these addresses.
    put(64, &[0xff; 8]);
    bytes
}

/// The owner in a `nlmsghdr` with an `inet_diag_msg`; an error message of the kernel has none.
fn owner_in(answer: &[u8]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let state = *answer.get(17)?;
    let (uid, inode) = (number(80)?, number(84)?);
    (kind == BY_FAMILY && JOINED.contains(&state) && inode != 0).then_some(uid)
}

fn read_proc(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    // An IPv6 socket may speak IPv4; it is listed with mapped addresses then.
    let mapped = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    let find = |file: &str, local, remote| {
        let mut text = String::new();
        std::fs::File::open(file).ok()?.read_to_string(&mut text).ok()?;
        owner_in_table(&text, &in_hex(local), &in_hex(remote))
    };
    let plain = local.is_ipv4().then(|| find("/proc/net/tcp", local, remote)).flatten();
    plain.or_else(|| find("/proc/net/tcp6", mapped(local), mapped(remote)))
}

/// The owner in the row with these addresses (`proc_net_tcp(5)`).
fn owner_in_table(table: &str, local: &str, remote: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        if fields.next() != Some(local) || fields.next() != Some(remote) {
            return None;
        }
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let (uid, inode): (u32, u64) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
        (JOINED.contains(&state) && inode != 0).then_some(uid)
    })
}

/// An address as the table writes it: 32-bit words of network order, printed in the order of this machine.
fn in_hex(addr: SocketAddr) -> String {
    let word = |bytes: &[u8]| format!("{:08X}", u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let ip: String = match addr.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks(4).map(word).collect(),
    };
    format!("{ip}:{:04X}", addr.port())
}

const REQUEST: usize = 72;
const BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
/// Address families are numbers below 256 in 16 bits; the request has one byte for them.
const ONE_BYTE: std::ops::Range<usize> = if cfg!(target_endian = "big") { 1..2 } else { 0..1 };
/// ESTABLISHED, and FIN_WAIT1 and FIN_WAIT2: a caller may have ended its half.
const JOINED: [u8; 3] = [1, 4, 5];

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(host: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (near, far)
    }

    fn both_ways(local: SocketAddr, remote: SocketAddr) -> [Option<u32>; 2] {
        [ask_kernel(local, remote).ok().flatten(), read_proc(local, remote)]
    }

    #[test]
    fn a_socket_of_ours_is_ours_by_both_ways() {
        let own = Some(rustix::process::geteuid().as_raw());
        for host in ["127.0.0.1", "::1"] {
            let (near, far) = pair(host);
            let (local, remote) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
            assert_eq!(both_ways(local, remote), [own, own], "{host}");
            near.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(both_ways(local, remote), [own, own], "a caller may end its half");
            drop(far);
        }
    }

    #[test]
    fn a_socket_that_was_closed_is_nobodys() {
        let (near, far) = pair("127.0.0.1");
        let (local, remote) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
        drop(near);
        assert_eq!(both_ways(local, remote), [None, None]);
        drop(far);
        assert_eq!(both_ways(local, remote), [None, None]);
    }

    #[test]
    fn a_listener_is_not_the_end_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(both_ways(listener.local_addr().unwrap(), other), [None, None]);
    }

    #[test]
    fn a_row_is_found_by_both_addresses() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 12345 1\n\
            1: 0100007F:1F90 0100007F:D432 06 00000000:00000000 00:00000000 00000000     0        0 0 3\n";
        let find = |port| owner_in_table(table, "0100007F:1F90", &format!("0100007F:{port:04X}"));
        assert_eq!((find(0xD431), find(0xD432), find(0xD433)), (Some(1000), None, None));
    }
}
