//! Who may call: the same user, whoever knows the secret, or anybody.
//!
//! A token on loopback is worth as much to another user of the machine as to its owner, so by default a listener serves
//! the user it runs as and nobody else. Root is somebody else, too: services that run as root fetch URLs on behalf of
//! any user, and root inside a container is not root outside. Where the user of a caller cannot be known (another
//! machine, another system) the caller shows a secret instead, in a field that goes no further than this gateway.
//!
//! Wrong secrets are counted for each user or address. After [`MOST_FAILURES`] in a minute that caller is refused for the rest of it,
//! whatever it shows, so that guessing has no other speed than that. A missing secret is no guess and is not counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evergrant_core::Secret;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::Instant;

use crate::peer::{Owner, Peer};
use crate::problem::Problem;

/// The field that carries the caller secret; `Proxy-Authorization: Bearer` is the other way.
pub(crate) const CALLER_SECRET: HeaderName = HeaderName::from_static("evergrant-caller-secret");

/// Who may call a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Callers {
    /// The user that the gateway runs as; where a caller's user cannot be known, whoever shows the caller secret.
    #[default]
    SameUser,
    /// Whoever shows the caller secret, the same user included.
    Secret,
    /// Anybody who can connect.
    Any,
}

impl Callers {
    /// The word for it in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameUser => "same-user",
            Self::Secret => "secret",
            Self::Any => "any",
        }
    }
}

/// The rule of one listener, and the callers that break it.
#[derive(Debug)]
pub(crate) struct Door {
    callers: Callers,
    secret: Option<Secret>,
    own: u32,
    failures: Mutex<BTreeMap<Who, Failures>>,
}

impl Door {
    pub(crate) fn new(callers: Callers, secret: Option<Secret>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { callers, secret, own, failures: Mutex::new(BTreeMap::new()) }
    }

    /// Lets a caller in, or says why not.
    pub(crate) fn check(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
        match (self.callers, peer.owner) {
            (Callers::Any, _) => Ok(()),
            (Callers::SameUser, Owner::User(uid)) if uid == self.own => Ok(()),
            (Callers::SameUser, Owner::User(_)) => Err(forbidden(
                "this gateway serves the user it runs as, and another user's process called; see --callers",
            )),
            (Callers::SameUser, Owner::Unknown) | (Callers::Secret, _) => self.check_secret(peer, headers),
        }
    }

    fn check_secret(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(secret) = &self.secret else {
            return Err(forbidden(
                "the system cannot tell which user calls, and the gateway has no caller secret to ask for instead",
            ));
        };
        let (who, now) = (Who::of(peer), Instant::now());
        self.check_patience(who, now)?;
        match shown_secret(headers) {
            Shown::Nothing => Err(forbidden(
                "this caller must show the caller secret, in the field evergrant-caller-secret or as Proxy-Authorization: Bearer",
            )),
            Shown::Secret(shown) if shown == *secret => Ok(()),
            Shown::Secret(_) | Shown::Unreadable => {
                self.note_failure(who, now);
                Err(forbidden("the caller secret is wrong"))
            }
        }
    }

    /// Has this caller failed too often?
    fn check_patience(&self, who: Who, now: Instant) -> Result<(), Problem> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = failures.get(&who).filter(|found| found.count >= MOST_FAILURES).map(|found| found.until)
        else {
            return Ok(());
        };
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(());
        }
        let detail = "this caller showed too many wrong caller secrets";
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "caller not permitted", detail);
        problem.retry_after = i64::try_from(left.as_secs()).ok().map(|seconds| seconds + 1);
        Err(problem)
    }

    fn note_failure(&self, who: Who, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_WHO && !failures.contains_key(&who) {
            failures.retain(|_, found| found.until > now);
            if failures.len() >= MOST_WHO {
                failures.pop_first();
            }
        }
        let found = failures.entry(who).or_insert(Failures { count: 0, until: now + WINDOW });
        if found.until <= now {
            *found = Failures { count: 0, until: now + WINDOW };
        }
        found.count += 1;
        if found.count == MOST_FAILURES {
            tracing::warn!(?who, "refusing a caller that showed too many wrong caller secrets");
        }
    }
}

/// Whom failures are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    User(u32),
    /// An address; of IPv6 the network, because one caller has all addresses of it.
    Address(IpAddr),
    Nobody,
}

impl Who {
    fn of(peer: &Peer) -> Self {
        match (peer.owner, peer.addr.map(|addr| addr.ip().to_canonical())) {
            (Owner::User(uid), _) => Self::User(uid),
            (Owner::Unknown, Some(IpAddr::V6(ip))) => {
                Self::Address(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into())
            }
            (Owner::Unknown, Some(ip)) => Self::Address(ip),
            (Owner::Unknown, None) => Self::Nobody,
        }
    }
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

enum Shown {
    Nothing,
    Secret(Secret),
    Unreadable,
}

/// The secret that a request shows, in one place and once.
fn shown_secret(headers: &HeaderMap) -> Shown {
    let own = headers.get_all(&CALLER_SECRET).iter();
    let mut fields = own.chain(headers.get_all(PROXY_AUTHORIZATION));
    let Some(field) = fields.next() else { return Shown::Nothing };
    let Some(text) = field.to_str().ok().filter(|_| fields.next().is_none()) else { return Shown::Unreadable };
    if headers.contains_key(&CALLER_SECRET) {
        return Shown::Secret(text.trim().into());
    }
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Shown::Secret(token.trim().into()),
        Some(_) | None => Shown::Unreadable,
    }
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "caller not permitted", detail)
}

const MOST_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Callers whose failures are remembered at a time.
const MOST_WHO: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t-of-the-callers";

    fn peer(owner: Owner) -> Peer {
        Peer { addr: Some(([10, 0, 0, 7], 4000).into()), owner }
    }

    fn showing(name: &'static str, value: &str) -> HeaderMap {
        [(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect()
    }

    fn status(door: &Door, owner: Owner, headers: &HeaderMap) -> u16 {
        door.check(&peer(owner), headers).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[tokio::test]
    async fn each_rule_lets_its_callers_in() {
        let own = Owner::User(rustix::process::geteuid().as_raw());
        let (other, unknown) = (Owner::User(u32::MAX - 1), Owner::Unknown);
        let (none, right) = (HeaderMap::new(), showing("evergrant-caller-secret", SECRET));
        for (callers, expected) in [
            (Callers::SameUser, [200, 403, 403, 200, 403, 200]),
            (Callers::Secret, [403, 403, 403, 200, 200, 200]),
            (Callers::Any, [200, 200, 200, 200, 200, 200]),
        ] {
            let door = Door::new(callers, Some(SECRET.into()));
            let with = |headers| [own, other, unknown].map(|owner| status(&door, owner, headers));
            assert_eq!([with(&none), with(&right)].concat(), expected, "{}", callers.as_str());
        }
        let without = Door::new(Callers::SameUser, None);
        assert_eq!((status(&without, own, &none), status(&without, unknown, &none)), (200, 403));
    }

    #[tokio::test]
    async fn root_is_another_user() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        assert_eq!(status(&Door::new(Callers::SameUser, None), Owner::User(0), &HeaderMap::new()), 403);
    }

    #[tokio::test]
    async fn a_secret_is_shown_once_and_in_one_of_two_fields() {
        let door = Door::new(Callers::Secret, Some(SECRET.into()));
        let with = |headers: &HeaderMap| status(&door, Owner::Unknown, headers);
        assert_eq!(with(&showing("proxy-authorization", &format!("bearer {SECRET}"))), 200);
        assert_eq!(with(&showing("proxy-authorization", &format!("Basic {SECRET}"))), 403);
        assert_eq!(with(&showing("authorization", &format!("Bearer {SECRET}"))), 403);
        let mut twice = showing("evergrant-caller-secret", SECRET);
        twice.append(CALLER_SECRET, SECRET.parse().unwrap());
        assert_eq!(with(&twice), 403);
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_is_slow_and_locks_nobody_else_out() {
        let door = Door::new(Callers::Secret, Some(SECRET.into()));
        let (wrong, right) = (showing("evergrant-caller-secret", "guess"), showing("evergrant-caller-secret", SECRET));
        for _ in 0..MOST_FAILURES {
            assert_eq!(status(&door, Owner::Unknown, &wrong), 403);
        }
        assert_eq!(status(&door, Owner::Unknown, &right), 429, "even the right one has to wait now");
        assert_eq!(status(&door, Owner::User(7), &right), 200, "another caller does not");
        tokio::time::advance(WINDOW).await;
        assert_eq!(status(&door, Owner::Unknown, &right), 200);
    }

    #[tokio::test]
    async fn what_is_remembered_of_failures_is_bounded() {
        let door = Door::new(Callers::Secret, Some(SECRET.into()));
        for uid in 0..2000 {
            door.note_failure(Who::User(uid), Instant::now());
        }
        assert_eq!(door.failures.lock().unwrap().len(), MOST_WHO);
    }

    #[test]
    fn one_ipv6_network_is_one_caller() {
        let who = |text: &str| Who::of(&Peer { addr: Some(text.parse().unwrap()), owner: Owner::Unknown });
        assert_eq!(who("[2001:db8::1]:1"), who("[2001:db8::2:3]:4"));
        assert_ne!(who("[2001:db8::1]:1"), who("[2001:db8:0:1::1]:1"));
        assert_eq!(who("[::ffff:10.0.0.1]:1"), who("10.0.0.1:2"));
    }
}
