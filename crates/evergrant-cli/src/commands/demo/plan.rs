//! What happens in a demo, and when: one plan for both lanes.
//!
//! Tokens live for seconds instead of a day, so that the faults of a week fit into a minute. The order follows from
//! that life. The first tokens end while new ones spread late. The revocation gives both lanes a new token at about the
//! same moment, so the outage can begin when a client that refreshes ahead of time has done so and end before that
//! token does: the outage forces no failure on a careful client, only on one that asks when it is too late.

use std::time::Duration;

use evergrant_core::time::Span;
use evergrant_sim::config::{Delay, ExpiresIn, ProviderConfig};
use evergrant_sim::faults::TokenFault;
use evergrant_sim::{At, Event};

/// The plan of one demo.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How long calls are sent.
    pub(super) duration: Duration,
    /// The time between two calls of a lane.
    pub(super) gap: Duration,
    /// How long a token lives.
    pub(super) lifetime: Span,
    /// What happens, in order; the first is in force from the start.
    pub(super) moments: Vec<Moment>,
}

/// A moment at which something changes.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// How long after the start.
    pub(super) after: Duration,
    /// What is in force from then on, in words.
    pub(super) words: String,
    /// What is done to the provider, if anything.
    event: Option<Event>,
}

impl Plan {
    /// Forty seconds that a person can follow.
    pub(super) fn full() -> Self {
        Self::new(&Times { lifetime: 12_000, late: 1_200, step_permille: 3_170, end: 40_000 })
    }

    /// Ten seconds.
    pub(super) fn fast() -> Self {
        Self::new(&Times { lifetime: 3_000, late: 600, step_permille: 2_830, end: 10_000 })
    }

    /// What is in force this long after the start.
    pub(super) fn at(&self, elapsed: Duration) -> &str {
        self.moments.iter().rev().find(|moment| moment.after <= elapsed).map_or("", |moment| &moment.words)
    }

    /// The provider of each lane at the start.
    pub(super) fn provider(&self) -> ProviderConfig {
        let mut config = ProviderConfig::genesys().with_lifetime(self.lifetime).with_nodes(NODES);
        config = config.with_seed(SEED).with_offset(Span::from_secs(CLOCK_AHEAD_SECS));
        // One second less, as Genesys Cloud says, is nothing of a day but a third of these tokens.
        config.tokens.expires_in = ExpiresIn::Whole;
        config.latency.token = Delay::uniform(Span::from_millis(60), Span::from_millis(120));
        config.latency.api = Delay::uniform(Span::from_millis(4), Span::from_millis(12));
        config
    }

    /// What happens to the provider of each lane.
    pub(super) fn events(&self) -> impl Iterator<Item = At> {
        self.moments.iter().filter_map(|moment| {
            let event = moment.event.clone()?;
            Some(At { after: Span::from_duration(moment.after), event })
        })
    }

    fn new(times: &Times) -> Self {
        let late = Delay::uniform(Span::ZERO, Span::from_millis(times.late));
        let late_words = format!("new tokens reach some servers up to {} late", seconds(times.late));
        let moments = vec![
            times.moment(0, format!("the provider's clock is {CLOCK_AHEAD_SECS} s fast, all along"), None),
            times.moment(270, late_words, Some(Event::SetPropagation(late))),
            times.moment(1_130, "new tokens work everywhere at once again", Some(Event::SetPropagation(Delay::NONE))),
            times.moment(1_600, "every token is revoked, long before its end", Some(Event::RevokeAll)),
            times.moment(1_950, "all is well for a while", None),
            times.moment(2_570, "the token endpoint is down", Some(Event::token(TokenFault::Status(503, None)))),
            times.moment(2_750, "the token endpoint is up again", Some(Event::ClearTokenFaults)),
            times.moment(
                times.step_permille,
                format!("the provider's clock was set {STEP_SECS} s forward: all tokens end"),
                Some(Event::StepServer(Span::from_secs(STEP_SECS))),
            ),
        ];
        Self { duration: millis(times.end), gap: GAP, lifetime: Span::from_millis(times.lifetime), moments }
    }
}

/// What a plan is made of, in milliseconds.
struct Times {
    lifetime: i64,
    late: i64,
    /// In thousandths of a token's life; between two refreshes, as most moments of a day are.
    step_permille: i64,
    end: i64,
}

impl Times {
    /// A moment at this many thousandths of a token's life.
    fn moment(&self, permille: i64, words: impl Into<String>, event: Option<Event>) -> Moment {
        Moment { after: millis(self.lifetime * permille / 1000), words: words.into(), event }
    }
}

fn millis(millis: i64) -> Duration {
    Span::from_millis(millis).to_duration()
}

/// Tenths of a second, as people say them.
fn seconds(millis: i64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

const GAP: Duration = Duration::from_millis(20);
const NODES: usize = 3;
const SEED: u64 = 7;
const CLOCK_AHEAD_SECS: i64 = 7;
const STEP_SECS: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_order_and_end_before_the_plan_does() {
        for plan in [Plan::full(), Plan::fast()] {
            assert_eq!(plan.moments[0].after, Duration::ZERO);
            assert!(plan.moments.is_sorted_by(|one, next| one.after < next.after));
            assert!(plan.moments.last().unwrap().after + Duration::from_millis(800) < plan.duration);
        }
    }

    #[test]
    fn every_fault_has_its_moment() {
        let events: Vec<Event> = Plan::full().events().map(|at| at.event).collect();
        let has = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
        assert!(has(|event| matches!(event, Event::SetPropagation(delay) if delay.max > Span::ZERO)));
        assert!(has(|event| matches!(event, Event::RevokeAll)));
        assert!(has(|event| matches!(event, Event::TokenFault(_))));
        assert!(has(|event| matches!(event, Event::StepServer(_))));
        assert_eq!(Plan::full().provider().clock.offset, Span::from_secs(7));
    }

    #[test]
    fn the_words_change_at_the_moment() {
        let plan = Plan::fast();
        let second = plan.moments[1].after;
        assert!(plan.at(Duration::ZERO).contains("7 s fast"));
        assert!(plan.at(second - Duration::from_nanos(1)).contains("7 s fast"));
        assert!(plan.at(second).contains("up to 0.6 s late"));
        assert!(plan.at(Duration::from_secs(3600)).contains("60 s forward"));
    }

    #[test]
    fn the_outage_covers_the_end_of_a_token_from_the_revocation_but_not_of_its_early_successor() {
        for plan in [Plan::full(), Plan::fast()] {
            let at = |words: &str| plan.moments.iter().find(|moment| moment.words.contains(words)).unwrap().after;
            let life = plan.lifetime.to_duration();
            let (revoked, down, up) = (at("revoked"), at("down"), at("up again"));
            assert!(down < revoked + life && revoked + life < up);
            // A refresh begins at 57 to 67 hundredths of a life; the new token may come a second after the revocation.
            assert!(revoked + Duration::from_secs(1) + life.mul_f64(0.67) <= down + Duration::from_millis(200));
            assert!(up < revoked + life.mul_f64(0.57) + life);
        }
    }
}
