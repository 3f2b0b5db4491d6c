//! Races on the hot path and in the driver, each scene under a thousand schedules of shuttle.
//!
//! The simulation takes the keeper through every fault, one event after another. What it cannot see is what happens
//! between two steps of the code around it: a token that is published while a reader loads the one before, a waiter that
//! looks just before it is woken, a task that ends while another counts on it. Here the shipping code runs, from
//! [`TokenSource`](crate::TokenSource) through driver, flight and lease to the answer's bytes; only what it stands on is
//! shuttle's (`sync`). Half of a scene's schedules are random, half have few and badly placed preemptions (PCT).
//!
//! What must hold, whoever runs when:
//!
//! - whoever can be served or told is woken: time does not pass while a token is there, or its end is known;
//! - one token request at a time for one credential, also where two sources share a store, none that is of no use, and no
//!   refresh token is spent twice;
//! - what is published is what the keeper serves, and no reader is given an older token than it has seen;
//! - a flight that is given up, also before it began, ends for everybody who waits for it;
//! - after the last clone of a source is gone, and after a shutdown, nothing is left running or unstored.
//!
//! `slips` breaks one part at a time and sees that a scene finds it.
//!
//! A failure prints its schedule, and with `EVERGRANT_SCHEDULE` the same code plays that one alone (`CONTRIBUTING.md`).
//!
//! Limits: those of `sync`; the file, keyring and Redis stores wait for threads and sockets, and are not run here.

mod ends;
mod flights;
mod readers;
mod slips;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::future::block_on;
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, Runner};

use crate::core::policy::Policy;
use crate::core::profile::Profile;
use crate::grant::Grant;
use crate::store::{Store, StoreUrl};
use crate::sync::world::{self, Reply, Slip, Turn};
use crate::{Credential, TokenSource};

/// What a scene needs around it.
#[derive(Clone, Copy)]
struct Setting {
    replies: &'static [Reply],
    slip: Option<Slip>,
    /// Does time go on in the middle of everything?
    is_restless: bool,
    /// How many of each of the two kinds.
    schedules: usize,
}

/// A world in which the provider gives a token of an hour for every request.
const PLAIN: Setting = Setting { replies: &[], slip: None, is_restless: false, schedules: 500 };

/// Plays a scene under many schedules; panics at the first in which something does not hold.
fn explore(setting: Setting, scene: impl AsyncFn() + Send + Sync + Copy + 'static) {
    if let Ok(schedule) = std::env::var("EVERGRANT_SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), setting, scene);
    }
    run(RandomScheduler::new_from_seed(SEED, setting.schedules), setting, scene);
    run(PctScheduler::new_from_seed(SEED, PREEMPTIONS, setting.schedules), setting, scene);
}

fn run(
    scheduler: impl Scheduler + Send + 'static,
    setting: Setting,
    scene: impl AsyncFn() + Send + Sync + Copy + 'static,
) {
    let Setting { replies, slip, is_restless, .. } = setting;
    let mut config = Config::default();
    config.stack_size = STACK;
    config.silence_warnings = true;
    Runner::new(Turn { inner: scheduler, is_restless }, config).run(move || {
        world::begin(slip, replies);
        block_on(scene());
    });
}

/// What the first schedule that breaks the scene says; `None` if none does.
fn broken(setting: Setting, scene: impl AsyncFn() + Send + Sync + Copy + 'static) -> Option<String> {
    let said = catch_unwind(AssertUnwindSafe(|| explore(setting, scene))).err()?;
    Some(text(said.as_ref()))
}

fn text(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<String>().map(String::as_str).or_else(|| said.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

fn memory() -> Store {
    Store::open(&StoreUrl::Memory, None).unwrap()
}

fn source_with(store: &Store) -> TokenSource {
    source_of(Credential::client_credentials("client", "secret".into()), store)
}

/// A source whose refresh token rotates.
fn source_of_a_grant(store: &Store) -> TokenSource {
    let client = Credential::client_credentials("client", "secret".into());
    source_of(Credential { grant: Grant::RefreshToken, ..client }, store)
}

fn source_of(credential: Credential, store: &Store) -> TokenSource {
    let mut profile = Profile::oauth2();
    profile.token_url = Some("http://127.0.0.1:9/token".to_owned());
    let builder = TokenSource::builder(profile, credential).refresh_token("refresh-0".into());
    builder.policy(Policy::default()).store(store.clone()).build().unwrap()
}

fn source() -> TokenSource {
    source_with(&memory())
}

/// What is published is what the keeper serves, as long as nobody need ask.
fn assert_published(source: &TokenSource) {
    source.shared().look(|keeper, now| {
        let view = keeper.view(now.boot);
        if now.boot < view.fresh_until {
            let published = source.shared().published();
            let served = view.token.map(|token| token.generation);
            let shown = published.token.as_ref().map(|token| token.generation);
            assert_eq!(shown, served, "published is not what the keeper serves");
        }
    });
}

#[test]
fn a_schedule_means_the_same_when_it_is_played_again() {
    let scheduler = RandomScheduler::new_from_seed(SEED, 100);
    run(UncontrolledNondeterminismCheckScheduler::new(scheduler), PLAIN, flights::two_sources_with_one_store);
}

const SEED: u64 = 20_261_129;
const PREEMPTIONS: usize = 3;
const STACK: usize = 1 << 19;
