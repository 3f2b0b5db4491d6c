//! What holds whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(i64),
    Mint,
    Fail(bool),
    Begin(Replay),
    Refuse { which: usize, is_shown: bool, is_kept: bool },
    Succeed(usize),
    AskAgain(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let replay = prop_oneof![Just(Replay::Free), Just(Replay::IfRefused), Just(Replay::Never)];
    prop_oneof![
        3 => prop_oneof![0_i64..300, 300_i64..5_000, 5_000_i64..40_000].prop_map(Event::Pass),
        3 => Just(Event::Mint),
        1 => any::<bool>().prop_map(Event::Fail),
        4 => replay.prop_map(Event::Begin),
        6 => (0_usize..8, any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(which, is_shown, is_kept)| Event::Refuse { which, is_shown, is_kept }),
        2 => (0_usize..8).prop_map(Event::Succeed),
        6 => (0_usize..8).prop_map(Event::AskAgain),
    ]
}

/// A request and everything that was sent of it.
struct Traveller {
    attempt: Attempt,
    generations: BTreeSet<Generation>,
    /// Was it refused, and is it waiting for what the keeper says?
    is_waiting: bool,
}

struct Scene {
    stage: Stage,
    travellers: Vec<Traveller>,
    rejected: BTreeSet<Generation>,
}

impl Scene {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(millis) => self.stage.pass(Span::from_millis(millis)),
            Event::Mint => _ = self.stage.mint(),
            Event::Fail(is_permanent) => self.stage.fail(if is_permanent {
                TokenFailureKind::InvalidClient
            } else {
                TokenFailureKind::Unreachable
            }),
            Event::Begin(replay) => {
                if let Some(attempt) = self.stage.send(replay) {
                    self.check_served(attempt.generation);
                    let generations = BTreeSet::from([attempt.generation]);
                    self.travellers.push(Traveller { attempt, generations, is_waiting: false });
                }
            }
            Event::Refuse { which, is_shown, is_kept } => {
                if let Some(mut traveller) = self.take(which, false) {
                    let step = self.stage.refuse(&mut traveller.attempt, is_shown, is_kept);
                    self.follow(traveller, &step);
                }
            }
            Event::Succeed(which) => {
                if let Some(traveller) = self.take(which, false) {
                    self.stage.succeed(traveller.attempt.generation, traveller.attempt.sent);
                }
            }
            Event::AskAgain(which) => {
                if let Some(mut traveller) = self.take(which, true) {
                    let step = self.stage.ask_again(&mut traveller.attempt);
                    self.follow(traveller, &step);
                }
            }
        }
        self.check_keeper();
    }

    fn take(&mut self, which: usize, is_waiting: bool) -> Option<Traveller> {
        let fits = |(at, traveller): (usize, &Traveller)| (traveller.is_waiting == is_waiting).then_some(at);
        let fitting: Vec<usize> = self.travellers.iter().enumerate().filter_map(fits).collect();
        let at = *fitting.get(which % fitting.len().max(1))?;
        Some(self.travellers.swap_remove(at))
    }

    fn follow(&mut self, mut traveller: Traveller, step: &Step) {
        match step {
            Step::Send(token) => {
                self.check_replay(&traveller.attempt, token.generation);
                self.check_served(token.generation);
                traveller.generations.insert(token.generation);
                assert!(traveller.generations.len() <= Policy::GENERATIONS_PER_REQUEST, "too many generations");
                traveller.is_waiting = false;
                self.travellers.push(traveller);
            }
            Step::Wait(until) => {
                assert!(*until <= traveller.attempt.deadline, "waits beyond its deadline");
                traveller.is_waiting = true;
                self.travellers.push(traveller);
            }
            Step::Pass(_) | Step::NoToken(..) => {}
        }
    }

    fn check_replay(&self, attempt: &Attempt, generation: Generation) {
        let refusal = attempt.refusal.as_ref().expect("only a refused request is sent again");
        assert!(attempt.replay != Replay::Never, "a request without its body was sent again");
        assert!(refusal.can_send_again, "a request was sent again after its body was lost");
        let is_shown = refusal.was_before_execution();
        assert!(attempt.replay == Replay::Free || is_shown, "a request was repeated that may have been executed");
        assert!(self.stage.at <= attempt.deadline, "sent after the deadline");
        assert_eq!(attempt.generation, generation);
    }

    fn check_served(&self, generation: Generation) {
        assert!(!self.rejected.contains(&generation), "{generation} was given up and served again");
        let held = self.stage.keeper.slots.get(generation).expect("what is served is held");
        assert!(held.token.is_usable_at(self.stage.at), "a token was served that has ended");
    }

    fn check_keeper(&mut self) {
        assert!(self.stage.flights.len() <= 1, "two token requests in the air");
        let keeper = &self.stage.keeper;
        for held in keeper.slots.iter() {
            let at = held.token.instants;
            assert!(at.soft <= at.hard && at.hard <= at.dead && at.dead <= at.gone, "{at:?}");
            assert!(!keeper.slots.is_rejected(held.generation()), "a rejected token is held");
        }
        let all = (1..=keeper.newest_generation().0).map(Generation);
        self.rejected.extend(all.filter(|generation| keeper.slots.is_rejected(*generation)));
    }
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_rules_of_replay(
        events in prop::collection::vec(event(), 1..160), life in prop_oneof![3_i64..60, 60_i64..7_200],
    ) {
        let stage = Stage::with_token(Span::from_secs(life));
        let mut scene = Scene { stage, travellers: Vec::new(), rejected: BTreeSet::new() };
        for event in events {
            scene.happen(event);
        }
    }
}
