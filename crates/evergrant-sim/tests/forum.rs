//! The case that people report in forums: one in eight first requests after a refresh fails with a 401 although the
//! new token is good, and nothing seems to help but a sleep.

use evergrant_core::time::Span;
use evergrant_sim::config::{Delay, ExpiresIn, NodeConfig, ProviderConfig, Routing};
use evergrant_sim::scenario::{Forced, Grant, Load, Network, Scenario};
use evergrant_sim::strategy::Strategy;
use evergrant_sim::world::{Outcome, check, run_with};

/// An API of eight nodes. Seven know a new token by the time its answer is at the client; one replica lags behind by up
/// to three seconds. Tokens live for ten minutes, answers take some 20 ms, one script calls every three seconds.
fn case() -> Scenario {
    let mut config = ProviderConfig::genesys().with_lifetime(Span::from_secs(600)).with_nodes(8);
    config = config.with_propagation(Delay::uniform(Span::ZERO, Span::from_millis(15)));
    let lagging = Delay::uniform(Span::from_millis(100), Span::from_secs(3));
    config.nodes[7] = NodeConfig { propagation: lagging, ..NodeConfig::default() };
    config.routing = Routing::Seeded;
    config.tokens.expires_in = ExpiresIn::MinusOne;
    config.latency.token = Delay::uniform(Span::from_millis(40), Span::from_millis(120));
    config.latency.api = Delay::uniform(Span::from_millis(5), Span::from_millis(30));
    let way = Delay::uniform(Span::from_millis(8), Span::from_millis(14));
    Scenario {
        name: "forum",
        about: "one of eight nodes learns of a new token late",
        config,
        network: Network { there: way, back: way, lost_permille: 0 },
        grant: Grant::ClientCredentials,
        load: Load { cold: true, ..Load::steady(20) },
        events: Vec::new(),
        mishaps: Vec::new(),
        duration: Span::from_secs(12 * 3_600),
        forced: Forced { wait: Span::from_secs(5), ..Forced::default() },
    }
}

/// Runs the case with some seeds; the part of refreshes whose first request failed, over all of them.
fn failed_firsts(strategy: Strategy) -> (f64, Vec<Outcome>) {
    let outcomes: Vec<_> = (1..=4).map(|seed| run_with(strategy, &case(), seed)).collect();
    (outcomes.iter().map(Outcome::failed_firsts).sum::<f64>() / outcomes.len() as f64, outcomes)
}

#[test]
fn the_snippet_fails_one_in_eight_first_requests_after_a_refresh() {
    let (failed, _) = failed_firsts(Strategy::Snippet);
    assert!((0.10..=0.15).contains(&failed), "{:.1} %", failed * 100.0);
}

#[test]
fn a_sleep_of_a_second_helps_the_one_that_sleeps_and_not_always() {
    let (failed, outcomes) = failed_firsts(Strategy::SleepAfterRefresh);
    let visible: usize = outcomes.iter().map(Outcome::visible_401).sum();
    assert!(failed < 0.12 && visible > 0, "{:.1} %, {visible} visible", failed * 100.0);
}

#[test]
fn evergrant_shows_no_401_under_the_same_parameters() {
    let (failed, outcomes) = failed_firsts(Strategy::Evergrant);
    assert_eq!(failed, 0.0);
    for outcome in outcomes {
        assert_eq!(check::broken(&case(), &outcome), Vec::<String>::new(), "{}", outcome.summary());
        assert!(outcome.ledger.generations.len() > 70, "the tokens were refreshed");
    }
}
