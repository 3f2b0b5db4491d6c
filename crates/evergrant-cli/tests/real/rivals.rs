//! Rivals of the simulation, run for real: google-auth and Genesys Cloud's client for Python, unchanged.
//!
//! A client makes its calls one after another on a real socket, and between two of them something happens to the
//! provider. The strategy of its name does the same in the simulated world. What the callers see, and how many token
//! requests there are, must be the same to the last number. Tokens live for a day and a node that learns of them late
//! learns hours later, so no result depends on how long anything takes.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, Delay, NodeConfig, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::{At, Event};
use evergrant_sim::http::SimServer;
use evergrant_sim::scenario::{Grant, Load, Scenario};
use evergrant_sim::strategy::Strategy;
use evergrant_sim::world::run_with;

use crate::parts::{part, scratch, tool};
use crate::process::Process;

/// What came of the calls: what each caller saw, and the token requests behind it.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    statuses: Vec<u16>,
    token_requests: u64,
}

/// What the provider does.
struct Situation {
    name: &'static str,
    /// Which of the nodes, that are asked in turn, learn of a new token hours later.
    is_late: &'static [bool],
    /// Before which calls everything is revoked.
    revoked_before: &'static [usize],
}

const SITUATIONS: [Situation; 4] = [
    Situation { name: "nothing is wrong", is_late: &[false], revoked_before: &[] },
    Situation { name: "two revocations", is_late: &[false], revoked_before: &[3, 7] },
    Situation { name: "one of four nodes is late", is_late: &[false, false, true, false], revoked_before: &[] },
    Situation { name: "three in a row are late", is_late: &[false, true, true, true, false], revoked_before: &[] },
];
const CALLS: usize = 10;
/// Genesys Cloud's client is many thousand files.
const PATIENCE: Duration = Duration::from_secs(120);

impl Situation {
    fn config(&self) -> ProviderConfig {
        let node = |is_late: &bool| {
            let late = if *is_late { Span::from_secs(10 * 3_600) } else { Span::ZERO };
            NodeConfig { clock_offset: Span::ZERO, propagation: Delay::fixed(late) }
        };
        let nodes = self.is_late.iter().map(node).collect();
        ProviderConfig { nodes, ..ProviderConfig::genesys().with_lifetime(Span::from_secs(86_400)) }
    }

    /// In the simulated world: a call each second, and what happens half a second before one.
    fn simulated(&self, strategy: Strategy, grant: Grant) -> Seen {
        let second = |count: usize| Span::from_secs(i64::try_from(count).unwrap());
        let half = Span::from_millis(500);
        let revocation = |call: &usize| At { after: second(*call) - half, event: Event::RevokeAll };
        let scenario = Scenario {
            config: self.config(),
            grant,
            load: Load::steady(60),
            events: self.revoked_before.iter().map(revocation).collect(),
            duration: second(CALLS) - half,
            ..Scenario::named("no_fault").unwrap()
        };
        let outcome = run_with(strategy, &scenario, 1);
        let mut calls = outcome.calls;
        calls.sort_by_key(|call| call.started);
        Seen {
            statuses: calls.iter().map(|call| call.status.expect("every call is answered")).collect(),
            token_requests: outcome.ledger.token.requests,
        }
    }

    /// On a real socket, by the original.
    fn real(&self, originals: &mut Originals, client: &str) -> Seen {
        let sim = SimServer::start(self.config()).unwrap();
        originals.start(client, &sim.url());
        let call = |number: usize| {
            if self.revoked_before.contains(&number) {
                sim.handle().apply(Event::RevokeAll);
            }
            originals.call()
        };
        let statuses = (0..CALLS).map(call).collect();
        Seen { statuses, token_requests: sim.handle().ledger().token.requests }
    }
}

/// The process in which the originals run, one at a time: their code alone takes seconds to load.
struct Originals {
    process: Process,
    calls: usize,
}

impl Originals {
    fn load(home: &str) -> Self {
        let mut command = Command::new(tool("py/bin/python"));
        command.arg(part("rivals.py")).env_clear().env("HOME", scratch(home));
        command.env("CLIENT_ID", CLIENT_ID).env("CLIENT_SECRET", CLIENT_SECRET).env("REFRESH_TOKEN", REFRESH_TOKEN);
        Self { process: Process::start("the rivals", &mut command), calls: 0 }
    }

    fn start(&self, client: &str, provider: &str) {
        writeln!(self.process.input(), "start {client} {provider}").unwrap();
    }

    fn call(&mut self) -> u16 {
        writeln!(self.process.input(), "call").unwrap();
        let answer = format!("call {}: ", self.calls);
        self.calls += 1;
        self.process.line_within(PATIENCE, |line| line.strip_prefix(&answer)?.parse().ok())
    }
}

/// The original and its strategy in every situation; what the callers of both saw.
fn pinned(originals: &mut Originals, client: &str, strategy: Strategy, grant: Grant) -> Vec<Seen> {
    let pin = |situation: &Situation| {
        let (real, simulated) = (situation.real(originals, client), situation.simulated(strategy, grant));
        println!("{client}, {}: {real:?}", situation.name);
        assert_eq!(simulated, real, "{client}, {}: the strategy and its original", situation.name);
        real
    };
    SITUATIONS.iter().map(pin).collect()
}

#[test]
fn google_auth_does_what_its_strategy_does() {
    let mut originals = Originals::load("rivals-google");
    let seen = pinned(&mut originals, "google_auth", Strategy::GoogleAuth, Grant::RefreshToken);
    let [quiet, revoked, late, later] = &seen[..] else { unreachable!("one result for each situation") };
    assert_eq!((quiet.token_requests, revoked.token_requests), (1, 3));
    assert!(late.statuses.iter().all(|status| *status == 200) && late.token_requests > 1);
    assert!(later.statuses.contains(&401), "two refreshes do not help where three nodes do not know the token");
}

#[test]
fn genesys_clouds_client_does_what_its_strategy_does() {
    let (mut originals, strategy) = (Originals::load("rivals-genesys"), Strategy::GenesysPython);
    let with_secret = pinned(&mut originals, "genesys_client_credentials", strategy, Grant::ClientCredentials);
    assert_eq!(with_secret[1].statuses[2..], [200, 401, 401, 401, 401, 401, 401, 401], "after the first revocation");
    assert!(with_secret.iter().all(|seen| seen.token_requests == 1), "it never asks again");
    let with_refresh_token = pinned(&mut originals, "genesys_refresh_token", strategy, Grant::RefreshToken);
    assert!(with_refresh_token.iter().flat_map(|seen| &seen.statuses).all(|status| *status == 200));
}
