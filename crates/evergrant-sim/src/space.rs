//! The whole space of faults: every seed draws a world of its own.
//!
//! A drawn world is a scenario like any other: a provider, a network, a load, a schedule for the provider and one for the
//! client's machine. Each fault is absent more often than not, so that most worlds have a few faults and some have many;
//! a bug that needs two faults at once is then found sooner than if all were always there. The numbers stay inside what
//! the promises cover: propagation up to ten seconds, nodes up to a second apart, drift up to one percent.
//!
//! Every world ends with a quiet stretch, in which nothing fails any more and nothing is left of what failed. Whoever is
//! still without a token at its end has given up, which is forbidden.

use evergrant_core::time::Span;

use crate::config::{
    ClockConfig, DateHeader, Delay, ExpiresIn, InGrace, LimitAnswer, MintLimit, NodeConfig, ProviderConfig,
    RotationConfig, Routing, Shape, TokenConfig, TokenFormat,
};
use crate::faults::{ApiFault, ApiRule, At, Chance, Event, TokenFault, TokenRule};
use crate::scenario::{Burst, Forced, Grant, Load, LocalEvent, Mishap, Network, Scenario};
use crate::seed::Seed;

/// The world of this seed.
#[must_use]
pub fn drawn(seed: u64) -> Scenario {
    let mut draw = Draw(Seed::new(seed ^ 0xd3a3_57ac));
    let lifetime = draw.log_secs(20, 86_400);
    let troubled = lifetime.scaled(draw.between(15, 40), 10).clamp(Span::from_secs(300), LONGEST);
    let duration = troubled + QUIET;
    let grant = if draw.happens(350) { Grant::RefreshToken } else { Grant::ClientCredentials };
    let config = draw.provider(lifetime, grant);
    let network = draw.network();
    let load = draw.load(troubled);
    let (events, mishaps) = (draw.events(troubled, &config), draw.mishaps(troubled, grant));
    Scenario {
        name: "drawn",
        about: "a world drawn from its seed",
        config,
        network,
        grant,
        load,
        events,
        mishaps,
        duration,
        forced: Forced::default(),
    }
}

/// When the faults of a drawn world are over.
#[must_use]
pub fn quiet_from(scenario: &Scenario) -> Span {
    scenario.duration - QUIET
}

struct Draw(Seed);

impl Draw {
    fn happens(&mut self, permille: u16) -> bool {
        self.0.happens(permille)
    }

    /// A number from `least` to `most`, ends included.
    fn between(&mut self, least: i64, most: i64) -> i64 {
        let width = u64::try_from(most - least + 1).unwrap_or(1);
        least + i64::try_from(self.0.below(width)).unwrap_or(0)
    }

    fn span(&mut self, least: Span, most: Span) -> Span {
        self.0.delay(Delay::uniform(least, most))
    }

    /// Whole seconds, short ones as likely as long ones.
    fn log_secs(&mut self, least: i64, most: i64) -> Span {
        let mut most_now = least;
        while most_now < most && self.happens(750) {
            most_now *= 2;
        }
        Span::from_secs(self.between(least, most_now.min(most)))
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        let count = u64::try_from(choices.len()).unwrap_or(1);
        choices[usize::try_from(self.0.below(count)).unwrap_or(0)].clone()
    }

    fn signed(&mut self, most: Span) -> Span {
        self.span(-most, most)
    }

    fn provider(&mut self, lifetime: Span, grant: Grant) -> ProviderConfig {
        let nodes = self.nodes();
        let shape = self.one_of(&[Shape::Genesys, Shape::Genesys, Shape::Rfc, Shape::RfcBare]);
        let far = self.one_of(&[Span::ZERO, Span::from_secs(10), Span::from_secs(600), Span::from_secs(400 * 86_400)]);
        let drift = self.one_of(&[0, 0, 150, 10_000]);
        let clock = ClockConfig { offset: self.signed(far), drift_ppm: self.between(-drift, drift) };
        let slow = self.one_of(&[Span::from_millis(80), Span::from_millis(300), Span::from_secs(3)]);
        let mut config = ProviderConfig { shape, clock, nodes, ..ProviderConfig::default() };
        config.routing = self.one_of(&[Routing::RoundRobin, Routing::Seeded]);
        config.latency.token = Delay::uniform(Span::from_millis(10), slow);
        config.latency.api =
            Delay::uniform(Span::from_millis(2), self.one_of(&[Span::from_millis(30), Span::from_secs(2)]));
        config.date = self.one_of(&[DateHeader::Live, DateHeader::Live, DateHeader::Live, DateHeader::Absent]);
        config.tokens = self.tokens(lifetime);
        if grant == Grant::RefreshToken {
            let grace = Span::from_secs(self.one_of(&[0, 10, 60, 60]));
            let in_grace = self.one_of(&[InGrace::SamePair, InGrace::NewPair]);
            config.rotation = RotationConfig { rotate: self.happens(800), reuse_detection: true, grace, in_grace };
        }
        if self.happens(100) {
            let answer =
                self.one_of(&[LimitAnswer::BadRequest, LimitAnswer::TooManyRequests, LimitAnswer::TooManyRequestsDate]);
            config.mint_limit = Some(MintLimit { count: 5, window: Span::from_secs(60), answer });
        }
        config
    }

    fn nodes(&mut self) -> Vec<NodeConfig> {
        let apart = self.one_of(&[Span::ZERO, Span::ZERO, Span::from_millis(40), Span::from_secs(1)]).scaled(1, 2);
        let late = self.one_of(&[0, 0, 200, 2_000, 10_000]);
        let count = self.between(1, 8);
        (0..count)
            .map(|_| NodeConfig {
                clock_offset: self.signed(apart),
                propagation: Delay::uniform(Span::ZERO, Span::from_millis(self.between(0, late))),
            })
            .collect()
    }

    fn tokens(&mut self, lifetime: Span) -> TokenConfig {
        use ExpiresIn::{MinusOne, Missing, Text, Whole};
        // A token whose life nobody names is refreshed at four minutes: a shorter one is not to be kept alive.
        let unnamed = if lifetime > Span::from_secs(600) { Missing } else { Whole };
        TokenConfig {
            lifetime,
            expires_in: self.one_of(&[Whole, Whole, MinusOne, MinusOne, Text, unnamed]),
            format: self.one_of(&[TokenFormat::Opaque, TokenFormat::Opaque, TokenFormat::Jwt]),
            not_before: Span::ZERO,
            revoke_old: self.happens(150),
            cap: self.happens(150).then(|| usize::try_from(self.between(1, 4)).unwrap_or(1)),
            idle_timeout: self.happens(80).then(|| Span::from_secs(self.between(60, 1_200))),
            revoke_at_permille: self.happens(60).then(|| u16::try_from(self.between(300, 950)).unwrap_or(500)),
            max_uses: None,
        }
    }

    fn network(&mut self) -> Network {
        let way = |draw: &mut Self| {
            let most = draw.one_of(&[3, 3, 40, 150, 900]);
            Delay::uniform(Span::from_millis(1), Span::from_millis(draw.between(1, most)))
        };
        let lost_permille = if self.happens(250) { u16::try_from(self.between(1, 30)).unwrap_or(0) } else { 0 };
        Network { there: way(self), back: way(self), lost_permille }
    }

    fn load(&mut self, troubled: Span) -> Load {
        let calls_per_min = u32::try_from(self.one_of(&[1, 4, 12, 60])).unwrap_or(1);
        // However long the world, so many calls and not many more.
        let most = CALLS * 60 / u64::try_from(troubled.as_secs()).unwrap_or(1).max(1);
        let calls_per_min = calls_per_min.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1);
        let bursts = (0..self.between(0, 4))
            .map(|_| Burst {
                after: self.span(Span::ZERO, troubled),
                calls: u32::try_from(self.between(2, 60)).unwrap_or(2),
            })
            .collect();
        Load {
            calls_per_min,
            bursts,
            cold: self.happens(300),
            uploads_permille: if self.happens(300) { 200 } else { 0 },
            hurried_permille: if self.happens(300) { 200 } else { 0 },
        }
    }

    fn events(&mut self, troubled: Span, config: &ProviderConfig) -> Vec<At> {
        let mut events = Vec::new();
        if self.happens(250) {
            (0..self.between(1, 4)).for_each(|_| events.push(self.at(troubled, Event::RevokeAll)));
        }
        if config.tokens.cap.is_some() && self.happens(500) {
            let count = u32::try_from(self.between(1, 4)).unwrap_or(1);
            events.push(self.at(troubled, Event::OutsideMints(count)));
        }
        if self.happens(200) {
            for _ in 0..self.between(1, 3) {
                let far = self.one_of(&[Span::from_secs(2), Span::from_secs(90), Span::from_secs(7_200)]);
                let by = self.signed(far);
                events.push(self.at(troubled, Event::StepServer(by)));
            }
        }
        if self.happens(350) {
            (0..self.between(1, 3)).for_each(|_| self.token_trouble(troubled, &mut events));
        }
        if self.happens(250) {
            self.api_trouble(troubled, &mut events);
        }
        events.push(At { after: troubled, event: Event::ClearTokenFaults });
        events.push(At { after: troubled, event: Event::ClearApiFaults });
        events.push(At { after: troubled, event: Event::SetMintLimit(None) });
        events.sort_by_key(|event| event.after);
        events
    }

    fn at(&mut self, troubled: Span, event: Event) -> At {
        At { after: self.span(Span::ZERO, troubled - Span::from_secs(1)), event }
    }

    fn token_trouble(&mut self, troubled: Span, events: &mut Vec<At>) {
        let hang = TokenFault::Hang(Span::from_secs(60));
        let fault = self.one_of(&[
            TokenFault::Reset,
            hang,
            TokenFault::Status(503, None),
            TokenFault::Status(500, Some(3)),
            TokenFault::NotJson,
            TokenFault::Slow(Span::from_secs(4)),
            TokenFault::Lost,
            TokenFault::Torn,
            TokenFault::Empty,
            TokenFault::MissingToken,
        ]);
        let chance = self.one_of(&[Chance::next(1), Chance::next(2), Chance::permille(300), Chance::ALWAYS]);
        let begins = self.at(troubled, Event::TokenFault(TokenRule { fault, chance }));
        let lasts = self.log_secs(5, 3_600);
        if begins.after + lasts < troubled {
            events.push(At { after: begins.after + lasts, event: Event::ClearTokenFaults });
        }
        events.push(begins);
    }

    fn api_trouble(&mut self, troubled: Span, events: &mut Vec<At>) {
        let fault = self.one_of(&[
            ApiFault::Reset,
            ApiFault::Status(503),
            ApiFault::AuthenticationTimeout,
            ApiFault::MissingPermission,
            ApiFault::InsufficientScope,
            ApiFault::IpNotAuthorized,
            ApiFault::TooManyRequests(2),
            ApiFault::AlwaysUnauthorized,
            ApiFault::Slow(Span::from_secs(3)),
            ApiFault::Lost,
            ApiFault::Torn,
            ApiFault::FailedAfterExecuting,
        ]);
        let chance = self.one_of(&[Chance::permille(50), Chance::permille(300), Chance::ALWAYS]);
        let route = self.happens(600).then(|| "/api/v2/things/list".to_owned());
        let begins = self.at(troubled, Event::ApiFault(ApiRule { fault, route, chance }));
        let lasts = self.log_secs(5, 1_800);
        if begins.after + lasts < troubled {
            events.push(At { after: begins.after + lasts, event: Event::ClearApiFaults });
        }
        events.push(begins);
    }

    fn mishaps(&mut self, troubled: Span, grant: Grant) -> Vec<Mishap> {
        let mut mishaps = Vec::new();
        if self.happens(300) {
            for _ in 0..self.between(1, 3) {
                let far = self.one_of(&[Span::from_secs(3), Span::from_secs(600), Span::from_secs(86_400 * 30)]);
                let by = self.signed(far);
                mishaps.push(self.mishap(troubled, LocalEvent::StepWall(by)));
            }
        }
        if self.happens(150) {
            let ppm = self.between(-500, 500);
            mishaps.push(self.mishap(troubled, LocalEvent::SlewWall(ppm)));
        }
        if self.happens(200) {
            let lasts = self.log_secs(1, 14_400).scaled(1, 1).min(troubled.scaled(1, 2));
            let event = self.one_of(&[LocalEvent::Suspend(lasts), LocalEvent::PauseVm(lasts)]);
            let mishap = self.mishap(troubled, event);
            // It is over when the quiet stretch begins: who sleeps through that cannot show that everything works again.
            mishaps.push(Mishap { after: mishap.after.min(troubled - lasts), ..mishap });
        }
        let crashes = if grant == Grant::RefreshToken { 400 } else { 150 };
        if self.happens(crashes) {
            for _ in 0..self.between(1, 4) {
                let down = self.span(Span::from_millis(50), Span::from_secs(20));
                mishaps.push(self.mishap(troubled, LocalEvent::Crash(down)));
            }
        }
        mishaps.sort_by_key(|mishap| mishap.after);
        mishaps
    }

    fn mishap(&mut self, troubled: Span, event: LocalEvent) -> Mishap {
        Mishap { after: self.span(Span::ZERO, troubled - Span::from_secs(1)), event }
    }
}

/// The longest stretch of a world that has faults.
const LONGEST: Span = Span::from_secs(6 * 3_600);
/// How long nothing fails at the end: longer than the longest wait after a permanent error, and as much again.
const QUIET: Span = Span::from_secs(2_400);
/// About so many calls in each world.
const CALLS: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_happens_to_the_machine_reaches_into_the_quiet_stretch() {
        for seed in 1..=5_000 {
            let scenario = drawn(seed);
            for mishap in &scenario.mishaps {
                let lasts = match mishap.event {
                    LocalEvent::Suspend(lasts) | LocalEvent::PauseVm(lasts) => lasts,
                    LocalEvent::StepWall(_) | LocalEvent::SlewWall(_) | LocalEvent::Crash(_) => Span::ZERO,
                };
                assert!(mishap.after + lasts <= quiet_from(&scenario), "seed {seed}: {mishap:?}");
            }
        }
    }
}
