//! The provider against a model short enough to believe: which tokens may work, and what was executed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config::{Delay, ExpiresIn, LimitAnswer, MintLimit};
use crate::faults::{ApiFault, ApiRule, Chance, TokenFault, TokenRule};
use crate::stage::{Stage, json};

/// One move of the world.
#[derive(Clone, Debug)]
enum Move {
    Pass(i64),
    Mint,
    Call { token: usize, write: bool },
    CallUnknown,
    RevokeAll,
    RevokeOldest,
    Step(i64),
    TokenFault(TokenFault),
    ApiFault(ApiFault),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let token_fault = prop_oneof![Just(TokenFault::Reset), Just(TokenFault::Lost), Just(TokenFault::Torn)];
    let api_fault = prop_oneof![
        Just(ApiFault::Reset),
        Just(ApiFault::Lost),
        Just(ApiFault::Status(503)),
        Just(ApiFault::MissingPermission),
        Just(ApiFault::AlwaysUnauthorized),
    ];
    let one = prop_oneof![
        3 => (0_i64..3_000).prop_map(Move::Pass),
        3 => Just(Move::Mint),
        8 => (0_usize..6, any::<bool>()).prop_map(|(token, write)| Move::Call { token, write }),
        1 => Just(Move::CallUnknown),
        1 => Just(Move::RevokeAll),
        1 => Just(Move::RevokeOldest),
        1 => (-20_i64..20).prop_map(Move::Step),
        1 => token_fault.prop_map(Move::TokenFault),
        1 => api_fault.prop_map(Move::ApiFault),
    ];
    prop::collection::vec(one, 1..120)
}

fn configs() -> impl Strategy<Value = ProviderConfig> {
    (any::<u64>(), 1_i64..12, 1_usize..4, 0_i64..2_000, any::<bool>(), prop::option::of(1_usize..3), -300_i64..300)
        .prop_map(|(seed, lifetime, nodes, propagation, revoke_old, cap, offset)| {
            let delay = Delay::uniform(Span::ZERO, Span::from_millis(propagation));
            let mut config = ProviderConfig::rfc()
                .with_seed(seed)
                .with_lifetime(Span::from_secs(lifetime))
                .with_nodes(nodes)
                .with_propagation(delay)
                .with_offset(Span::from_secs(offset));
            config.tokens.revoke_old = revoke_old;
            config.tokens.cap = cap;
            config
        })
}

/// What a believer of the documentation knows about the tokens it was given.
#[derive(Default)]
struct Model {
    given: Vec<(String, Server)>,
    dead: BTreeSet<usize>,
    executed: BTreeMap<String, u64>,
}

struct World {
    stage: Stage,
    model: Model,
    lifetime: Span,
    revoke_old: bool,
    sent: u64,
}

impl World {
    fn play(&mut self, next: Move) -> Result<(), TestCaseError> {
        match next {
            Move::Pass(millis) => self.stage.pass_ms(millis),
            Move::Mint => self.mint(),
            Move::Call { token, write } => self.call(token, write)?,
            Move::CallUnknown => {
                let reply = self.stage.send(&Request::get("/api/x").bearer("made-up"));
                prop_assert!(!is_success(&reply));
            }
            Move::RevokeAll => {
                self.stage.apply(Event::RevokeAll);
                self.model.dead.extend(0..self.model.given.len());
            }
            Move::RevokeOldest => self.stage.apply(Event::RevokeOldest),
            Move::Step(secs) => self.stage.apply(Event::StepServer(Span::from_secs(secs))),
            Move::TokenFault(fault) => {
                self.stage.apply(Event::TokenFault(TokenRule { fault, chance: Chance::next(1) }));
            }
            Move::ApiFault(fault) => {
                self.stage.apply(Event::ApiFault(ApiRule { fault, route: None, chance: Chance::next(1) }));
            }
        }
        Ok(())
    }

    fn mint(&mut self) {
        let request = Request::token(&[("grant_type", "client_credentials")])
            .basic(crate::config::CLIENT_ID, crate::config::CLIENT_SECRET);
        let reply = self.stage.send(&request);
        let acted = !matches!(reply.answer, Answer::Reset { acted: false });
        if acted && self.revoke_old {
            self.model.dead.extend(0..self.model.given.len());
        }
        if let Answer::Response(response) = &reply.answer {
            let token = crate::stage::text(&json(response), "access_token");
            let stamp = self.stage.provider.issuer_clock(self.stage.now);
            self.model.given.push((token, stamp));
        }
    }

    fn call(&mut self, token: usize, write: bool) -> Result<(), TestCaseError> {
        let Some((text, stamp)) = self.model.given.get(token).cloned() else {
            return Ok(());
        };
        self.sent += 1;
        let id = format!("effect-{}", self.sent);
        let request = if write { Request::post("/api/x", &id, "body") } else { Request::get("/api/x") };
        let reply = self.stage.send(&request.bearer(&text));
        let expired = self.stage.provider.issuer_clock(self.stage.now) >= stamp + self.lifetime;
        if expired || self.model.dead.contains(&token) {
            prop_assert!(!is_success(&reply), "a dead token was accepted");
        }
        let executed = is_success(&reply) || matches!(reply.answer, Answer::Reset { acted: true });
        if write && executed {
            *self.model.executed.entry(id).or_default() += 1;
        }
        Ok(())
    }
}

fn is_success(reply: &Reply) -> bool {
    matches!(&reply.answer, Answer::Response(response) if response.status().is_success())
}

proptest! {
    #[test]
    fn no_dead_token_is_accepted_and_each_accepted_write_is_executed_once(config in configs(), moves in moves()) {
        let (lifetime, revoke_old) = (config.tokens.lifetime, config.tokens.revoke_old);
        let mut world =
            World { stage: Stage::new(config), model: Model::default(), lifetime, revoke_old, sent: 0 };
        for next in moves {
            world.play(next)?;
        }
        let ledger = world.stage.provider.ledger();
        let executed: BTreeMap<String, u64> =
            ledger.effects.iter().map(|(id, effect)| (id.clone(), effect.executions)).collect();
        prop_assert_eq!(executed, world.model.executed);
        prop_assert_eq!(ledger.duplicated_effects(), 0);
        let outcomes: u64 = ledger.token.outcomes.values().sum();
        prop_assert_eq!(outcomes, ledger.token.requests);
        prop_assert!(ledger.token.succeeded <= ledger.token.requests);
    }

    #[test]
    fn the_same_seed_and_moves_give_the_same_ledger(config in configs(), moves in moves()) {
        let run = |config: ProviderConfig| {
            let (lifetime, revoke_old) = (config.tokens.lifetime, config.tokens.revoke_old);
            let mut world =
                World { stage: Stage::new(config), model: Model::default(), lifetime, revoke_old, sent: 0 };
            for next in moves.clone() {
                world.play(next)?;
            }
            Ok::<_, TestCaseError>(world.stage.provider.ledger().to_json())
        };
        prop_assert_eq!(run(config.clone())?, run(config)?);
    }

    #[test]
    fn a_token_known_everywhere_works_for_its_whole_announced_life(
        lifetime in 1_i64..100_000, offset in -100_000_i64..100_000, part in 0_i64..1_000,
    ) {
        let mut stage = Stage::new(ProviderConfig::rfc().with_lifetime(Span::from_secs(lifetime)).with_offset(Span::from_secs(offset)));
        let token = stage.mint();
        stage.now = stage.now + Span::from_secs(lifetime).scaled(part, 1_000);
        prop_assert_eq!(stage.call(&token), 200);
    }
}

#[test]
fn events_are_applied_in_their_order_and_at_their_times() {
    let mut stage = Stage::new(ProviderConfig::rfc().with_lifetime(Span::from_secs(60)));
    let start = stage.now;
    let events = [
        At::millis(2_000, Event::RevokeAll),
        At::millis(1_000, Event::StepServer(Span::from_secs(5))),
        At::millis(3_000, Event::SetLifetime(Span::from_secs(1))),
    ];
    stage.provider.schedule(events, start);
    let old = stage.mint();
    let before = stage.provider.issuer_clock(start);
    assert_eq!(stage.provider.next_event(), Some(start + Span::from_secs(1)));
    stage.pass_ms(1_999);
    assert_eq!(stage.call(&old), 200);
    assert_eq!(stage.provider.issuer_clock(stage.now) - before, Span::from_millis(6_999));
    stage.pass_ms(1);
    assert_eq!(stage.call(&old), 401);
    stage.pass_ms(1_000);
    let new = stage.mint();
    stage.pass_ms(1_000);
    assert_eq!(stage.call(&new), 401);
    assert_eq!(stage.provider.next_event(), None);
}

#[test]
fn every_answer_carries_the_date_of_the_clock_that_gave_it() {
    let mut config = ProviderConfig::rfc().with_nodes(2).with_offset(Span::from_secs(100));
    config.nodes[1].clock_offset = Span::from_secs(-10);
    let mut stage = Stage::new(config);
    let date = |response: &Response<Payload>| response.headers()[DATE].to_str().unwrap().to_owned();
    let get = |node| Request::get("/api/x").header(crate::api::NODE_HEADER, node);
    assert_eq!(date(&stage.answer(&get("0"))), "Wed, 21 Oct 2026 07:28:11 GMT");
    assert_eq!(date(&stage.answer(&get("1"))), "Wed, 21 Oct 2026 07:28:01 GMT");
    assert_eq!(date(&stage.answer(&Request::token(&[]))), "Wed, 21 Oct 2026 07:28:11 GMT");
    assert_eq!(date(&stage.answer(&Request::get("/"))), "Wed, 21 Oct 2026 07:28:11 GMT");
    stage.apply(Event::StepServer(Span::from_secs(-60)));
    assert_eq!(date(&stage.answer(&get("0"))), "Wed, 21 Oct 2026 07:27:11 GMT");
}

#[test]
fn each_event_changes_what_it_names() {
    let config = || ProviderConfig::rfc().with_lifetime(Span::from_secs(60)).with_nodes(2);
    let mut stage = Stage::new(config());
    let token = stage.mint();
    stage.apply(Event::StepNode(1, Span::from_secs(60)));
    assert_eq!([0, 1].map(|node| stage.call_at(&token, node)), [200, 401]);

    let mut stage = Stage::new(config());
    let before = stage.provider.issuer_clock(stage.now);
    stage.apply(Event::SetDrift(10_000));
    stage.pass_ms(10_000);
    assert_eq!(stage.provider.issuer_clock(stage.now) - before, Span::from_millis(10_100));

    let mut stage = Stage::new(config());
    stage.apply(Event::RevokeRefreshTokens);
    assert_eq!(stage.refresh(crate::config::REFRESH_TOKEN).0, 400);

    let mut stage = Stage::new(config());
    stage.apply(Event::SetPropagation(Delay::fixed(Span::from_secs(2))));
    let token = stage.mint();
    assert_eq!(stage.call(&token), 401);
    stage.pass_ms(2_000);
    assert_eq!(stage.call(&token), 200);

    let mut stage = Stage::new(config());
    stage.apply(Event::SetRevokeOld(true));
    let old = stage.mint();
    stage.mint();
    assert_eq!(stage.call(&old), 401);

    let mut stage = Stage::new(config());
    let limit = MintLimit { count: 1, window: Span::from_secs(9), answer: LimitAnswer::BadRequest };
    stage.apply(Event::SetMintLimit(Some(limit)));
    stage.apply(Event::OutsideMints(1));
    assert_eq!(stage.ask(&[("grant_type", "client_credentials")]).0, 400, "others use up the limit as well");

    let mut stage = Stage::new(config());
    stage.apply(Event::SetExpiresIn(ExpiresIn::Says(-1)));
    stage.apply(Event::token(TokenFault::Reset));
    stage.apply(Event::ClearTokenFaults);
    assert_eq!(stage.ask(&[("grant_type", "client_credentials")]).1["expires_in"], -1);
}

#[test]
fn a_date_can_be_absent_frozen_or_from_a_cache() {
    let mut stage = Stage::new(ProviderConfig::rfc());
    let date_and_age = |stage: &mut Stage| {
        let response = stage.answer(&Request::get("/api/v2/health/check"));
        let field = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (field(DATE).unwrap_or_default(), field(AGE))
    };
    stage.pass_ms(1_000);
    stage.apply(Event::SetDate(DateHeader::Frozen));
    stage.pass_ms(60_000);
    assert_eq!(date_and_age(&mut stage), ("Wed, 21 Oct 2026 07:26:32 GMT".to_owned(), None));
    stage.apply(Event::SetDate(DateHeader::Absent));
    assert_eq!(date_and_age(&mut stage), (String::new(), None));
    stage.apply(Event::SetDate(DateHeader::Cached { age_secs: 30 }));
    assert_eq!(date_and_age(&mut stage), ("Wed, 21 Oct 2026 07:27:02 GMT".to_owned(), Some("30".to_owned())));
    stage.apply(Event::SetDate(DateHeader::Live));
    assert_eq!(date_and_age(&mut stage), ("Wed, 21 Oct 2026 07:27:32 GMT".to_owned(), None));
}

#[test]
fn an_early_refusal_counts_once_and_a_good_token_is_not_refused_early() {
    let mut stage = Stage::new(ProviderConfig { refuse_early: true, ..ProviderConfig::rfc() });
    let token = stage.mint();
    let request = Request::post("/api/x", "e", "").bearer(&token);
    assert!(stage.provider.refuse_early(&request, stage.now).is_none());
    stage.apply(Event::RevokeAll);
    let Some(Answer::Response(response)) = stage.provider.refuse_early(&request, stage.now).map(|reply| reply.answer)
    else {
        panic!("refused")
    };
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key(DATE));
    let ledger = stage.provider.ledger();
    assert_eq!((ledger.refused(), ledger.api.calls, ledger.effects.len()), (1, 1, 0));
}

#[test]
fn a_ledger_holds_no_secret() {
    let mut stage = Stage::new(ProviderConfig::rfc());
    let token = stage.mint();
    stage.refresh(crate::config::REFRESH_TOKEN);
    stage.call(&token);
    let text = format!("{} {:?}", stage.provider.ledger().to_json(), stage.provider.ledger());
    let secrets = stage.provider.secrets();
    assert_eq!(secrets.len(), 2 + 2 + 1, "two access tokens, two refresh tokens, one client secret");
    assert!(secrets.iter().all(|secret| !text.contains(secret.expose())));
}
