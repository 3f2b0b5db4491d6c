//! Any order of events, whatever no provider and no store would do: the keeper and its refreshes keep to their rules.
//!
//! Two bytes are one thing that happens: what, and how much or to whom. Time goes forward only, as the boot clock does.
#![no_main]

use std::collections::BTreeSet;

use evergrant_core::Secret;
use evergrant_core::attempt::{Attempt, Refusal, Replay, Route, Subject};
use evergrant_core::keeper::{
    Acquire, Action, Committed, Doubt, Keeper, Minted, Next, ProbeOutcome, Refresh, SharedFailure, Step, Stored,
    StoredToken,
};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::Profile;
use evergrant_core::time::{Boot, Now, Server, Span, Wall};
use evergrant_core::token::{Generation, Issued, Token};
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind};
use libfuzzer_sys::fuzz_target;

struct Scene {
    keeper: Keeper,
    at: Boot,
    rotates: bool,
    refresh: Option<(Refresh, Next)>,
    /// Requests, and whether each waits for what the keeper says.
    attempts: Vec<(Attempt, BTreeSet<Generation>, bool)>,
    probes: Vec<Generation>,
    tokens: u64,
}

impl Scene {
    fn now(&self) -> Now {
        Now { boot: self.at, wall: Wall::from_nanos(self.at.as_nanos() / 3) }
    }

    fn happen(&mut self, what: u8, much: u8) {
        let (now, amount) = (self.now(), i64::from(much));
        match what % 14 {
            0 => self.at = self.at + Span::from_millis(amount * amount),
            1 => self.at = self.at + Span::from_secs(amount * 4),
            2 => self.begin(much),
            3 | 4 => self.refuse(much),
            5 => {
                if let Some(at) = self.pick(much, false) {
                    let (attempt, ..) = self.attempts.swap_remove(at);
                    self.keeper.handle_success(attempt.generation, attempt.sent, now);
                }
            }
            6 => self.ask_again(much),
            7 | 8 => self.go_on(much),
            9 => {
                if let Some(generation) = self.probes.pop() {
                    let outcomes = [ProbeOutcome::Accepted, ProbeOutcome::Refused, ProbeOutcome::Nothing];
                    self.keeper.handle_probe(generation, self.at, outcomes[usize::from(much) % 3], now);
                }
            }
            10 => {
                let server = Server::from_nanos(self.at.as_nanos() + (amount - 128) * 50_000_000);
                let resolution = Span::from_secs(1);
                let sample = Sample {
                    sent: self.at,
                    received: self.at,
                    server,
                    resolution,
                    bounds_above: !much.is_multiple_of(3),
                };
                let _ = self.keeper.handle_clock_sample(Source::ApiDate, sample, now);
            }
            11 => {
                let stored = self.stored(much);
                self.keeper.handle_news(stored, now);
            }
            12 if much.is_multiple_of(8) => self.keeper.handle_credential_changed(),
            12 => self.keeper.handle_suspend(now),
            _ => self.keeper.handle_timeout(now),
        }
        self.keeper.handle_timeout(self.now());
        self.collect();
    }

    /// Whatever a store may hold: newer, older, without a token, without a grant, in doubt.
    fn stored(&mut self, much: u8) -> Stored {
        let generation =
            Generation(self.keeper.newest_generation().0.saturating_add(u64::from(much % 3)).saturating_sub(1));
        let minted = self.minted(generation, much);
        Stored {
            generation,
            grant: (much & 16 != 0).then(|| format!("grant {}", much % 4)),
            token: match much % 4 {
                0 => None,
                1 => Some(StoredToken::Stale(minted)),
                _ => Some(StoredToken::Known(minted)),
            },
            doubt: (much & 32 != 0)
                .then(|| Doubt { age: Some(Span::from_secs(i64::from(much))), words: String::new() }),
            mints: vec![self.at - Span::from_secs(i64::from(much))],
            failure: (much & 64 != 0).then(|| {
                Box::new(SharedFailure {
                    failure: TokenFailure::of(TokenFailureKind::ServerError),
                    streak: if much.is_multiple_of(3) { u32::MAX } else { u32::from(much) },
                    not_before: self.at + Span::from_secs(i64::from(much % 8)),
                })
            }),
        }
    }

    fn minted(&mut self, generation: Generation, much: u8) -> Minted {
        // Now and then the same text once more.
        self.tokens += u64::from(!much.is_multiple_of(5));
        Minted {
            generation,
            access_token: Secret::new(format!("token {}", self.tokens)),
            issued: Issued { sent: self.at - Span::from_millis(i64::from(much)), received: self.at },
            lifetime: (!much.is_multiple_of(7)).then(|| Span::from_secs(i64::from(much) * 8)),
            is_renewable: !much.is_multiple_of(11),
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::RequestToken { flight, .. } => {
                    // One that has only its failure left to share has told it already. It still holds the lease, for which
                    // the next one waits; here it ends now.
                    self.refresh.take_if(|(_, next)| matches!(next, Next::Share(_)));
                    assert!(self.refresh.is_none(), "two token requests in the air");
                    let mut refresh = Refresh::new(flight, self.rotates, &self.keeper);
                    let (stored, now) = (self.stored(self.at.as_nanos() as u8), self.now());
                    let next = refresh.handle_lease(stored, &mut self.keeper, now);
                    self.refresh = Some((refresh, next));
                    self.end_refresh();
                }
                Action::Probe { token, .. } => self.probes.push(token.generation),
                Action::Wake => {}
            }
        }
        let report = self.keeper.report(self.now());
        assert!(report.mint_budget.used <= 100_000);
    }

    fn go_on(&mut self, much: u8) {
        let Some((mut refresh, next)) = self.refresh.take() else { return };
        let now = self.now();
        let next = match next {
            Next::Intend => {
                let doubt = self.rotates.then(|| Doubt { age: Some(Span::ZERO), words: "somebody".to_owned() });
                let failed = TokenFailure::of(TokenFailureKind::Unreachable);
                let intent = if much.is_multiple_of(9) { Err(failed) } else { Ok(doubt) };
                refresh.handle_intent(intent, &mut self.keeper, now)
            }
            Next::Send if much.is_multiple_of(2) => {
                let generation = Generation::default();
                let minted = self.minted(generation, much);
                let mut answer = TokenAnswer {
                    access_token: minted.access_token,
                    token_type: None,
                    expires_in: minted.lifetime,
                    expires_in_note: None,
                    refresh_token: None,
                    scope: None,
                };
                refresh.handle_answer(&mut answer, minted.issued, &self.keeper)
            }
            Next::Send => {
                let kinds = [
                    TokenFailureKind::Lost,
                    TokenFailureKind::InvalidGrant,
                    TokenFailureKind::InvalidClient,
                    TokenFailureKind::ServerError,
                    TokenFailureKind::TimedOut,
                    TokenFailureKind::RateLimited,
                ];
                let failure = TokenFailure::of(kinds[usize::from(much / 2) % kinds.len()]);
                refresh.handle_failure(failure, &mut self.keeper, now)
            }
            Next::LookAgain => {
                let found = (!much.is_multiple_of(3)).then(|| self.stored(much));
                refresh.handle_looked_again(found, &mut self.keeper, now)
            }
            Next::Withdraw => refresh.handle_withdrawn(&mut self.keeper, now),
            Next::Share(_) if much.is_multiple_of(2) => refresh.handle_shared(&mut self.keeper, now),
            Next::Share(_) => refresh.handle_unshared(),
            Next::Commit(generation) => {
                // A store that holds as much already, as the keeper has heard, takes no commit.
                let is_behind = generation <= self.keeper.newest_generation();
                let committed = match is_behind || much.is_multiple_of(6) {
                    true => Committed::Theirs(self.stored(much)),
                    false => Committed::Ours,
                };
                refresh.handle_commit(committed, &mut self.keeper, now)
            }
            Next::End(ending) => Next::End(ending),
        };
        self.refresh = Some((refresh, next));
        self.end_refresh();
    }

    /// As the driver does: a flight of which nobody has told the end has failed.
    fn end_refresh(&mut self) {
        if let Some((refresh, Next::End(_))) = &self.refresh {
            let (flight, now) = (refresh.flight(), self.now());
            self.refresh = None;
            let failure = TokenFailure::of(TokenFailureKind::Unreachable);
            let _ = self.keeper.handle_flight_failed(flight, failure, now);
        }
    }

    fn begin(&mut self, much: u8) {
        let replay = [Replay::Free, Replay::IfRefused, Replay::Never][usize::from(much) % 3];
        let mut attempt = Attempt::new(replay, self.at, Span::from_secs(30));
        let (need, now) = (self.keeper.need_of(replay), self.now());
        if let Acquire::Ready(token) = self.keeper.handle_acquire(need, attempt.started, attempt.deadline, now) {
            self.check(&token);
            attempt.mark_sent(token.generation, self.at);
            self.attempts.push((attempt, BTreeSet::from([token.generation]), false));
        }
    }

    fn refuse(&mut self, much: u8) {
        let Some(at) = self.pick(much, false) else { return };
        let (mut attempt, generations, _) = self.attempts.swap_remove(at);
        let route = Route::new("api.example", "GET", if much & 64 == 0 { "/things" } else { "/others" });
        let refusal = Refusal {
            has_bearer_challenge: much & 1 != 0,
            can_send_again: much & 2 == 0,
            ..Refusal::of_status(401, Subject::Token, route, self.at)
        };
        let now = self.now();
        let step = self.keeper.handle_refusal(&mut attempt, refusal, now);
        self.follow(attempt, generations, &step);
    }

    fn ask_again(&mut self, much: u8) {
        let Some(at) = self.pick(much, true) else { return };
        let (mut attempt, generations, _) = self.attempts.swap_remove(at);
        let now = self.now();
        let step = self.keeper.handle_attempt(&mut attempt, now);
        self.follow(attempt, generations, &step);
    }

    fn pick(&self, which: u8, waits: bool) -> Option<usize> {
        let fits = |(at, (_, _, is)): (usize, &(Attempt, BTreeSet<Generation>, bool))| (*is == waits).then_some(at);
        let fitting: Vec<_> = self.attempts.iter().enumerate().filter_map(fits).collect();
        fitting.get(usize::from(which) % fitting.len().max(1)).copied()
    }

    fn follow(&mut self, attempt: Attempt, mut generations: BTreeSet<Generation>, step: &Step) {
        match step {
            Step::Send(token) => {
                self.check(token);
                assert!(attempt.replay != Replay::Never, "a request without its body was sent again");
                assert!(self.at <= attempt.deadline, "sent after the deadline");
                generations.insert(token.generation);
                assert!(generations.len() <= Policy::GENERATIONS_PER_REQUEST, "too many generations");
                self.attempts.push((attempt, generations, false));
            }
            Step::Wait(until) => {
                assert!(*until <= attempt.deadline, "waits beyond its deadline");
                self.attempts.push((attempt, generations, true));
            }
            Step::Pass(_) | Step::NoToken(..) => {}
        }
    }

    fn check(&self, token: &Token) {
        assert!(token.is_usable_at(self.at), "a token was served that has ended");
        let instants = token.instants;
        assert!(instants.soft <= instants.hard && instants.hard <= instants.dead && instants.dead <= instants.gone);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, events)) = input.split_first() else { return };
    let keeper = Keeper::new(Profile::oauth2(), Policy::default(), u64::from(*first));
    let mut scene = Scene {
        keeper,
        at: Boot::from_secs(10_000),
        rotates: first & 1 == 1,
        refresh: None,
        attempts: Vec::new(),
        probes: Vec::new(),
        tokens: 0,
    };
    scene.collect();
    for event in events.chunks_exact(2).take(2_000) {
        scene.happen(event[0], event[1]);
    }
});
