use super::*;
use crate::config::{Delay, NodeConfig, ProviderConfig};
use crate::faults::Event;
use crate::stage::Stage;

fn config(lifetime_secs: i64) -> ProviderConfig {
    ProviderConfig::rfc().with_lifetime(Span::from_secs(lifetime_secs))
}

fn refused_as(stage: &Stage, why: Refusal) -> u64 {
    stage.provider.ledger().refused_as(why)
}

#[test]
fn a_token_works_to_its_last_instant_and_not_at_the_next() {
    let mut stage = Stage::new(config(4));
    let token = stage.mint();
    stage.pass_ms(3_999);
    assert_eq!(stage.call(&token), 200);
    stage.now = stage.now + Span::from_millis(1) - Span::from_nanos(1);
    assert_eq!(stage.call(&token), 200);
    stage.now = stage.now + Span::from_nanos(1);
    assert_eq!(stage.call(&token), 401);
    assert_eq!(refused_as(&stage, Refusal::Expired), 1);
}

#[test]
fn drift_of_the_provider_moves_the_end() {
    for (drift_ppm, alive_ms, dead_ms) in [(10_000, 99_000, 99_020), (-10_000, 101_000, 101_020), (0, 99_999, 100_000)]
    {
        let mut config = config(100);
        config.clock.drift_ppm = drift_ppm;
        let mut stage = Stage::new(config);
        let token = stage.mint();
        stage.pass_ms(alive_ms);
        assert_eq!(stage.call(&token), 200, "{drift_ppm}");
        stage.pass_ms(dead_ms - alive_ms);
        assert_eq!(stage.call(&token), 401, "{drift_ppm}");
    }
}

#[test]
fn a_constant_offset_changes_nothing() {
    for offset in [-300, -7, 7, 300] {
        let mut stage = Stage::new(config(4).with_offset(Span::from_secs(offset)));
        let token = stage.mint();
        stage.pass_ms(3_999);
        assert_eq!(stage.call(&token), 200);
        stage.pass_ms(1);
        assert_eq!(stage.call(&token), 401);
    }
}

#[test]
fn a_step_forward_kills_early_and_a_step_back_revives() {
    let mut stage = Stage::new(config(10));
    let token = stage.mint();
    stage.pass_ms(2_000);
    stage.apply(Event::StepServer(Span::from_secs(7)));
    assert_eq!(stage.call(&token), 200, "9 s old by the provider's clock");
    stage.apply(Event::StepServer(Span::from_secs(1)));
    assert_eq!(stage.call(&token), 401);
    stage.apply(Event::StepServer(Span::from_secs(-8)));
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(7_999);
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(1);
    assert_eq!(stage.call(&token), 401);
}

#[test]
fn each_node_judges_by_its_own_clock() {
    let mut config = config(4);
    config.nodes = [0, 1_000, -1_000]
        .map(|millis| NodeConfig { clock_offset: Span::from_millis(millis), propagation: Delay::NONE })
        .into();
    let mut stage = Stage::new(config);
    let token = stage.mint();
    let mut statuses = |pass| {
        stage.pass_ms(pass);
        [0, 1, 2].map(|node| stage.call_at(&token, node))
    };
    assert_eq!(statuses(2_999), [200, 200, 200]);
    assert_eq!(statuses(1), [200, 401, 200]);
    assert_eq!(statuses(1_000), [401, 401, 200]);
    assert_eq!(statuses(1_000), [401, 401, 401]);
}

#[test]
fn a_node_refuses_a_token_it_has_not_learnt_of() {
    let mut config = config(60);
    config.nodes = [0, 500, 10_000]
        .map(|millis| NodeConfig { clock_offset: Span::ZERO, propagation: Delay::fixed(Span::from_millis(millis)) })
        .into();
    let mut stage = Stage::new(config);
    let token = stage.mint();
    assert_eq!([0, 1, 2].map(|node| stage.call_at(&token, node)), [200, 401, 401]);
    stage.pass_ms(499);
    assert_eq!(stage.call_at(&token, 1), 401);
    stage.pass_ms(1);
    assert_eq!([0, 1, 2].map(|node| stage.call_at(&token, node)), [200, 200, 401]);
    stage.pass_ms(9_500);
    assert_eq!(stage.call_at(&token, 2), 200);
    assert_eq!(refused_as(&stage, Refusal::Propagating), 4);
}

#[test]
fn a_uniform_propagation_stays_in_its_range() {
    let (min, max) = (Span::from_millis(100), Span::from_millis(200));
    let mut stage = Stage::new(config(60).with_propagation(Delay::uniform(min, max)));
    for _ in 0..200 {
        let token = stage.mint();
        stage.pass_ms(99);
        assert_eq!(stage.call(&token), 401);
        stage.pass_ms(101);
        assert_eq!(stage.call(&token), 200);
    }
}

#[test]
fn a_new_token_ends_the_old_at_once_on_all_nodes_if_so_configured() {
    for revoke_old in [false, true] {
        let mut config = config(60).with_nodes(2).with_propagation(Delay::fixed(Span::from_secs(1)));
        config.tokens.revoke_old = revoke_old;
        let mut stage = Stage::new(config);
        let old = stage.mint();
        stage.pass_ms(1_000);
        let new = stage.mint();
        let expected = if revoke_old { 401 } else { 200 };
        assert_eq!([0, 1].map(|node| stage.call_at(&old, node)), [expected; 2]);
        assert_eq!(stage.call(&new), 401, "not known yet: for a second no token works");
        assert_eq!(refused_as(&stage, Refusal::RevokedByRefresh), if revoke_old { 2 } else { 0 });
    }
}

#[test]
fn commands_revoke_all_or_the_oldest() {
    let mut stage = Stage::new(config(60));
    let tokens = [(); 3].map(|()| stage.mint());
    stage.apply(Event::RevokeOldest);
    assert_eq!(tokens.clone().map(|token| stage.call(&token)), [401, 200, 200]);
    stage.apply(Event::RevokeAll);
    assert_eq!(tokens.map(|token| stage.call(&token)), [401, 401, 401]);
    assert_eq!(refused_as(&stage, Refusal::Revoked), 4);
    let next = stage.mint();
    assert_eq!(stage.call(&next), 200);
}

#[test]
fn the_oldest_to_be_revoked_is_one_that_still_lives() {
    let mut stage = Stage::new(config(10));
    stage.mint();
    stage.pass_ms(10_000);
    let token = stage.mint();
    stage.apply(Event::RevokeOldest);
    assert_eq!(stage.call(&token), 401);
}

#[test]
fn a_scheduled_part_of_life_revokes() {
    let mut config = config(10);
    config.tokens.revoke_at_permille = Some(300);
    let mut stage = Stage::new(config);
    let token = stage.mint();
    stage.pass_ms(2_999);
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(1);
    assert_eq!(stage.call(&token), 401);
    assert_eq!(refused_as(&stage, Refusal::Revoked), 1);
}

#[test]
fn a_token_dies_of_use() {
    let mut config = config(10);
    config.tokens.max_uses = Some(2);
    let mut stage = Stage::new(config);
    let token = stage.mint();
    assert_eq!([(); 3].map(|()| stage.call(&token)), [200, 200, 401]);
    assert_eq!(refused_as(&stage, Refusal::Revoked), 1);
}

#[test]
fn one_token_over_the_cap_evicts_the_oldest_live_one() {
    let mut config = config(10);
    config.tokens.cap = Some(2);
    let mut stage = Stage::new(config);
    let tokens = [(); 3].map(|()| {
        stage.pass_ms(1_000);
        stage.mint()
    });
    assert_eq!(tokens.clone().map(|token| stage.call(&token)), [401, 200, 200]);
    assert_eq!(refused_as(&stage, Refusal::Evicted), 1);
    // The second has expired by now and does not count.
    stage.pass_ms(9_000);
    let next = stage.mint();
    assert_eq!(stage.call(&tokens[2]), 200);
    assert_eq!(stage.call(&next), 200);
}

#[test]
fn mints_of_others_evict_too() {
    let mut config = config(60);
    config.tokens.cap = Some(2);
    let mut stage = Stage::new(config);
    let token = stage.mint();
    stage.apply(Event::OutsideMints(1));
    assert_eq!(stage.call(&token), 200);
    stage.apply(Event::OutsideMints(1));
    assert_eq!(stage.call(&token), 401);
    let ledger = stage.provider.ledger();
    assert_eq!((ledger.token.requests, ledger.token.outside_mints), (1, 2));
}

#[test]
fn use_keeps_a_token_from_idling_to_death() {
    let mut config = config(60);
    config.tokens.idle_timeout = Some(Span::from_secs(2));
    let mut stage = Stage::new(config);
    let token = stage.mint();
    for _ in 0..5 {
        stage.pass_ms(1_999);
        assert_eq!(stage.call(&token), 200);
    }
    stage.pass_ms(2_000);
    assert_eq!(stage.call(&token), 401);
    assert_eq!(stage.call(&token), 401, "an idle token stays dead");
    assert_eq!(refused_as(&stage, Refusal::Idle), 2);
}

#[test]
fn a_jwt_is_judged_by_its_whole_seconds() {
    let mut config = config(10);
    config.tokens.format = TokenFormat::Jwt;
    config.tokens.not_before = Span::from_secs(2);
    let mut stage = Stage::new(config);
    stage.pass_ms(600);
    let token = stage.mint();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!([&claims["iat"], &claims["nbf"], &claims["exp"]], [1_792_567_591, 1_792_567_593, 1_792_567_601]);
    assert_eq!(stage.call(&token), 401);
    assert_eq!(refused_as(&stage, Refusal::NotYetValid), 1);
    stage.pass_ms(1_400);
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(7_999);
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(1);
    assert_eq!(stage.call(&token), 401, "10 s after the second in which it was issued, not 10 s after its issue");
    stage.apply(Event::StepServer(Span::from_secs(-30)));
    assert_eq!(stage.call(&token), 401);
    assert_eq!(refused_as(&stage, Refusal::NotYetValid), 2);
}

#[test]
fn old_dead_tokens_are_forgotten_and_live_ones_are_not() {
    let mut stage = Stage::new(config(60));
    let kept = stage.mint();
    for _ in 0..REMEMBERED_TOKENS + 10 {
        let generation = stage.provider.mint(0, None, stage.now);
        stage.provider.tokens.end(generation, Refusal::Revoked, stage.now);
    }
    assert_eq!(stage.provider.tokens.tokens.len(), REMEMBERED_TOKENS);
    assert_eq!(stage.provider.tokens.by_text.len(), REMEMBERED_TOKENS);
    assert_eq!(stage.call(&kept), 200);
}
