//! Ten thousand replicas for a simulated day: two hundred fleets of fifty, each with one grant, all on one Redis.
//!
//! Every fleet is simulated by itself (`evergrant_sim::fleet`), and what it does to provider and store is added up second
//! by second. All start within the same two seconds, which is the worst that can happen to them. In the day the token
//! endpoint is out of order for a quarter of an hour, then the store for as long, and later the store starts again without its
//! data. The same day is run once more for each rule that can be replaced ([`rules`]).

mod rules;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use evergrant_core::time::Span;
use evergrant_sim::ProviderConfig;
use evergrant_sim::config::Delay;
use evergrant_sim::faults::{At, Chance, Event, TokenFault, TokenRule};
use evergrant_sim::fleet::{self, Fleet, Outcome, Rules, Trouble};
use evergrant_sim::scenario::Grant;

use crate::table::{Goal, Row, Sheet};
use crate::{Effort, Failure};

const FLEETS: u64 = 200;
const MEMBERS: usize = 50;
const DAY: i64 = 86_400;
const LIFETIME: i64 = 3_600;
const ENDPOINT_DOWN: (i64, i64) = (347 * 60, 362 * 60);
const STORE_DOWN: (i64, i64) = (750 * 60, 765 * 60);
const STORE_EMPTIED: i64 = 18 * 3_600;
/// By this age of a token its refresh is due, whatever was drawn.
const LATEST_REFRESH: i64 = LIFETIME * 4 / 5;
/// How long after the start of all, or after an outage, is looked at by itself.
const MOMENT: i64 = 120;

/// The table of the rules that ship, and the one that puts others beside them.
pub(crate) fn measure(effort: Effort) -> Result<(Vec<Row>, Sheet), Failure> {
    let fleets = if effort == Effort::Quick { FLEETS / 10 } else { FLEETS };
    let shipped = total(fleets, |seed| a_day(Rules::default(), seed))?;
    let of_rules = rules::compare(fleets, &shipped)?;
    Ok((shipped.rows(), of_rules))
}

/// What these fleets do together.
fn total(fleets: u64, fleet: impl Fn(u64) -> Fleet + Sync) -> Result<Sum, Failure> {
    let sum = Mutex::new(Sum { fleets, ..Sum::default() });
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= fleets {
                        return;
                    }
                    let outcome = fleet::run(&fleet(seed), seed, false);
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Whichever thread was first: a table is the same each time.
    sum.adoptions.sort_unstable();
    match sum.broken.first() {
        Some(broken) => Err(format!("a promise was broken: {broken}").into()),
        None => Ok(sum),
    }
}

fn a_day(rules: Rules, seed: u64) -> Fleet {
    let secs = Span::from_secs;
    let way = Delay::uniform(Span::from_micros(200), Span::from_millis(2));
    let mut config = ProviderConfig::genesys().with_lifetime(secs(LIFETIME));
    (config.rotation.rotate, config.rotation.reuse_detection) = (true, true);
    config.rotation.grace = secs(30);
    let broken = TokenRule { fault: TokenFault::Status(503, None), chance: Chance::ALWAYS };
    let events = vec![
        At { after: secs(ENDPOINT_DOWN.0), event: Event::TokenFault(broken) },
        At { after: secs(ENDPOINT_DOWN.1), event: Event::ClearTokenFaults },
    ];
    let troubles = vec![
        (secs(STORE_DOWN.0), Trouble::StoreDown(secs(STORE_DOWN.1 - STORE_DOWN.0))),
        (secs(STORE_EMPTIED), Trouble::StoreEmptied),
    ];
    Fleet {
        members: MEMBERS,
        machines: fleet::clocks(seed, MEMBERS),
        grant: Grant::RefreshToken,
        ttl: secs(6),
        config,
        events,
        rules,
        to_store: way,
        to_provider: Delay::uniform(Span::from_millis(5), Span::from_millis(40)),
        call_every: Delay::uniform(secs(60), secs(120)),
        messages_lost_permille: 0,
        troubles,
        quiet_from: secs(STORE_EMPTIED),
        duration: secs(DAY),
    }
}

/// What all fleets did together.
#[derive(Default)]
struct Sum {
    fleets: u64,
    broken: Vec<String>,
    requests: u64,
    issues: Vec<Span>,
    refusals: u64,
    first_token: Span,
    commands_at: Vec<u64>,
    adoptions: Vec<Span>,
    after_endpoint: Span,
    after_store: Span,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.broken.extend(outcome.broken.iter().cloned());
        self.requests += outcome.ledger.token.requests;
        self.issues.extend(&outcome.issues);
        self.refusals += u64::try_from(outcome.refusals.len()).unwrap_or(0);
        let first = outcome.generations.first().map_or(Span::ZERO, |(stored, _)| *stored);
        self.first_token = self.first_token.max(first);
        self.commands_at.resize(self.commands_at.len().max(outcome.commands_at.len()), 0);
        for (sum, commands) in self.commands_at.iter_mut().zip(&outcome.commands_at) {
            *sum += u64::from(*commands);
        }
        // Without the store nothing can be taken over, nor by members that have not started.
        let is_calm = |at: Span| at.as_secs() > MOMENT && !(STORE_DOWN.0..STORE_DOWN.1).contains(&at.as_secs());
        let calm = outcome.generations.iter().filter(|(stored, taken)| is_calm(*stored) && is_calm(*taken));
        self.adoptions.extend(calm.map(|(stored, taken)| *taken - *stored));
        for (longest, end) in [(&mut self.after_endpoint, ENDPOINT_DOWN.1), (&mut self.after_store, STORE_DOWN.1)] {
            let end = Span::from_secs(end);
            let soon = |at: Span| at >= end && at < end + Span::from_secs(MOMENT);
            let was_due = |before: Span| before + Span::from_secs(LATEST_REFRESH) <= end;
            let pairs = outcome.generations.windows(2);
            let caught_up = pairs.filter(|pair| was_due(pair[0].0) && soon(pair[1].0));
            *longest = caught_up.map(|pair| pair[1].1 - end).fold(*longest, Span::max);
        }
    }

    /// The most tokens issued in one second of this time.
    fn peak(&self, from: i64, to: i64) -> f64 {
        let mut seconds = BTreeMap::<i64, u64>::new();
        for second in self.issues.iter().map(|at| at.as_secs()).filter(|at| (from..to).contains(at)) {
            *seconds.entry(second).or_default() += 1;
        }
        seconds.into_values().max().unwrap_or(0) as f64
    }

    fn replicas(&self) -> f64 {
        self.fleets as f64 * MEMBERS as f64
    }

    fn commands(&self) -> f64 {
        self.commands_at.iter().sum::<u64>() as f64
    }

    fn commands_a_minute(&self) -> f64 {
        self.commands() / self.replicas() / (DAY as f64 / 60.0)
    }

    /// The most commands in one second of the start, and of the time after it.
    fn most_commands(&self) -> [f64; 2] {
        let most = |seconds: &[u64]| seconds.iter().copied().max().unwrap_or(0) as f64;
        let moment = usize::try_from(MOMENT).unwrap_or(0).min(self.commands_at.len());
        let (first, later) = self.commands_at.split_at(moment);
        [most(first), most(later)]
    }

    /// Of so many, how many each fleet had in each lifetime of its grant.
    fn a_lifetime(&self, of: u64) -> f64 {
        of as f64 / (DAY as f64 / LIFETIME as f64 * self.fleets as f64)
    }

    fn issued(&self) -> u64 {
        u64::try_from(self.issues.len()).unwrap_or(0)
    }

    fn rows(&self) -> Vec<Row> {
        let p99 = self.adoptions.get(self.adoptions.len() * 99 / 100).copied().unwrap_or_default();
        let row = |what, unit, measured, goal| Row { what, unit, measured, beside: None, goal };
        let info = |what, unit, measured| row(what, unit, measured, Goal::None);
        let [first, later] = self.most_commands();
        let back = ENDPOINT_DOWN.1;
        let requests = self.a_lifetime(self.requests);
        vec![
            info("replicas", "", self.replicas()),
            row(
                "token requests for each hour that a token lives, with those that failed",
                "",
                requests,
                Goal::AtMost(2.0),
            ),
            info("of them answered with a token", "", self.a_lifetime(self.issued())),
            info(
                "those that failed in the outage, of each fleet",
                "",
                (self.requests - self.issued()) as f64 / self.fleets as f64,
            ),
            info("most tokens issued in one second: the start of all", "", self.peak(0, MOMENT)),
            info("the same in the hours after it", "", self.peak(MOMENT, ENDPOINT_DOWN.0)),
            info("the same when the token endpoint is back", "", self.peak(back, back + MOMENT)),
            row(
                "from a commit to the last of fifty that has it, p99",
                "ms",
                p99.as_secs_f64() * 1e3,
                Goal::AtMost(200.0),
            ),
            info("the last refresh that had waited for the token endpoint", "s", self.after_endpoint.as_secs_f64()),
            info("the last refresh that had waited for the store", "s", self.after_store.as_secs_f64()),
            row("commands for a replica and minute", "", self.commands_a_minute(), Goal::AtMost(5.0)),
            info("commands a second for all", "", self.commands() / DAY as f64),
            info("most commands in one second: the start of all", "", first),
            info("the same later", "", later),
        ]
    }
}
