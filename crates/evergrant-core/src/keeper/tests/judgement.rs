//! When a refused token is given up, and when it is only too young, too early or at its end.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::keeper::ProbeOutcome;
use crate::offset::{Sample, Source};
use crate::time::Server;

const HOUR: Span = Span::from_secs(3600);
const TICK: Span = Span::from_millis(10);

impl Stage {
    /// A token that has just been refused for the first time, and nobody else uses it.
    fn with_refused_token() -> Self {
        let mut stage = Self::with_token(HOUR);
        let mut upload = stage.send(Replay::Never).unwrap();
        stage.refuse(&mut upload, true, false);
        stage
    }

    fn probes(&self) -> u64 {
        self.keeper.report(self.now()).counters.probes
    }

    /// The probe that was sent just now is answered at once.
    fn answer_probe(&mut self, outcome: ProbeOutcome) {
        let (generation, now) = (self.keeper.newest_generation(), self.now());
        self.keeper.handle_probe(generation, self.at, outcome, now);
        self.collect();
    }

    /// Time passes, and every probe is refused. When were they sent?
    fn pass_refusing_probes(&mut self, span: Span) -> Vec<i64> {
        let (from, mut sent) = (self.at, Vec::new());
        while self.at < from + span {
            let before = self.probes();
            self.pass(TICK);
            if self.probes() > before {
                sent.push((self.at - from).as_millis());
                self.answer_probe(ProbeOutcome::Refused);
            }
        }
        sent
    }

    /// The API's clock stands so many seconds ahead of the boot clock, as three answers show.
    fn show_clock(&mut self, ahead: Span) {
        for _ in 0..3 {
            self.pass(Span::from_millis(300));
            let server = Server::from_nanos((self.at + ahead).as_nanos());
            let resolution = Span::from_secs(1);
            let sample = Sample { sent: self.at, received: self.at, server, resolution, bounds_above: true };
            let now = self.now();
            self.keeper.handle_clock_sample(Source::ApiDate, sample, now);
        }
    }

    /// A JWT whose time begins so much after now by the boot clock, for the flight in the air.
    fn mint_jwt(&mut self, begins_in: Span) -> bool {
        let iat = (self.at + begins_in).as_nanos() / 1_000_000_000;
        let claims = format!(r#"{{"iat":{iat},"exp":{}}}"#, iat + self.life.as_secs());
        let text = URL_SAFE_NO_PAD.encode(claims);
        self.mint_as(format!("{}.{text}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#)))
    }

    /// The newest token is refused, and again by every try, until it is no longer young. What came of it?
    fn refuse_until_of_age(&mut self) -> Step {
        let mut attempt = self.send(Replay::Free).unwrap();
        let mut step = self.refuse(&mut attempt, true, true);
        for _ in 0..1_400 {
            self.pass(TICK);
            step = match step {
                Step::Send(_) => self.refuse(&mut attempt, true, true),
                Step::Wait(_) => self.ask_again(&mut attempt),
                Step::Pass(_) | Step::NoToken(..) => return step,
            };
        }
        step
    }
}

#[test]
fn a_young_suspect_is_probed_every_two_seconds_until_a_node_knows_it() {
    let mut stage = Stage::with_refused_token();
    stage.keeper.handle_proving_path("/things");
    let (asked, deadline) = (stage.at, stage.at + Span::from_secs(30));
    assert_eq!(stage.pass_refusing_probes(Span::from_secs(8)), [50, 100, 250, 500, 1_000, 3_000, 5_000, 7_000]);
    assert!(matches!(stage.acquire(Need::Proven, asked, deadline), Acquire::Wait(_)));
    stage.pass(Span::from_secs(1));
    stage.answer_probe(ProbeOutcome::Accepted);
    assert!(matches!(stage.acquire(Need::Proven, asked, deadline), Acquire::Ready(_)));
    assert!(stage.flights.is_empty());
}

#[test]
fn a_token_that_nobody_asked_about_since_it_came_of_age_is_asked_about_before_it_is_given_up() {
    for (slept, answer, flights) in [
        (Span::from_secs(14), ProbeOutcome::Accepted, 0),
        (Span::from_secs(14), ProbeOutcome::Refused, 1),
        (Span::from_secs(1_000), ProbeOutcome::Accepted, 0),
    ] {
        let mut stage = Stage::with_refused_token();
        stage.keeper.handle_proving_path("/things");
        stage.pass(slept);
        assert_eq!((stage.probes(), stage.flights.len()), (1, 0), "after {slept}");
        stage.answer_probe(answer);
        assert_eq!(stage.flights.len(), flights, "{answer:?} after {slept}");
    }
}

#[test]
fn a_token_of_age_that_cannot_be_asked_about_is_given_up_soon() {
    let mut stage = Stage::with_refused_token();
    stage.pass(Span::from_secs(13));
    stage.pass(Span::from_secs(2));
    assert!(stage.flights.is_empty());
    stage.pass(Span::from_secs(1));
    assert_eq!(stage.flights.len(), 1);
}

#[test]
fn a_jwt_that_the_servers_clock_was_set_back_behind_is_replaced_like_one_that_worked() {
    let mut stage = Stage::with_token(HOUR);
    stage.succeed(Generation(1), stage.at);
    stage.pass(Span::from_secs(60));
    let mut revoked = stage.send(Replay::Free).unwrap();
    stage.refuse(&mut revoked, true, true);
    stage.pass(Span::from_millis(300));
    assert!(stage.mint_jwt(Span::ZERO));
    stage.show_clock(Span::from_secs(-100));
    assert!(matches!(stage.refuse_until_of_age(), Step::Wait(_)));
    assert_eq!(stage.flights.len(), 1, "the next token begins at once");
    // It does not: then the issuer is ahead, and every further token is as early.
    assert!(stage.mint_jwt(Span::from_secs(-50)));
    assert!(matches!(stage.refuse_until_of_age(), Step::Pass(_)));
    assert!(stage.flights.is_empty() && stage.keeper.circuit.is_open(stage.at));
}

#[test]
fn an_older_jwt_that_the_clock_was_set_back_behind_does_not_use_up_what_is_allowed_to_the_newest() {
    let mut stage = Stage::new(Span::from_secs(100));
    assert!(stage.mint_jwt(Span::ZERO));
    stage.succeed(Generation(1), stage.at);
    stage.pass(Span::from_secs(67));
    assert!(stage.mint_jwt(Span::ZERO));
    stage.pass(Span::from_secs(13));
    let mut revoked = stage.send(Replay::Free).unwrap();
    stage.refuse(&mut revoked, true, true);
    stage.pass(Span::from_millis(300));
    assert!(stage.mint_jwt(Span::ZERO), "the second one is replaced, and the first one still works");
    stage.show_clock(Span::from_secs(-100));
    assert!(matches!(stage.refuse_until_of_age(), Step::Wait(_)));
    assert_eq!((stage.keeper.newest, stage.flights.len()), (Generation(3), 1));
}

#[test]
fn jwts_of_an_issuer_that_is_ahead_of_the_api_are_waited_for_after_one_more() {
    let mut stage = Stage::new(HOUR);
    assert!(stage.mint_jwt(Span::ZERO));
    stage.show_clock(Span::from_secs(-60));
    assert!(matches!(stage.refuse_until_of_age(), Step::Wait(_)));
    assert!(stage.mint_jwt(Span::ZERO));
    assert!(matches!(stage.refuse_until_of_age(), Step::Pass(_)));
    assert!(stage.flights.is_empty(), "the second one is kept until its time has come");
}

/// A JWT of a hundred seconds, forty seconds old; the API's clock says that it ends after so many more.
fn near_its_end(left: Span) -> Stage {
    let mut stage = Stage::new(Span::from_secs(100));
    assert!(stage.mint_jwt(Span::ZERO));
    stage.succeed(Generation(1), stage.at);
    let end = stage.at + Span::from_secs(100);
    stage.pass(Span::from_secs(40));
    stage.show_clock(end - stage.at - left);
    stage
}

/// A request is refused, and another is accepted that was sent with the same token a moment later.
fn refused_here_and_accepted_there(stage: &mut Stage, attempt: &mut Attempt) -> Step {
    stage.refuse(attempt, true, true);
    stage.pass(TICK);
    stage.succeed(stage.keeper.newest_generation(), stage.at);
    stage.ask_again(attempt)
}

#[test]
fn a_refusal_at_the_end_of_a_jwt_is_not_the_routes_although_another_node_still_takes_the_token() {
    let mut stage = near_its_end(Span::from_millis(1_500));
    let mut attempt = stage.send(Replay::Free).unwrap();
    let step = refused_here_and_accepted_there(&mut stage, &mut attempt);
    assert!(matches!(step, Step::Wait(_)), "{step:?}");
    assert!(stage.mint_jwt(Span::from_secs(-90)));
    stage.pass(Span::from_secs(13));
    let step = stage.ask_again(&mut attempt);
    let Step::Send(token) = step else { panic!("{step:?}") };
    assert_eq!(token.generation, Generation(2));
    // Refused with the next one as well, it is the route, whatever the claims say.
    let step = refused_here_and_accepted_there(&mut stage, &mut attempt);
    assert!(matches!(step, Step::Pass(_)) && stage.flights.is_empty(), "{step:?}");
}

#[test]
fn a_refusal_long_before_the_end_of_a_jwt_is_the_routes_when_another_takes_the_token() {
    let mut stage = near_its_end(Span::from_secs(5));
    let mut attempt = stage.send(Replay::Free).unwrap();
    let step = refused_here_and_accepted_there(&mut stage, &mut attempt);
    assert!(matches!(step, Step::Pass(_)) && stage.flights.is_empty(), "{step:?}");
}
