//! A fleet for every seed: how large it is, what it shares, and what happens to it.

use evergrant_core::time::Span;

use super::{BootClock, Fleet, Rules, Trouble};
use crate::config::{Delay, InGrace, ProviderConfig, RotationConfig};
use crate::faults::{At, Chance, Event, TokenFault, TokenRule};
use crate::scenario::Grant;
use crate::seed::Seed;

/// The fleet of this seed.
#[must_use]
pub fn drawn(seed: u64) -> Fleet {
    let mut draw = Seed::new(seed ^ 0x00f1_ee7d);
    let members = 2 + usize::try_from(draw.below(9)).unwrap_or(0);
    let lifetime = Span::from_secs(60 + 30 * i64::try_from(draw.below(20)).unwrap_or(0));
    let troubled = lifetime.scaled(6, 1);
    let grant = if draw.happens(700) { Grant::RefreshToken } else { Grant::ClientCredentials };
    let mut config = ProviderConfig::genesys().with_lifetime(lifetime);
    config.rotation = RotationConfig {
        rotate: true,
        reuse_detection: true,
        // Shorter than a lease lasts, and a killed holder loses the grant.
        grace: Span::from_secs([20, 30, 60][usize::try_from(draw.below(3)).unwrap_or(0)]),
        in_grace: if draw.happens(500) { InGrace::SamePair } else { InGrace::NewPair },
    };
    let slow = [80, 300, 2_000][usize::try_from(draw.below(3)).unwrap_or(0)];
    config.latency.token = Delay::uniform(Span::from_millis(10), Span::from_millis(slow));
    let way = |draw: &mut Seed| {
        let most = [1, 5, 40][usize::try_from(draw.below(3)).unwrap_or(0)];
        Delay::uniform(Span::from_micros(200), Span::from_millis(most))
    };
    let to_store = way(&mut draw);
    let to_provider = way(&mut draw);
    let mut fleet = Fleet {
        members,
        machines: Vec::new(),
        grant,
        ttl: Span::from_secs(6),
        config,
        events: Vec::new(),
        rules: Rules::default(),
        to_store,
        to_provider,
        call_every: Delay::uniform(Span::from_secs(1), Span::from_secs(5)),
        messages_lost_permille: if draw.happens(300) { 200 } else { 0 },
        troubles: Vec::new(),
        quiet_from: troubled + LONGEST,
        duration: troubled + LONGEST + QUIET,
    };
    fleet.events = events(&mut draw, troubled);
    fleet.troubles = troubles(&mut draw, troubled, members);
    if draw.happens(200) {
        fleet.events.extend(outage(&mut draw, troubled));
    }
    if draw.happens(100) {
        fleet.troubles.push((moment(&mut draw, troubled), Trouble::BadProxy(0, LONGEST)));
    }
    let machines = 1 + usize::try_from(draw.below(u64::try_from(members).unwrap_or(1))).unwrap_or(0);
    fleet.machines = clocks(draw.next(), machines);
    fleet
}

/// The boot clocks of so many machines.
#[must_use]
pub fn clocks(seed: u64, machines: usize) -> Vec<BootClock> {
    let mut draw = Seed::new(seed ^ 0x000c_10c5);
    (0..machines).map(|_| BootClock::drawn(&mut draw)).collect()
}

fn moment(draw: &mut Seed, troubled: Span) -> Span {
    draw.delay(Delay::uniform(Span::ZERO, troubled))
}

fn events(draw: &mut Seed, troubled: Span) -> Vec<At> {
    let mut events = Vec::new();
    if draw.happens(400) {
        for _ in 0..=draw.below(4) {
            let fault = match draw.below(4) {
                0 => TokenFault::Lost,
                1 => TokenFault::Status(503, None),
                2 => TokenFault::Slow(Span::from_secs(4)),
                _ => TokenFault::Reset,
            };
            let event = Event::TokenFault(TokenRule { fault, chance: Chance::next(1) });
            events.push(At { after: moment(draw, troubled), event });
        }
    }
    events
}

/// The token endpoint is out of order for a while.
fn outage(draw: &mut Seed, troubled: Span) -> [At; 2] {
    let after = moment(draw, troubled);
    let lasts = draw.delay(Delay::uniform(Span::from_millis(200), LONGEST));
    let broken = TokenRule { fault: TokenFault::Status(503, None), chance: Chance::ALWAYS };
    [At { after, event: Event::TokenFault(broken) }, At { after: after + lasts, event: Event::ClearTokenFaults }]
}

fn troubles(draw: &mut Seed, troubled: Span, members: usize) -> Vec<(Span, Trouble)> {
    let mut troubles = Vec::new();
    if draw.happens(250) {
        return troubles;
    }
    for _ in 0..=draw.below(5) {
        let who = usize::try_from(draw.below(u64::try_from(members).unwrap_or(1))).unwrap_or(0);
        let lasts = draw.delay(Delay::uniform(Span::from_millis(200), LONGEST));
        let trouble = match draw.below(7) {
            0 => Trouble::Stop(who, lasts),
            1 | 2 => Trouble::Crash(who, lasts),
            3 => Trouble::Cut(who, lasts),
            4 => Trouble::StoreDown(lasts),
            5 => Trouble::StoreEmptied,
            _ => Trouble::Failover(draw.delay(Delay::uniform(Span::ZERO, Span::from_secs(1)))),
        };
        troubles.push((moment(draw, troubled), trouble));
    }
    troubles
}

/// The longest that one trouble lasts.
const LONGEST: Span = Span::from_secs(40);
/// What follows, in which nothing fails.
const QUIET: Span = Span::from_secs(45 * 60);
