//! The table of scenarios. Each entry is a deviation from one plain base.
//!
//! Where an entry needs a token to outlive a fault, the numbers follow from the refresh schedule: a third of the
//! lifetime is kept as slack, and a jitter of up to a tenth of it makes that earlier still. A client that got its first
//! token up to a second before the start, with a life of 12 seconds, begins to refresh between 5.8 and 8 and has until 11.

use evergrant_core::time::Span;

use super::{Burst, Forced, Grant, Load, Network, Outage, Scenario};
use crate::config::{
    ClockConfig, Delay, InGrace, LimitAnswer, MintLimit, NodeConfig, ProviderConfig, RotationConfig, TokenFormat,
};
use crate::faults::{At, Chance, Event, TokenFault, TokenRule};

pub(super) fn all() -> Vec<Scenario> {
    let groups = [clocks(), nodes(), endings(), limits(), outages(), spoiled_answers(), rotation(), loads()];
    groups.into_iter().flatten().collect()
}

/// Tokens of four seconds, three nodes, 100 calls a second, and nothing wrong.
fn base(name: &'static str, about: &'static str) -> Scenario {
    let mut config = ProviderConfig::genesys().with_lifetime(secs(4)).with_nodes(3);
    config.tokens.expires_in = crate::config::ExpiresIn::Whole;
    config.latency.token = Delay::uniform(Span::from_millis(20), Span::from_millis(60));
    Scenario {
        name,
        about,
        config,
        network: Network::default(),
        grant: Grant::ClientCredentials,
        load: Load::steady(6_000),
        events: Vec::new(),
        mishaps: Vec::new(),
        duration: secs(13),
        forced: Forced { wait: secs(2), ..Forced::default() },
    }
}

/// The base in the form of the RFCs.
fn rfc(name: &'static str, about: &'static str) -> Scenario {
    let mut scenario = base(name, about);
    scenario.config.shape = crate::config::Shape::Rfc;
    scenario
}

fn clocks() -> Vec<Scenario> {
    let mut list = vec![
        base("no_fault", "nothing is wrong, errors in the form of Genesys Cloud"),
        rfc("no_fault_rfc", "nothing is wrong, errors in the form of the RFCs"),
        with(base("no_fault_minus_one", "expires_in is one second short, as Genesys Cloud says it"), |s| {
            s.config.tokens.expires_in = crate::config::ExpiresIn::MinusOne;
        }),
        with(rfc("no_fault_jwt", "tokens are JWTs whose whole seconds end up to a second early"), jwt),
    ];
    for (name, offset) in
        [("offset_plus_7s", 7), ("offset_minus_7s", -7), ("offset_plus_5min", 300), ("offset_minus_5min", -300)]
    {
        list.push(with(base(name, "the provider's clock is off by a constant"), |s| {
            s.config.clock.offset = secs(offset)
        }));
    }
    for (name, offset) in [("offset_plus_5min_jwt", 300), ("offset_minus_5min_jwt", -300)] {
        list.push(with(rfc(name, "as above, and the tokens carry that clock's times"), |s| {
            s.config.clock.offset = secs(offset);
            jwt(s);
        }));
    }
    for (name, drift_ppm) in [("drift_fast", 10_000), ("drift_slow", -10_000)] {
        list.push(with(base(name, "the provider's clock is off by one percent"), |s| {
            s.config.clock = ClockConfig { offset: secs(2), drift_ppm };
        }));
    }
    for (name, by) in [("server_step_forward", 90), ("server_step_backward", -90)] {
        list.push(with(base(name, "the provider's clock steps; forward ends every token at once"), |s| step(s, by)));
    }
    for (name, by) in [("server_step_forward_jwt", 90), ("server_step_backward_jwt", -90)] {
        list.push(with(rfc(name, "as above; a step back makes JWTs not valid yet"), |s| {
            step(s, by);
            jwt(s);
        }));
    }
    list
}

fn nodes() -> Vec<Scenario> {
    let disagree = |s: &mut Scenario| {
        s.config.nodes = [0, 1_000, -1_000]
            .map(|millis| NodeConfig { clock_offset: Span::from_millis(millis), propagation: Delay::NONE })
            .into();
    };
    vec![
        with(base("nodes_disagree", "one node is a second fast and one a second slow"), disagree),
        with(rfc("nodes_disagree_jwt", "the slow node takes new tokens as not valid yet"), |s| {
            disagree(s);
            jwt(s);
            s.config = s.config.clone().with_lifetime(secs(8));
            s.duration = secs(20);
            s.forced.wait = secs(4);
        }),
        with(base("propagation", "each node learns of a new token up to 1.5 seconds late"), |s| {
            propagate(s, 1_500, 6);
        }),
        with(base("propagation_3s", "each node learns of a new token exactly 3 seconds late"), |s| {
            propagate(s, 3_000, 9);
            s.config = s.config.clone().with_propagation(Delay::fixed(secs(3)));
            s.duration = secs(22);
        }),
        with(base("propagation_10s", "each node learns of a new token up to 10 seconds late"), |s| {
            propagate(s, 10_000, 30);
            s.duration = secs(50);
        }),
        with(base("propagation_slow_api", "nodes learn of a new token late, and every answer takes a second"), |s| {
            propagate(s, 6_000, 20);
            s.config.latency.api = Delay::uniform(Span::from_millis(800), Span::from_millis(1_200));
            s.duration = secs(36);
        }),
        with(base("revoke_on_refresh", "a new token ends the old one at once"), |s| s.config.tokens.revoke_old = true),
        with(base("revoke_on_refresh_propagation", "as above, and nodes learn of the new one late"), |s| {
            propagate(s, 1_000, 6);
            s.config.tokens.revoke_old = true;
        }),
    ]
}

fn endings() -> Vec<Scenario> {
    vec![
        with(base("early_revocation_short", "tokens of four seconds are revoked twice"), |s| {
            s.events = vec![At::millis(2_300, Event::RevokeAll), At::millis(7_900, Event::RevokeAll)];
            s.forced.token_requests = 2;
            s.forced.wait = UNPROVEN_WAIT;
        }),
        with(base("early_revocation_half_life", "every token is revoked at half of its life"), |s| {
            s.config = s.config.clone().with_lifetime(secs(6));
            s.config.tokens.revoke_at_permille = Some(500);
        }),
        with(base("early_revocation_long", "tokens of a day are revoked twice"), |s| {
            s.config = s.config.clone().with_lifetime(secs(86_400));
            s.events = vec![At::millis(3_000, Event::RevokeAll), At::millis(16_000, Event::RevokeAll)];
            s.duration = secs(20);
            s.forced.token_requests = 2;
        }),
        with(base("eviction", "others mint with the same client and push our token out"), |s| {
            s.config = s.config.clone().with_lifetime(secs(3_600));
            s.config.tokens.cap = Some(2);
            s.events = vec![At::millis(3_000, Event::OutsideMints(2)), At::millis(16_000, Event::OutsideMints(2))];
            s.duration = secs(20);
            s.forced.token_requests = 2;
        }),
        with(base("eviction_of_own", "one live token at a time"), |s| s.config.tokens.cap = Some(1)),
        with(base("idle_timeout", "tokens end when unused for two seconds, and callers pause for four"), |s| {
            s.config = s.config.clone().with_lifetime(secs(60));
            s.config.tokens.idle_timeout = Some(secs(2));
            let bursts = [0, 4, 8, 12].map(|after| Burst { after: secs(after), calls: 40 });
            s.load = Load { bursts: bursts.into(), cold: false, ..Load::steady(0) };
            s.forced.token_requests = 4;
        }),
    ]
}

fn limits() -> Vec<Scenario> {
    let limited = |s: &mut Scenario, answer| {
        s.config = s.config.clone().with_lifetime(secs(12));
        s.config.mint_limit = Some(MintLimit { count: 3, window: secs(5), answer });
        // There is room again at 10.
        s.events = vec![At::millis(5_000, Event::OutsideMints(3))];
        s.duration = secs(20);
        s.forced.token_requests = 3;
    };
    vec![
        with(base("mint_limit_400", "others use up the mint limit, answered as 400 without a hint"), |s| {
            limited(s, LimitAnswer::BadRequest);
        }),
        with(rfc("mint_limit_429", "others use up the mint limit, answered as 429 with seconds"), |s| {
            limited(s, LimitAnswer::TooManyRequests);
        }),
        with(rfc("mint_limit_429_date", "the date to come back is by a clock five minutes fast"), |s| {
            limited(s, LimitAnswer::TooManyRequestsDate);
            s.config.clock.offset = secs(300);
        }),
    ]
}

fn outages() -> Vec<Scenario> {
    let down = |s: &mut Scenario, lifetime, from, to, fault: TokenFault| {
        s.config = s.config.clone().with_lifetime(secs(lifetime));
        s.events = vec![At { after: secs(from), event: Event::token(fault) }];
        s.events.push(At { after: secs(to), event: Event::ClearTokenFaults });
        s.forced.token_requests = 8;
    };
    vec![
        with(base("endpoint_down_before_expiry", "resets from before the refresh until before the end"), |s| {
            down(s, 12, 5, 10, TokenFault::Reset);
            s.duration = secs(20);
        }),
        with(base("endpoint_503_before_expiry", "503 from before the refresh until before the end"), |s| {
            down(s, 12, 5, 10, TokenFault::Status(503, None));
            s.duration = secs(20);
        }),
        with(base("endpoint_down_across_expiry", "resets until five seconds after the last token's end"), |s| {
            down(s, 6, 2, 11, TokenFault::Reset);
            // The last token may be gone from 4.5 on. A try just before 11 still fails, and with n failures before it the
            // next one comes up to 1 s + min(2^n s, 15 s) later: 16 s from the fifth failure on. While the token lives
            // the wait is at most 1 s + a quarter of what is left, and so the fifth can come before 11.
            let next_try = secs(11) + LONGEST_BACK_OFF;
            s.forced.outages = vec![Outage { from: Span::from_millis(4_500), to: next_try }];
            s.duration = next_try + s.config.tokens.lifetime;
        }),
        with(base("endpoint_hangs_across_expiry", "no answer at all until after the last token's end"), |s| {
            down(s, 6, 2, 9, TokenFault::Hang(secs(60)));
            // A try that began just before 9 ends at its own timeout of ten seconds. Its answer may be lost, so it is
            // made once more at once, without back-off.
            let next_try = secs(9) + TOKEN_TIMEOUT;
            s.forced.outages = vec![Outage { from: Span::from_millis(4_500), to: next_try }];
            s.duration = next_try + s.config.tokens.lifetime;
        }),
    ]
}

fn spoiled_answers() -> Vec<Scenario> {
    let spoiled = |name, about, faults: Vec<TokenFault>| {
        with(base(name, about), |s| {
            s.config = s.config.clone().with_lifetime(secs(12));
            // The tries of the first refresh meet the faults in line.
            s.forced.token_requests = u32::try_from(faults.len()).unwrap_or(u32::MAX);
            let rule = |fault| Event::TokenFault(TokenRule { fault, chance: Chance::next(1) });
            s.events = faults.into_iter().rev().map(|fault| At::millis(2_000, rule(fault))).collect();
            s.duration = secs(22);
        })
    };
    vec![
        with(base("slow_endpoint", "every token answer takes 2 seconds"), |s| {
            s.config = s.config.clone().with_lifetime(secs(9));
            s.config.latency.token = Delay::uniform(secs(2), Span::from_millis(2_200));
            s.duration = secs(20);
            s.forced.wait = secs(5);
        }),
        spoiled(
            "flaky_endpoint",
            "two tries of the first refresh fail before the provider acts",
            vec![TokenFault::Reset, TokenFault::Status(503, Some(1))],
        ),
        spoiled(
            "flaky_endpoint_pages",
            "two tries meet a proxy's pages",
            vec![TokenFault::NotJson, TokenFault::Status(502, None)],
        ),
        spoiled("torn_answer", "two token answers are cut", vec![TokenFault::Torn, TokenFault::Torn]),
        spoiled(
            "empty_answer",
            "a token answer is empty and one has no token",
            vec![TokenFault::Empty, TokenFault::MissingToken],
        ),
    ]
}

fn rotation() -> Vec<Scenario> {
    let rotating = |s: &mut Scenario, grace: i64, in_grace| {
        s.grant = Grant::RefreshToken;
        s.config.rotation = RotationConfig { rotate: true, reuse_detection: true, grace: secs(grace), in_grace };
    };
    let lost = |s: &mut Scenario, fault: TokenFault, in_grace| {
        rotating(s, 10, in_grace);
        s.config = s.config.clone().with_lifetime(secs(6));
        s.config.tokens.revoke_old = false;
        let rule = TokenRule { fault, chance: Chance::next(1) };
        s.events = [2_000, 9_000].map(|millis| At::millis(millis, Event::TokenFault(rule.clone()))).into();
        s.forced.token_requests = 2;
    };
    vec![
        with(rfc("rotation", "each refresh token works once, a second use ends the family"), |s| {
            rotating(s, 0, InGrace::SamePair);
        }),
        with(rfc("rotation_revokes_old", "as above, and a refresh ends the old access token"), |s| {
            rotating(s, 0, InGrace::SamePair);
            s.config.tokens.revoke_old = true;
        }),
        with(rfc("lost_refresh_answer", "a refresh answer is lost; the grace gives the same pair"), |s| {
            lost(s, TokenFault::Lost, InGrace::SamePair);
        }),
        with(rfc("lost_refresh_answer_new_pair", "a refresh answer is lost; the grace gives a new pair"), |s| {
            lost(s, TokenFault::Lost, InGrace::NewPair);
        }),
        with(rfc("torn_refresh_answer", "a refresh answer is cut; the grace gives the same pair"), |s| {
            lost(s, TokenFault::Torn, InGrace::SamePair);
        }),
    ]
}

fn loads() -> Vec<Scenario> {
    let bursts_at =
        |millis: &[i64]| millis.iter().map(|&ms| Burst { after: Span::from_millis(ms), calls: 150 }).collect();
    vec![
        with(base("burst_at_expiry", "150 calls at once around each token's end"), |s| {
            s.load = Load { bursts: bursts_at(&[2_660, 3_990, 4_000, 4_010, 8_000, 12_000]), ..Load::steady(1_200) };
        }),
        with(base("burst_at_early_revocation", "150 calls at once just after a revocation"), |s| {
            s.load = Load { bursts: bursts_at(&[2_005, 9_005]), cold: false, ..Load::steady(1_200) };
            s.events = vec![At::millis(2_000, Event::RevokeAll), At::millis(9_000, Event::RevokeAll)];
            s.forced.token_requests = 2;
            s.forced.wait = UNPROVEN_WAIT;
        }),
        with(base("cold_start", "150 calls at once before the first token, which takes 300 ms"), |s| {
            s.config.latency.token = Delay::fixed(Span::from_millis(300));
            s.load = Load { bursts: bursts_at(&[0]), cold: true, ..Load::steady(3_000) };
        }),
        with(
            base("all_at_once", "a fast clock, late nodes that disagree, a revocation, a step, and a flaky endpoint"),
            |s| {
                propagate(s, 1_000, 12);
                s.config.clock.offset = secs(7);
                s.config.nodes[1].clock_offset = Span::from_millis(500);
                s.config.nodes[2].clock_offset = Span::from_millis(-500);
                s.events = vec![At::millis(4_000, Event::RevokeAll), At::millis(9_000, Event::StepServer(secs(8)))];
                for fault in [TokenFault::Torn, TokenFault::Status(503, None)] {
                    s.events.push(At::millis(12_000, Event::TokenFault(TokenRule { fault, chance: Chance::next(1) })));
                }
                s.duration = secs(26);
                s.forced.token_requests = 4;
            },
        ),
        with(base("cold_start_propagation", "as above, and nodes learn of the first token up to 2 s late"), |s| {
            propagate(s, 2_000, 9);
            s.load = Load { bursts: bursts_at(&[0]), cold: true, ..Load::steady(3_000) };
        }),
    ]
}

fn with(mut scenario: Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    change(&mut scenario);
    scenario
}

fn jwt(scenario: &mut Scenario) {
    scenario.config.tokens.format = TokenFormat::Jwt;
}

/// A step in the middle of a token's life, of which a forward one forces one more token.
fn step(scenario: &mut Scenario, by: i64) {
    scenario.events = vec![At::millis(5_300, Event::StepServer(secs(by)))];
    scenario.forced.token_requests = 1;
    scenario.forced.wait = UNPROVEN_WAIT;
}

fn propagate(scenario: &mut Scenario, up_to_ms: i64, lifetime: i64) {
    let up_to = Span::from_millis(up_to_ms);
    scenario.config =
        scenario.config.clone().with_lifetime(secs(lifetime)).with_propagation(Delay::uniform(Span::ZERO, up_to));
    scenario.forced.wait = up_to + secs(2);
}

/// A token that ends before it was ever used looks like one that nodes do not know yet. A client that does not mint to
/// cure propagation then waits until this token of four seconds is due.
const UNPROVEN_WAIT: Span = Span::from_secs(5);
/// The longest wait before the next token request while no token lives. It is the core's
/// [`backoff`](evergrant_core::policy::Policy::backoff) without luck, which a test holds it against.
pub(super) const LONGEST_BACK_OFF: Span = Span::from_secs(16);
/// How long one try of a token request may take.
const TOKEN_TIMEOUT: Span = Span::from_secs(10);

const fn secs(secs: i64) -> Span {
    Span::from_secs(secs)
}
