//! Rows of worlds that differ in one thing.
//!
//! All start from [`steady`]: tokens of an hour, eight nodes, a call every five seconds, six hours. Where a parameter does
//! nothing by itself the row adds what makes it matter, and its words say so: a clock that is off does no harm until
//! somebody sets it right.

use evergrant_core::time::Span;

use crate::config::{Delay, NodeConfig, ProviderConfig, Routing, TokenFormat};
use crate::faults::{At, Chance, Event, TokenFault, TokenRule};
use crate::scenario::{Forced, Grant, Load, LocalEvent, Mishap, Network, Scenario};

/// What a row of worlds varies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sweep {
    /// How far this machine's clock is off until somebody sets it right.
    Skew,
    /// How late the slowest node learns of a new token.
    Propagation,
    /// How often tokens are revoked before their end.
    Revocation,
    /// How long a token lives.
    Lifetime,
}

/// One world of a row.
#[derive(Clone, Debug)]
pub struct Point {
    /// What is written at the axis.
    pub label: &'static str,
    /// The world.
    pub scenario: Scenario,
}

impl Sweep {
    /// All rows.
    pub const ALL: [Self; 4] = [Self::Skew, Self::Propagation, Self::Revocation, Self::Lifetime];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skew => "skew",
            Self::Propagation => "propagation",
            Self::Revocation => "revocation",
            Self::Lifetime => "lifetime",
        }
    }

    /// What the axis shows.
    #[must_use]
    pub const fn axis(self) -> &'static str {
        match self {
            Self::Skew => "this machine's clock, + is FAST, until it is set right in the third hour",
            Self::Propagation => "until the slowest of eight nodes knows a new token",
            Self::Revocation => "revocations before the token's end, in six hours",
            Self::Lifetime => "life of a token",
        }
    }

    /// The worlds, in order.
    #[must_use]
    pub fn points(self) -> Vec<Point> {
        match self {
            Self::Skew => SKEWS.into_iter().map(|(label, secs)| Point { label, scenario: skewed(secs) }).collect(),
            Self::Propagation => LATE.into_iter().map(|(label, ms)| Point { label, scenario: late(ms) }).collect(),
            Self::Revocation => {
                REVOCATIONS.into_iter().map(|(label, count)| Point { label, scenario: revoked(count) }).collect()
            }
            Self::Lifetime => LIVES.into_iter().map(|(label, secs)| Point { label, scenario: living(secs) }).collect(),
        }
    }
}

const SKEWS: [(&str, i64); 9] = [
    ("-10m", -600),
    ("-5m", -300),
    ("-1m", -60),
    ("-10s", -10),
    ("0", 0),
    ("+10s", 10),
    ("+1m", 60),
    ("+5m", 300),
    ("+10m", 600),
];
const LATE: [(&str, i64); 7] =
    [("0", 0), ("100ms", 100), ("300ms", 300), ("1s", 1_000), ("3s", 3_000), ("6s", 6_000), ("10s", 10_000)];
const REVOCATIONS: [(&str, i64); 6] = [("0", 0), ("1", 1), ("3", 3), ("6", 6), ("12", 12), ("24", 24)];
const LIVES: [(&str, i64); 7] =
    [("30s", 30), ("2m", 120), ("5m", 300), ("15m", 900), ("1h", 3_600), ("4h", 14_400), ("24h", 86_400)];

/// Nothing is wrong.
#[must_use]
pub fn steady() -> Scenario {
    let mut config = ProviderConfig::genesys().with_lifetime(Span::from_secs(3_600)).with_nodes(8);
    config.routing = Routing::Seeded;
    config.latency.token = Delay::uniform(Span::from_millis(40), Span::from_millis(120));
    config.latency.api = Delay::uniform(Span::from_millis(5), Span::from_millis(30));
    let way = Delay::uniform(Span::from_millis(8), Span::from_millis(14));
    Scenario {
        name: "steady",
        about: "tokens of an hour, eight nodes, a call every five seconds, and nothing wrong",
        config,
        network: Network { there: way, back: way, lost_permille: 0 },
        grant: Grant::ClientCredentials,
        load: Load { cold: true, ..Load::steady(12) },
        events: Vec::new(),
        mishaps: Vec::new(),
        duration: HOUR.scaled(6, 1),
        forced: Forced { wait: Span::from_secs(30), ..Forced::default() },
    }
}

fn skewed(secs: i64) -> Scenario {
    let mut scenario = steady();
    scenario.config.tokens.format = TokenFormat::Jwt;
    let step = |after, by| Mishap { after, event: LocalEvent::StepWall(Span::from_secs(by)) };
    scenario.mishaps = vec![step(-Span::from_secs(1), secs), step(HOUR.scaled(5, 2), -secs)];
    scenario
}

fn late(millis: i64) -> Scenario {
    let mut scenario = steady();
    let lagging = Delay::fixed(Span::from_millis(millis));
    scenario.config.nodes[7] = NodeConfig { propagation: lagging, ..NodeConfig::default() };
    // Enough refreshes to count, and few calls that are none of the first.
    scenario.config.tokens.lifetime = Span::from_secs(1_200);
    scenario.duration = HOUR.scaled(24, 1);
    scenario.load.calls_per_min = 6;
    scenario
}

fn revoked(count: i64) -> Scenario {
    let mut scenario = steady();
    let every = scenario.duration.scaled(1, count.max(1));
    let at = |n: i64| At { after: every.scaled(2 * n + 1, 2), event: Event::RevokeAll };
    scenario.events = (0..count).map(at).collect();
    scenario
}

fn living(secs: i64) -> Scenario {
    let mut scenario = steady();
    scenario.config.tokens.lifetime = Span::from_secs(secs);
    scenario.duration = Span::from_secs((6 * secs).clamp(3_600, 100_000));
    // The same number of calls in each world.
    let calls_per_min = 60 * 4_000 / scenario.duration.as_secs();
    scenario.load.calls_per_min = u32::try_from(calls_per_min).unwrap_or(1).max(1);
    scenario
}

/// Worlds that each have one fault, for a picture of all clients and all faults.
#[must_use]
pub fn faults() -> Vec<Point> {
    let with = |label: &'static str, change: fn(&mut Scenario)| {
        let mut scenario = steady();
        change(&mut scenario);
        Point { label, scenario }
    };
    vec![
        with("none", |_| {}),
        with("clock 5 min FAST until set right", |s| *s = skewed(300)),
        with("clock 5 min SLOW until set right", |s| *s = skewed(-300)),
        with("server clock 1 % fast", |s| s.config.clock.drift_ppm = 10_000),
        with("server clock steps 10 min", |s| s.events = vec![at_min(150, Event::StepServer(Span::from_secs(600)))]),
        with("nodes disagree by 1 s", |s| {
            s.config.nodes[6].clock_offset = Span::from_secs(1);
            s.config.nodes[7].clock_offset = Span::from_secs(-1);
        }),
        with("one node 3 s late", |s| s.config.nodes[7].propagation = Delay::fixed(Span::from_secs(3))),
        with("a refresh revokes", |s| s.config.tokens.revoke_old = true),
        with("revoked early", |s| s.events = vec![at_min(90, Event::RevokeAll), at_min(200, Event::RevokeAll)]),
        with("evicted by others", |s| {
            s.config.tokens.cap = Some(3);
            s.events = vec![at_min(90, Event::OutsideMints(3)), at_min(200, Event::OutsideMints(3))];
        }),
        with("login down before each end", |s| {
            let down = |hour: i64| {
                let from = At { after: at_hour(hour) - MINUTE.scaled(20, 1), event: Event::token(TokenFault::Reset) };
                [from, At { after: at_hour(hour) - MINUTE, event: Event::ClearTokenFaults }]
            };
            s.events = (1..6).flat_map(down).collect();
        }),
        with("first token answer torn", |s| {
            let rule = TokenRule { fault: TokenFault::Torn, chance: Chance::next(1) };
            s.events = (1..6).map(|hour| at_min(hour * 60 - 30, Event::TokenFault(rule.clone()))).collect();
        }),
    ]
}

fn at_min(minutes: i64, event: Event) -> At {
    At { after: MINUTE.scaled(minutes, 1), event }
}

fn at_hour(hour: i64) -> Span {
    HOUR.scaled(hour, 1)
}

const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
