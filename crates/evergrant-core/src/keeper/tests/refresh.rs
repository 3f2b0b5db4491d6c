//! One refresh step by step, with a store made by hand.

use super::*;
use crate::keeper::{Committed, Doubt, Ending, Next, Refresh, SharedFailure, Stored, StoredToken};
use crate::wire::{ExpiresInNote, TokenAnswer};

const HOUR: Span = Span::from_secs(3600);

/// A refresh that has just got its lease, of a grant that rotates.
struct Rotation {
    stage: Stage,
    refresh: Refresh,
    next: Next,
}

impl Rotation {
    fn with(stored: Stored) -> Self {
        Self::on(Stage::new(HOUR), stored)
    }

    fn on(mut stage: Stage, stored: Stored) -> Self {
        let flight = stage.flights.pop().expect("a token request is due");
        let mut refresh = Refresh::new(flight, true, &stage.keeper);
        let now = stage.now();
        let next = refresh.handle_lease(stored, &mut stage.keeper, now);
        Self { stage, refresh, next }
    }

    fn step(&mut self, expected: &Next, go: impl FnOnce(&mut Refresh, &mut Keeper, Now) -> Next) -> &mut Self {
        assert_eq!(self.next, *expected);
        let now = self.stage.now();
        self.next = go(&mut self.refresh, &mut self.stage.keeper, now);
        self
    }

    /// The intent is durable, so the refresh token is in doubt until the end of the request is known.
    fn intend(&mut self) -> &mut Self {
        self.step(&Next::Intend, |refresh, keeper, now| refresh.handle_intent(Ok(Some(doubt(0))), keeper, now))
    }

    fn fail(&mut self, kind: TokenFailureKind) -> &mut Self {
        self.step(&Next::Send, |refresh, keeper, now| refresh.handle_failure(TokenFailure::of(kind), keeper, now))
    }

    fn succeed(&mut self, mut answer: TokenAnswer) -> &mut Self {
        let issued = Issued { sent: self.stage.at, received: self.stage.at };
        self.step(&Next::Send, |refresh, keeper, _| refresh.handle_answer(&mut answer, issued, keeper))
    }

    fn find(&mut self, found: Option<Stored>) -> &mut Self {
        self.step(&Next::LookAgain, |refresh, keeper, now| refresh.handle_looked_again(found, keeper, now))
    }

    fn commit(&mut self, generation: u64, committed: Committed) -> &mut Self {
        let next = Next::Commit(Generation(generation));
        self.step(&next, |refresh, keeper, now| refresh.handle_commit(committed, keeper, now))
    }

    fn failure(&self) -> &TokenFailure {
        let Next::End(Ending::Failed(failure)) = &self.next else { panic!("{:?}", self.next) };
        failure
    }
}

fn grant(generation: u64, name: &str) -> Stored {
    Stored { generation: Generation(generation), grant: Some(name.to_owned()), ..Stored::default() }
}

fn doubt(secs_ago: i64) -> Doubt {
    let words = "process 5 on host was about to spend this refresh token at noon".to_owned();
    Doubt { age: Some(Span::from_secs(secs_ago)), words }
}

fn in_doubt(secs_ago: i64) -> Stored {
    Stored { doubt: Some(doubt(secs_ago)), ..grant(3, "one") }
}

fn minted(generation: u64, sent: Boot) -> StoredToken {
    StoredToken::Known(Minted {
        generation: Generation(generation),
        access_token: Secret::new(format!("stored-{generation}")),
        issued: Issued { sent, received: sent },
        lifetime: Some(HOUR),
        is_renewable: true,
    })
}

fn answer() -> TokenAnswer {
    TokenAnswer {
        access_token: "fresh".into(),
        token_type: None,
        expires_in: Some(HOUR),
        expires_in_note: None,
        refresh_token: Some("two".into()),
        scope: None,
    }
}

#[test]
fn the_intent_comes_first_and_the_token_is_served_after_its_commit() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().succeed(answer());
    assert_eq!(rotation.stage.keeper.newest_generation(), Generation(0), "not before it is stored");
    rotation.commit(4, Committed::Ours);
    assert_eq!(rotation.next, Next::End(Ending::Minted(Generation(4))));
    assert_eq!(rotation.stage.send(Replay::Free).unwrap().generation, Generation(4));
}

#[test]
fn a_lost_answer_is_asked_for_once_more_under_the_same_lease() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::Lost).intend().fail(TokenFailureKind::Lost);
    assert_eq!(rotation.failure().kind, TokenFailureKind::Lost, "and no third time; the intent stays");
}

#[test]
fn a_refusal_after_a_lost_answer_is_a_lost_rotation_and_says_whose() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::TimedOut).intend().fail(TokenFailureKind::InvalidGrant);
    rotation.find(Some(grant(3, "one")));
    assert_eq!(rotation.failure().kind, TokenFailureKind::RotationLost);
    assert!(rotation.failure().to_string().contains("process 5 on host"), "{}", rotation.failure());
}

#[test]
fn a_refusal_of_a_token_that_nobody_had_sent_takes_the_intent_back() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::InvalidGrant).find(None);
    rotation.step(&Next::Withdraw, |refresh, keeper, now| refresh.handle_withdrawn(keeper, now));
    assert_eq!(rotation.failure().kind, TokenFailureKind::InvalidGrant);
    assert!(rotation.stage.keeper.is_waiting_for_a_person());
}

#[test]
fn a_failure_that_may_have_spent_the_token_leaves_the_intent() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::ServerError);
    assert_eq!(rotation.failure().kind, TokenFailureKind::ServerError);
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::Unreachable);
    assert_eq!(rotation.next, Next::Withdraw);
}

#[test]
fn a_refused_token_that_somebody_has_replaced_is_tried_with_the_new_one_once() {
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::InvalidGrant).find(Some(grant(3, "login")));
    rotation.intend().fail(TokenFailureKind::InvalidGrant);
    assert_eq!(rotation.next, Next::Withdraw, "it is not looked for a second time");

    let mut rotation = Rotation::with(grant(3, "one"));
    let newer = Stored { token: Some(minted(4, rotation.stage.at)), ..grant(4, "two") };
    rotation.intend().fail(TokenFailureKind::InvalidGrant).find(Some(newer));
    assert_eq!(rotation.next, Next::End(Ending::Adopted(Generation(4))));
}

#[test]
fn what_another_process_minted_meanwhile_is_adopted_while_it_is_young() {
    let at = Stage::new(HOUR).at;
    let of = |ago: i64| Stored { token: Some(minted(4, at - Span::from_secs(ago))), ..grant(4, "two") };
    assert_eq!(Rotation::with(of(1_799)).next, Next::End(Ending::Adopted(Generation(4))));
    assert_eq!(Rotation::with(of(1_800)).next, Next::Intend, "half of its life is over");
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().succeed(answer());
    let theirs = Stored { token: Some(minted(4, rotation.stage.at)), ..grant(4, "other") };
    rotation.commit(4, Committed::Theirs(theirs));
    assert_eq!(rotation.next, Next::End(Ending::Adopted(Generation(4))));
}

#[test]
fn a_doubtful_token_is_sent_within_the_grace_or_when_nothing_is_left_to_serve() {
    assert_eq!(Rotation::with(in_doubt(30)).next, Next::Intend);
    assert_eq!(Rotation::with(in_doubt(31)).next, Next::Intend, "there is no token to serve");
    let due = || {
        let mut stage = Stage::with_token(Span::from_secs(100));
        stage.pass(Span::from_secs(85));
        stage
    };
    assert_eq!(Rotation::on(due(), in_doubt(30)).next, Next::Intend);
    assert_eq!(Rotation::on(due(), in_doubt(31)).next, Next::End(Ending::InDoubt));
    let of_unknown_age = Stored { doubt: Some(Doubt { age: None, ..doubt(0) }), ..grant(3, "one") };
    assert_eq!(Rotation::on(due(), of_unknown_age).next, Next::End(Ending::InDoubt));
}

#[test]
fn an_old_answer_once_more_brings_a_token_that_may_have_ended() {
    let without_end =
        || TokenAnswer { expires_in: None, expires_in_note: Some(ExpiresInNote::NotPositive), ..answer() };
    for (stored, serves) in [(in_doubt(20), false), (grant(3, "one"), true)] {
        let mut rotation = Rotation::with(stored);
        rotation.intend().succeed(without_end()).commit(4, Committed::Ours);
        assert_eq!(rotation.stage.send(Replay::Free).is_some(), serves);
    }
}

#[test]
fn without_a_refresh_token_a_login_is_needed() {
    let mut rotation = Rotation::with(Stored { generation: Generation(3), ..Stored::default() });
    assert_eq!(rotation.next, Next::End(Ending::NotRenewable));
    rotation.stage.collect();
    assert!(rotation.stage.keeper.is_waiting_for_a_person() && rotation.stage.flights.is_empty());
}

#[test]
fn a_client_that_needs_no_refresh_token_is_never_in_doubt() {
    let mut stage = Stage::new(HOUR);
    let flight = stage.flights.pop().unwrap();
    let (mut refresh, now) = (Refresh::new(flight, false, &stage.keeper), stage.now());
    let next = refresh.handle_lease(in_doubt(3_600), &mut stage.keeper, now);
    assert_eq!((next, refresh.doubt()), (Next::Intend, None));
    assert_eq!(refresh.handle_intent(Ok(None), &mut stage.keeper, now), Next::Send);
    let failure = TokenFailure::of(TokenFailureKind::InvalidGrant);
    let next = refresh.handle_failure(failure, &mut stage.keeper, now);
    assert!(matches!(next, Next::End(Ending::Failed(_))), "nothing to look for and nothing to withdraw: {next:?}");
}

fn out_of_order(kind: TokenFailureKind, not_before: Boot) -> Option<Box<SharedFailure>> {
    Some(Box::new(SharedFailure { failure: TokenFailure::of(kind), streak: 4, not_before }))
}

#[test]
fn a_failure_of_the_token_endpoint_is_shared_and_keeps_everybody_from_asking() {
    let mut rotation = Rotation::with(grant(3, "one"));
    let at = rotation.stage.at;
    let unavailable = TokenFailure::of(TokenFailureKind::ServerError).with_status(503);
    rotation.intend().step(&Next::Send, |refresh, keeper, now| refresh.handle_failure(unavailable, keeper, now));
    rotation.step(&Next::Withdraw, |refresh, keeper, now| refresh.handle_withdrawn(keeper, now));
    let Next::Share(shared) = rotation.next.clone() else { panic!("{:?}", rotation.next) };
    assert!(shared.not_before >= at + Span::from_secs(1), "{shared:?}");
    let now = rotation.stage.now();
    rotation.next = rotation.refresh.handle_shared(&mut rotation.stage.keeper, now);
    assert_eq!(rotation.failure().status, Some(503));

    let mut other = Rotation::with(Stored { failure: Some(Box::new(shared.clone())), ..grant(3, "one") });
    assert_eq!(other.next, Next::End(Ending::Postponed(shared.failure.clone())));
    let asks_after = |stage: &mut Stage| {
        let since = stage.at;
        while stage.flights.is_empty() {
            stage.pass(Span::from_millis(1));
        }
        stage.at - since
    };
    let wait = shared.not_before - at;
    let (first, second) = (asks_after(&mut other.stage), asks_after(&mut rotation.stage));
    assert!(first >= wait && first <= wait + Span::from_millis(1), "{first} of {wait}");
    assert!(second >= wait.scaled(9, 8) && second <= wait.scaled(5, 4) + Span::from_millis(1), "{second} of {wait}");

    // With the same record under its lease it goes on.
    let same = Stored { failure: Some(Box::new(shared)), ..grant(3, "one") };
    assert_eq!(Rotation::on(other.stage, same).next, Next::Intend);
}

#[test]
fn nobody_asks_before_the_server_allows_it() {
    let at = Stage::new(HOUR).at;
    let wait = Span::from_secs(20);
    let limited = Stored { failure: out_of_order(TokenFailureKind::RateLimited, at + wait), ..grant(3, "one") };
    let mut rotation = Rotation::with(limited);
    assert!(matches!(rotation.next, Next::End(Ending::Postponed(_))));
    assert_eq!(rotation.stage.keeper.report(rotation.stage.now()).counters.token_requests, 0, "none was sent");
    rotation.stage.pass(wait - Span::from_millis(1));
    assert!(rotation.stage.flights.is_empty());
    rotation.stage.pass(Span::from_millis(1));
    assert_eq!(rotation.stage.flights.len(), 1);
}

#[test]
fn a_failure_that_is_over_or_leaves_a_refresh_token_in_doubt_keeps_nobody_from_asking() {
    let at = Stage::new(HOUR).at;
    let failure = out_of_order(TokenFailureKind::ServerError, at);
    assert_eq!(Rotation::with(Stored { failure, ..grant(3, "one") }).next, Next::Intend, "its time has come");
    let failure = out_of_order(TokenFailureKind::ServerError, at + Span::from_secs(9));
    assert_eq!(Rotation::with(Stored { failure, ..in_doubt(1) }).next, Next::Intend, "within the grace");
    let mut rotation = Rotation::with(grant(3, "one"));
    rotation.intend().fail(TokenFailureKind::ServerError);
    assert!(matches!(rotation.next, Next::End(Ending::Failed(_))), "500 may come after the deed: {:?}", rotation.next);
}
