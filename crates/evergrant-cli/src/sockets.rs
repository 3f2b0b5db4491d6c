//! Sockets that the service manager has bound and passes on: systemd's socket activation.
//!
//! Such a socket says where the gateway listens, and is stronger than any setting. Its name says what it is for
//! (`FileDescriptorName=` in its unit): `gateway` for the callers of the first profile, `admin` for the status pages,
//! and the name of a profile for that profile's callers. Sockets without a name of ours (systemd calls them like their
//! unit, or `unknown`) are taken in their order: the first is `gateway`, the second `admin`. Any other name is a slip.
//!
//! They are taken once, before the first thread starts, because taking them removes their variables.
//!
//! Source: `sd_listen_fds(3)`.

use std::collections::BTreeMap;

use evergrant_gateway::{Address, Inherited, InheritedSocket};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};

/// The sockets of this process.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Those that listen.
    pub(crate) inherited: Inherited,
    named: Vec<(String, Address)>,
}

impl Sockets {
    /// Takes what the service manager passed to this process.
    pub(crate) fn take() -> Result<Self, Failure> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':').map(str::to_owned);
        let (mut sockets, mut named) = (Vec::new(), Vec::new());
        for at in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned());
            let socket = socket(&mut passed, at).and_then(|socket| Ok((socket.address()?, socket)));
            let (address, socket) = socket.map_err(|error| {
                Failure::new(exit::LISTEN, "cannot use a socket of the service manager")
                    .at(format!("socket {}, `{name}`", at + 1))
                    .because(error)
                    .hint("pass sockets for TCP or Unix streams that listen, as `ListenStream=` makes them")
            })?;
            named.push((name, address));
            sockets.push(socket);
        }
        let inherited = Inherited::new(sockets).map_err(|error| {
            Failure::new(exit::LISTEN, "cannot use the sockets of the service manager").because(error)
        })?;
        Ok(Self { inherited, named })
    }

    /// Tells the profiles which sockets are theirs.
    pub(crate) fn assign(&self, profiles: &mut [Layers]) -> Result<(), Failure> {
        let names: Vec<String> = profiles.iter().map(|layers| layers.profile_name().to_owned()).collect();
        let mut nameless = [Setting::Listen, Setting::AdminListen].into_iter();
        let mut places: BTreeMap<(usize, Setting), Found<Vec<Address>>> = BTreeMap::new();
        for (name, address) in &self.named {
            let place = match name.as_str() {
                GATEWAY => Some((0, Setting::Listen)),
                ADMIN => Some((0, Setting::AdminListen)),
                name => match names.iter().position(|profile| profile == name) {
                    Some(at) => Some((at, Setting::Listen)),
                    None if name == UNKNOWN || name.ends_with(UNIT) => nameless.next().map(|setting| (0, setting)),
                    None => return Err(unknown_name(name, &names)),
                },
            };
            let place = place.ok_or_else(|| too_many(address))?;
            let found = places
                .entry(place)
                .or_insert_with(|| Found { value: Vec::new(), origin: Origin::Socket(name.clone()) });
            found.value.push(address.clone());
        }
        for ((at, setting), found) in places {
            profiles[at].set_sockets(setting, found);
        }
        Ok(())
    }
}

fn socket(passed: &mut ListenFd, at: usize) -> std::io::Result<InheritedSocket> {
    let (socket, listens) = match passed.take_unix_listener(at) {
        Ok(Some(unix)) => {
            let listens = socket_acceptconn(&unix)?;
            (InheritedSocket::Unix(unix), listens)
        }
        Ok(None) | Err(_) => {
            let tcp = passed.take_tcp_listener(at)?.ok_or_else(|| std::io::Error::other("it was taken already"))?;
            let listens = socket_acceptconn(&tcp)?;
            (InheritedSocket::Tcp(tcp), listens)
        }
    };
    if listens { Ok(socket) } else { Err(std::io::Error::other("it does not listen")) }
}

fn unknown_name(name: &str, profiles: &[String]) -> Failure {
    let known = [GATEWAY, ADMIN].into_iter().chain(profiles.iter().map(String::as_str));
    let failure = Failure::new(exit::LISTEN, format!("the socket `{name}` belongs to no listener"))
        .because(format!("this gateway has {}", known.clone().collect::<Vec<_>>().join(", ")));
    match nearest(name, known) {
        Some(meant) => failure.hint(format!("did you mean FileDescriptorName={meant}?")),
        None => failure.hint("set FileDescriptorName= in its unit to one of them"),
    }
}

fn too_many(address: &Address) -> Failure {
    Failure::new(exit::LISTEN, "there are more than two sockets without a name")
        .at(address)
        .because("the first is for the gateway, the second for its status pages, and a third for nothing")
        .hint("set FileDescriptorName= in their units to gateway, admin, or the name of a profile")
}

const GATEWAY: &str = "gateway";
const ADMIN: &str = "admin";
const UNKNOWN: &str = "unknown";
const UNIT: &str = ".socket";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::flags::Flags;

    fn profiles() -> Vec<Layers> {
        let named = |name: &str| {
            let mut layers = Layers::of_flags(Flags::default());
            layers.profile = Some(name.to_owned());
            layers
        };
        ["a", "b"].map(named).into()
    }

    fn assigned(names: &[&str]) -> Result<Vec<String>, Failure> {
        let named = (1..).zip(names).map(|(port, name)| ((*name).to_owned(), Address::loopback(port))).collect();
        let mut profiles = profiles();
        Sockets { named, ..Sockets::default() }.assign(&mut profiles)?;
        let shown = |layers: &Layers, setting| {
            let ports = layers.sockets(setting).into_iter().flat_map(|found| &found.value);
            ports.filter_map(Address::tcp).map(|addr| addr.port().to_string()).collect::<Vec<_>>().join("+")
        };
        let all = profiles.iter().flat_map(|layers| [(layers, Setting::Listen), (layers, Setting::AdminListen)]);
        Ok(all.map(|(layers, setting)| shown(layers, setting)).collect())
    }

    #[test]
    fn names_say_what_a_socket_is_for() {
        assert_eq!(assigned(&["admin", "b", "gateway", "gateway"]).unwrap(), ["3+4", "1", "2", ""]);
        assert_eq!(assigned(&["a"]).unwrap(), ["1", "", "", ""]);
    }

    #[test]
    fn sockets_without_a_name_are_taken_in_their_order() {
        assert_eq!(assigned(&["unknown", "evergrant.socket"]).unwrap(), ["1", "2", "", ""]);
        assert_eq!(assigned(&["b", "unknown"]).unwrap(), ["2", "", "1", ""]);
        assert!(assigned(&["unknown", "unknown", "unknown"]).unwrap_err().what.contains("more than two"));
    }

    #[test]
    fn a_name_that_means_nothing_is_a_slip() {
        let failure = assigned(&["admni"]).unwrap_err();
        assert_eq!(failure.hints, ["did you mean FileDescriptorName=admin?"]);
    }
}
