//! What is kept of one credential.
//!
//! Everything another process, or this one after a crash, needs to go on: the tokens of the newest answer, when they
//! were issued on which clock, an intent that is written before a refresh token is spent, and the recent mints.
//!
//! Times are kept as they were read, with the boot they belong to. On the same boot they mean what they meant; on
//! another boot, or another machine, they are mapped through a clock that both boots were held against: the provider's
//! or that of the store's server. With both, the earlier result counts; with neither they are worth nothing: the token
//! is stale and only a fallback.

use std::sync::OnceLock;

use evergrant_core::Secret;
use evergrant_core::time::{Boot, Now, OffsetInterval, Server, Span, Wall};
use evergrant_core::token;
use serde::{Deserialize, Serialize};

use super::{Failed, TokenHash};
use crate::clock::{self, BootId};

/// The newest tokens of one credential and what is known about them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record {
    /// Counts committed answers; 0 means that none was committed yet.
    pub generation: u64,
    /// The newest access token.
    pub access_token: Option<Secret>,
    /// Its type, as the answer named it.
    pub token_type: Option<String>,
    /// Its lifetime, as the answer named it.
    pub expires_in: Option<Span>,
    /// The newest refresh token; always from the same answer as the access token or kept from the one before.
    pub refresh_token: Option<Secret>,
    /// The refresh tokens that were given from outside, newest last. The stored one descends from the last of them.
    pub seeds: Vec<TokenHash>,
    /// When the access token was issued.
    pub issued: Option<Issued>,
    /// A token request that was about to be sent. Still here after its lease is gone: nobody knows how it ended.
    pub intent: Option<Intent>,
    /// Recent token requests, oldest first, for the mint budget.
    pub mints: Vec<Stamp>,
    /// The last failure of the token endpoint that others should know of, if no token came since.
    pub failed: Option<Failed>,
}

impl Record {
    /// Takes a refresh token that was given from outside. True if it is new and replaces what is stored.
    ///
    /// A known seed never does: what descends from it is newer than it, and the seed itself may be spent. A new seed is
    /// a new login, so the tokens of the old one go.
    pub fn take_seed(&mut self, seed: &Secret) -> bool {
        let hash = TokenHash::of(seed);
        if self.seeds.contains(&hash) {
            return false;
        }
        if self.refresh_token.as_ref() == Some(seed) {
            return false;
        }
        let excess = (self.seeds.len() + 1).saturating_sub(SEEDS_KEPT);
        self.seeds.drain(..excess);
        self.seeds.push(hash);
        self.refresh_token = Some(seed.clone());
        (self.access_token, self.token_type, self.expires_in, self.issued, self.intent, self.failed) =
            (None, None, None, None, None, None);
        true
    }

    /// Takes the seeds of `other` for older than its own.
    pub(super) fn know_seeds_of(&mut self, other: &Self) {
        let mut seeds: Vec<_> = other.seeds.iter().filter(|seed| !self.seeds.contains(seed)).cloned().collect();
        seeds.append(&mut self.seeds);
        seeds.drain(..seeds.len().saturating_sub(SEEDS_KEPT));
        self.seeds = seeds;
    }

    /// Notes a token request and forgets the oldest ones over [`MINTS_KEPT`].
    pub fn note_mint(&mut self, at: Stamp) {
        self.mints.push(at);
        let excess = self.mints.len().saturating_sub(MINTS_KEPT);
        self.mints.drain(..excess);
    }

    /// How many token requests were noted within `window` before `now`.
    #[must_use]
    pub fn mints_within(&self, window: Span, now: Now) -> usize {
        self.mints.iter().filter(|mint| mint.age(now, None).is_some_and(|age| age <= window)).count()
    }
}

/// As many mints as a record remembers. A budget above it is not enforced between processes.
pub const MINTS_KEPT: usize = 512;

/// As many seeds as a record recognises.
const SEEDS_KEPT: usize = 16;

/// A moment on both local clocks, and the boot it belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The boot that `boot` counts from; absent where the system does not tell.
    pub boot_id: Option<BootId>,
    /// The boot clock.
    pub boot: Boot,
    /// The wall clock.
    pub wall: Wall,
    /// The clock of the store's server, if the store has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Server>,
}

impl Stamp {
    /// This moment, on this boot. `store` is the offset of the store's clock.
    #[must_use]
    pub fn of(now: Now, store: Option<OffsetInterval>) -> Self {
        let store = store.map(|store| now.boot + store.lo);
        Self { boot_id: clock::boot_id().cloned(), boot: now.boot, wall: now.wall, store }
    }

    /// The time since this stamp; `None` if no clock can tell.
    ///
    /// On the boot of the stamp the boot clock tells. On another one the store's clock does, if it has one, and else
    /// only the wall clock can, and only if it has not visibly stepped back: enough for budgets and messages, never for
    /// a token's lifetime.
    #[must_use]
    pub fn age(&self, now: Now, store: Option<OffsetInterval>) -> Option<Span> {
        let age = if is_this_boot(self.boot_id.as_ref()) {
            now.boot - self.boot
        } else if let (Some(then), Some(store)) = (self.store, store) {
            now.boot - store.earliest(then)
        } else {
            now.wall - self.wall
        };
        (!age.is_negative()).then_some(age)
    }
}

/// When a token was issued, on this machine's clocks and, if known, the provider's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// When the token request was sent.
    pub sent: Stamp,
    /// When the answer arrived, on the boot clock of `sent`.
    pub received: Boot,
    /// The auth host's offset to that boot clock, if it was known then.
    pub offset: Option<OffsetInterval>,
    /// The offset of the store's clock to that boot clock, if the store has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_offset: Option<OffsetInterval>,
}

/// The clocks that outlive a boot, as offsets to the current boot clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Anchors {
    /// The auth host's.
    pub auth: Option<OffsetInterval>,
    /// The store's.
    pub store: Option<OffsetInterval>,
}

impl Issued {
    /// The moments of an answer on this boot, with what is known of the auth host's and the store's clock.
    #[must_use]
    pub fn of(issued: token::Issued, auth: Option<OffsetInterval>, store: Option<OffsetInterval>) -> Self {
        let stamp = Stamp::of(clock::now(), store);
        let ago = clock::boot() - issued.sent;
        let sent = Stamp { boot: issued.sent, store: stamp.store.map(|store| store - ago), ..stamp };
        Self { sent, received: issued.received, offset: auth, store_offset: store }
    }

    /// Sending and arrival on the current boot's clock; `None` if the token must be taken as stale.
    ///
    /// Through one clock these are the earliest sending and the latest arrival; of two clocks that disagree, the earlier
    /// of each.
    #[must_use]
    pub fn on_this_boot(&self, anchors: Anchors) -> Option<(Boot, Boot)> {
        self.on_boot(is_this_boot(self.sent.boot_id.as_ref()), anchors)
    }

    fn on_boot(&self, same: bool, anchors: Anchors) -> Option<(Boot, Boot)> {
        if same {
            return Some((self.sent.boot, self.received));
        }
        let mapped = |then: Option<OffsetInterval>, here: Option<OffsetInterval>| {
            let (then, here) = (then?, here?);
            Some((here.earliest(self.sent.boot + then.lo), here.latest(self.received + then.hi)))
        };
        let by_auth = mapped(self.offset, anchors.auth);
        let by_store = mapped(self.store_offset, anchors.store);
        by_auth.into_iter().chain(by_store).reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)))
    }
}

fn is_this_boot(id: Option<&BootId>) -> bool {
    id.is_some() && id == clock::boot_id()
}

/// A token request that is about to be sent, made durable before it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Names the attempt in logs and messages.
    pub attempt_id: String,
    /// The refresh token it spends, if it spends one.
    pub refresh_token_hash: Option<TokenHash>,
    /// The process that makes it.
    pub owner: Owner,
    /// When it was about to be sent.
    pub at: Stamp,
}

impl Intent {
    /// This process is about to spend `refresh_token`.
    #[must_use]
    pub fn new(refresh_token: Option<&Secret>, at: Stamp) -> Self {
        Self {
            attempt_id: random_id(),
            refresh_token_hash: refresh_token.map(TokenHash::of),
            owner: Owner::this_process(),
            at,
        }
    }
}

/// A process, for messages about who did something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// The machine's name.
    pub host: String,
    /// The process id on it.
    pub pid: u32,
}

impl Owner {
    /// This process on this machine.
    #[must_use]
    pub fn this_process() -> Self {
        static HOST: OnceLock<String> = OnceLock::new();
        let host = HOST.get_or_init(|| {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let name: String = name.trim().chars().filter(|c| !c.is_control()).take(255).collect();
            if name.is_empty() { "this host".to_owned() } else { name }
        });
        Self { host: host.clone(), pid: std::process::id() }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

pub(super) fn random_id() -> String {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergrant_core::time::{Offset, Server};
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text)
    }

    #[test]
    fn a_descendant_wins_over_its_seed() {
        let mut record = Record::default();
        assert!(record.take_seed(&secret("seed")));
        assert_eq!(record.refresh_token, Some(secret("seed")));
        record.generation = 1;
        record.refresh_token = Some(secret("descendant"));
        assert!(!record.take_seed(&secret("seed")));
        assert!(!record.take_seed(&secret("descendant")));
        assert_eq!(record.refresh_token, Some(secret("descendant")));
    }

    #[test]
    fn a_new_seed_is_a_new_login_and_an_old_one_stays_old() {
        let mut record = Record::default();
        record.take_seed(&secret("monday"));
        record.access_token = Some(secret("access"));
        record.generation = 7;
        assert!(record.take_seed(&secret("tuesday")));
        assert_eq!((record.access_token.clone(), record.generation), (None, 7));
        record.refresh_token = Some(secret("descendant"));
        assert!(!record.take_seed(&secret("monday")), "a process with last week's environment takes nothing over");
        assert_eq!(record.refresh_token, Some(secret("descendant")));
    }

    #[test]
    fn seeds_and_mints_are_bounded() {
        let mut record = Record::default();
        let now = clock::now();
        for n in 0..2_000 {
            record.take_seed(&Secret::new(format!("seed {n}")));
            record.note_mint(Stamp::of(now, None));
        }
        assert_eq!((record.seeds.len(), record.mints.len()), (SEEDS_KEPT, MINTS_KEPT));
    }

    #[test]
    fn a_stamp_of_another_boot_ages_by_the_wall_clock_unless_it_stepped_back() {
        let now = Now { boot: Boot::from_secs(50), wall: Wall::from_secs(1_000) };
        let mut stamp = Stamp::of(Now { boot: Boot::from_secs(40), wall: Wall::from_secs(100) }, None);
        if clock::boot_id().is_some() {
            assert_eq!(stamp.age(now, None), Some(Span::from_secs(10)));
        }
        stamp.boot_id = Some(BootId::new("another".to_owned()));
        assert_eq!(stamp.age(now, None), Some(Span::from_secs(900)));
        stamp.wall = Wall::from_secs(1_001);
        assert_eq!(stamp.age(now, None), None);
    }

    #[test]
    fn only_mints_inside_the_window_count() {
        let mut record = Record::default();
        let now = clock::now();
        for secs in [700, 601, 600, 1] {
            let at = Now { boot: now.boot - Span::from_secs(secs), wall: now.wall - Span::from_secs(secs) };
            record.note_mint(Stamp::of(at, None));
        }
        assert_eq!(record.mints_within(Span::from_secs(600), now), 2);
    }

    fn issued(offset: Option<OffsetInterval>) -> Issued {
        let sent = Stamp { boot_id: None, boot: Boot::from_secs(10), wall: Wall::from_secs(0), store: None };
        Issued { sent, received: Boot::from_secs(11), offset, store_offset: None }
    }

    #[test]
    fn another_boot_without_both_offsets_knows_nothing() {
        let offset = OffsetInterval { lo: Offset::from_nanos(0), hi: Offset::from_nanos(1) };
        let auth = |offset| Anchors { auth: Some(offset), store: None };
        assert_eq!(issued(None).on_this_boot(auth(offset)), None);
        assert_eq!(issued(Some(offset)).on_this_boot(Anchors::default()), None);
        assert!(issued(None).on_boot(true, Anchors::default()).is_some());
    }

    #[test]
    fn of_two_clocks_the_earlier_result_counts() {
        let exact = |secs: i64| {
            let offset = Offset::from_nanos(secs * 1_000_000_000);
            Some(OffsetInterval { lo: offset, hi: offset })
        };
        let issued = Issued { store_offset: exact(500), ..issued(exact(100)) };
        let at = |auth, store| issued.on_this_boot(Anchors { auth, store }).unwrap().0;
        assert_eq!(at(exact(95), None), Boot::from_secs(15));
        assert_eq!(at(None, exact(498)), Boot::from_secs(12));
        assert_eq!(at(exact(95), exact(498)), Boot::from_secs(12));
        assert_eq!(at(exact(99), exact(498)), Boot::from_secs(11));
    }

    #[test]
    fn the_store_s_clock_tells_the_age_of_a_stamp_of_another_machine() {
        let now = Now { boot: Boot::from_secs(50), wall: Wall::from_secs(1_000) };
        let store = OffsetInterval { lo: Offset::from_nanos(0), hi: Offset::from_nanos(2_000_000_000) };
        let then = Server::from_secs(40);
        let boot_id = Some(BootId::new("another".to_owned()));
        let stamp = Stamp { boot_id, boot: Boot::from_secs(7), wall: Wall::from_secs(999), store: Some(then) };
        assert_eq!(stamp.age(now, Some(store)), Some(Span::from_secs(12)), "the longest that it can be");
        assert_eq!(stamp.age(now, None), Some(Span::from_secs(1)));
    }

    proptest! {
        #[test]
        fn the_mapped_times_hold_the_true_ones(
            then in 0..1_000_000_000_000_i64, here in 0..1_000_000_000_000_i64,
            a in 0..1_000_000_000_i64, b in 0..1_000_000_000_i64, c in 0..1_000_000_000_i64, d in 0..1_000_000_000_i64,
        ) {
            let (then, here) = (Offset::from_nanos(then), Offset::from_nanos(here));
            let around = |o: Offset, below: i64, above: i64| OffsetInterval { lo: o - Span::from_nanos(below), hi: o + Span::from_nanos(above) };
            let (sent, received) = issued(Some(around(then, a, b))).on_this_boot(Anchors { auth: Some(around(here, c, d)), store: None }).unwrap();
            let true_sent: Server = Boot::from_secs(10) + then;
            let true_received: Server = Boot::from_secs(11) + then;
            prop_assert!(sent <= true_sent - here, "never later than the truth");
            prop_assert!(received >= true_received - here, "never earlier than the truth");
        }
    }
}
