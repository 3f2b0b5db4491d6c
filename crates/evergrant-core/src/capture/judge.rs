//! From what a capture shows to evidence, and from there to verdicts.
//!
//! The evidence is the same value that a live system fills in, and [`diagnose`] is the same function. What differs is
//! what is known: a capture has no keeper, so a token is `Unmanaged`, its number is its place among the tokens of the
//! same client, and its age comes from the token answer in the same capture, if that is there.
//!
//! What is not there is said. A verdict without it may be `unknown`, and then the list of what was missing is the most
//! useful part of the answer.

use super::credential::{Credential, TokenFacts};
use super::exchange::Exchange;
use super::ledger::{History, Ledger, Refused};
use super::timing::{DATE_ERROR, Moment};
use crate::attempt::{Refusal, Subject};
use crate::evidence::{AssertionTimes, Carried, ClaimTimes, Evidence, Regions};
use crate::policy::Policy;
use crate::time::{Server, Span, Wall};
use crate::token::Generation;
use crate::verdict::{Verdict, diagnose};
use crate::wire::{JwtClaims, RetryAfter, TokenDefect, TokenForm, TokenShape};

/// What is known beside the capture.
#[derive(Clone, Default, Debug)]
pub struct Hints {
    /// The token that was sent, for captures that do not show it.
    pub token: Option<TokenFacts>,
    /// When the capture was made, for captures without dates.
    pub captured_at: Option<Wall>,
}

/// One refused exchange with its verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct Explained {
    /// Its place among the exchanges of the capture, from 1.
    pub number: usize,
    /// The exchange.
    pub exchange: Exchange,
    /// The evidence that the verdict was reached from.
    pub evidence: Evidence,
    /// Why it was refused.
    pub verdict: Verdict,
    /// What the capture does not show, and what that leaves open.
    pub missing: Vec<String>,
}

/// The verdicts of all refused exchanges, in order.
pub(super) fn judge(ledger: &Ledger, hides_credentials: bool, hints: &Hints) -> Vec<Explained> {
    let revokes_old = revokes_old(ledger);
    let judge = |refused: &Refused| {
        let case = Case::new(ledger, refused, hides_credentials, hints);
        let evidence = Evidence { revokes_old, ..case.evidence() };
        let mut verdict = diagnose(&evidence);
        verdict.id = format!("e{}", refused.number + 1);
        let missing = case.missing(&evidence);
        Explained { number: refused.number + 1, exchange: refused.exchange.clone(), evidence, verdict, missing }
    };
    ledger.refused.iter().map(judge).collect()
}

/// One refused exchange, with everything that bears on it.
struct Case<'a> {
    ledger: &'a Ledger,
    refused: &'a Refused,
    exchange: &'a Exchange,
    hints: &'a Hints,
    token: Option<&'a TokenFacts>,
    history: Option<&'a History>,
    carried: Carried,
    received: Moment,
}

impl<'a> Case<'a> {
    fn new(ledger: &'a Ledger, refused: &'a Refused, hides_credentials: bool, hints: &'a Hints) -> Self {
        let exchange = &refused.exchange;
        let carried = match exchange.credential {
            Credential::Token(_) | Credential::Other(_) => Carried::Unmanaged,
            Credential::Nothing if !hides_credentials => Carried::Nothing,
            Credential::NotShown | Credential::BlottedOut | Credential::Nothing => Carried::NotShown,
        };
        let given = hints.token.as_ref().filter(|_| carried == Carried::NotShown && exchange.mint.is_none());
        let token = exchange.credential.token().or(given);
        let carried = if given.is_some() { Carried::Unmanaged } else { carried };
        Self {
            ledger,
            refused,
            exchange,
            hints,
            token,
            history: token.and_then(|token| ledger.tokens.get(&token.mark)),
            carried,
            received: Moment::received(exchange, refused.number),
        }
    }

    fn evidence(&self) -> Evidence {
        let said = match (&self.exchange.mint, &self.exchange.refusal) {
            (Some(mint), _) => mint.outcome.as_ref().err().map(Evidence::of_token_request),
            (None, Some(refusal)) => Some(Evidence::of_refusal(refusal, self.carried)),
            (None, None) => None,
        };
        let nothing = || Evidence::of_answer(self.exchange.status, Subject::Other, self.carried);
        let said = self.with_dates(self.with_token(said.unwrap_or_else(nothing)));
        let skew = self.exchange.host().and_then(|host| self.ledger.clocks.of(host));
        Evidence {
            route: self.route(),
            retry_after: self.retry_after(),
            is_redirected: self.refused.is_redirected,
            regions: self.regions(),
            refresh_token: self.refused.spent.clone(),
            local_minus_server: skew.map(|skew| (skew.local_minus_server.lo, skew.local_minus_server.hi)),
            settle: Policy::FIRST_SETTLE,
            idle_limit: self.exchange.profile.idle_limit,
            ..self.with_history(said)
        }
    }

    /// Where the request went, or that the capture does not say so.
    fn route(&self) -> String {
        match &self.exchange.route {
            Some(route) if !route.template.is_empty() && !route.method.is_empty() => route.to_string(),
            Some(route) if !route.template.is_empty() => route.template.clone(),
            Some(route) if !route.host.is_empty() => format!("a request to {}", route.host),
            _ => "a request that is not shown".to_owned(),
        }
    }

    fn with_token(&self, evidence: Evidence) -> Evidence {
        match (self.token, &self.exchange.credential) {
            (Some(token), _) => evidence.with_shape(token.shape.clone()),
            (None, Credential::Other(_)) if self.exchange.mint.is_none() => {
                let defects = vec![TokenDefect::OtherScheme];
                evidence.with_shape(TokenShape { length: 0, form: TokenForm::Opaque, defects })
            }
            _ => evidence,
        }
    }

    /// What the dates of a JWT or an assertion say, by the server's clock.
    fn with_dates(&self, evidence: Evidence) -> Evidence {
        let server = self.server_time();
        let host = self.exchange.host();
        let evidence = match self.token.and_then(|token| token.claims.as_ref()) {
            Some(claims) => evidence.with_claims(claims, host, server),
            None => evidence,
        };
        let assertion = self.exchange.mint.as_ref().and_then(|mint| mint.assertion.as_ref());
        match assertion.zip(server) {
            Some((claims, server)) => Evidence { assertion: Some(assertion_times(claims, server)), ..evidence },
            None => evidence,
        }
    }

    /// Between which instants the server's clock stood when it answered.
    fn server_time(&self) -> Option<(Server, Server)> {
        let by_date = self.exchange.fresh_date().map(|date| (date, date + DATE_ERROR));
        by_date.or_else(|| {
            let given = Server::from_nanos(self.hints.captured_at?.as_nanos());
            Some((given - GIVEN_ERROR, given + GIVEN_ERROR))
        })
    }

    fn with_history(&self, evidence: Evidence) -> Evidence {
        let Some(history) = self.history else { return evidence };
        let minting = history.minting.as_ref();
        let age_between = minting.and_then(|minting| {
            let (_, most) = self.received.since(minting.sent)?;
            let (least, _) = self.received.since(minting.received)?;
            Some((least.max(Span::ZERO), most.max(Span::ZERO)))
        });
        let lifetime = minting.and_then(|minting| minting.expires_in);
        let newest = self.newest(history);
        let newest_age = newest.minting.as_ref().and_then(|minting| self.received.since(minting.received));
        Evidence {
            generation: Some(Generation(history.number)),
            newest: Some(Generation(newest.number)),
            newest_age: newest_age.map(|(_, most)| most),
            age: age_between.map(|(_, most)| most),
            to_dead: lifetime.zip(age_between).map(|(lifetime, (_, most))| lifetime - most),
            to_gone: lifetime.zip(age_between).map(|(lifetime, (least, _))| lifetime - least),
            worked_before: history.first_ok.is_some_and(|ok| self.received.is_after(ok)),
            works_since: history.last_ok.is_some_and(|ok| ok.is_after(self.received)),
            works_here_since: self.works_here_since(history),
            newer_works: self.newer_works(history),
            refusals: self.refused.refusals,
            recent_mints: self.recent_mints(history),
            idle: self.refused.idle,
            ..evidence
        }
    }

    /// The newest token of the same client that had been issued when the answer came.
    fn newest(&self, history: &'a History) -> &'a History {
        let was_there = |other: &&History| {
            let minting = other.minting.as_ref();
            minting.is_some_and(|minting| self.received.is_after(minting.received)) && other.is_kin_of(history)
        };
        let newest = self.ledger.tokens.values().filter(was_there).max_by_key(|other| other.number);
        newest.filter(|newest| newest.number > history.number).unwrap_or(history)
    }

    fn works_here_since(&self, history: &History) -> bool {
        let last = self.exchange.route.as_ref().and_then(|route| history.ok_routes.get(route));
        last.is_some_and(|last| last.is_after(self.received))
    }

    fn newer_works(&self, history: &History) -> bool {
        let Some(route) = &self.exchange.route else { return false };
        self.ledger.tokens.values().any(|other| {
            other.number > history.number && other.is_kin_of(history) && other.ok_routes.contains_key(route)
        })
    }

    /// How many tokens of the same client were issued in the ten minutes before.
    fn recent_mints(&self, history: &History) -> usize {
        let is_recent = |other: &&History| {
            let since = other.minting.as_ref().and_then(|minting| self.received.since(minting.received));
            since.is_some_and(|(least, _)| Span::ZERO <= least && least <= RECENT) && other.is_kin_of(history)
        };
        self.ledger.tokens.values().filter(is_recent).count()
    }

    fn regions(&self) -> Regions {
        if self.exchange.mint.is_some() {
            return Regions { token: self.exchange.region(), ..Regions::default() };
        }
        let minted_at = self.history.and_then(|history| history.minting.as_ref()?.host.as_deref());
        let accepted = self.history.and_then(|history| history.ok_region);
        Regions { api: self.exchange.region(), accepted, ..Regions::of(minted_at, None) }
    }

    fn retry_after(&self) -> Option<Span> {
        match self.exchange.retry_after? {
            RetryAfter::Delay(delay) => Some(delay),
            RetryAfter::At(at) => self.exchange.fresh_date().map(|date| (at - date).max(Span::ZERO)),
        }
    }

    /// What the capture does not show, each with what that leaves open.
    fn missing(&self, evidence: &Evidence) -> Vec<String> {
        let mut missing = Vec::new();
        let exchange = self.exchange;
        if exchange.mint.is_some() || !evidence.subject.is_token() {
            if exchange.fresh_date().is_none() && evidence.claims.is_none() && exchange.sent.is_none() {
                missing.push("the capture has no Date, so it is not known when this happened".to_owned());
            }
            return missing;
        }
        match exchange.credential {
            _ if self.hints.token.is_some() => {}
            Credential::NotShown => missing.push(
                "the capture does not show the request, so whether a token was sent, and which, is not known"
                    .to_owned(),
            ),
            Credential::BlottedOut => {
                missing.push("the token is blotted out, so neither its form nor its other uses are known".to_owned());
            }
            Credential::Nothing if self.carried == Carried::NotShown => missing.push(
                "no request of the capture shows an Authorization field: browsers leave it out of a HAR unless it is \
                 saved with sensitive data"
                    .to_owned(),
            ),
            Credential::Nothing | Credential::Token(_) | Credential::Other(_) => {}
        }
        if exchange.fresh_date().is_none() {
            let is_jwt = evidence.form == Some(TokenForm::Jwt);
            let open = if is_jwt { "the dates of the token" } else { "this machine's clock" };
            if self.hints.captured_at.is_none() {
                missing.push(format!(
                    "the capture has no Date, so {open} cannot be compared with the server's clock; --captured-at gives the time by hand"
                ));
            }
        }
        let knows_age = self.history.is_some_and(|history| history.minting.is_some()) || evidence.claims.is_some();
        if !knows_age && self.carried != Carried::Nothing {
            missing.push(
                "the capture does not show the token being issued, so its age and its lifetime are not known"
                    .to_owned(),
            );
        }
        missing
    }
}

fn assertion_times(claims: &JwtClaims, server: (Server, Server)) -> AssertionTimes {
    let ClaimTimes { to_exp, to_nbf } = ClaimTimes::at(claims, server);
    AssertionTimes { to_start: to_nbf, to_end: to_exp, is_dated_here: true }
}

/// Does the provider end the old token at a refresh? Two tokens that worked until their successor came show it.
fn revokes_old(ledger: &Ledger) -> bool {
    let ended: std::collections::BTreeSet<_> = ledger
        .refused
        .iter()
        .filter(|refused| refused.exchange.refusal.as_ref().is_some_and(|refusal: &Refusal| refusal.subject.is_token()))
        .filter_map(|refused| {
            let history = ledger.tokens.get(&refused.exchange.credential.token()?.mark)?;
            let at = Moment::received(&refused.exchange, refused.number);
            let was_replaced = ledger.tokens.values().any(|other| {
                let minting = other.minting.as_ref();
                other.number > history.number
                    && minting.is_some_and(|minting| at.is_after(minting.received))
                    && other.is_kin_of(history)
            });
            let worked = history.first_ok.is_some_and(|ok| at.is_after(ok));
            let works_since = history.last_ok.is_some_and(|ok| ok.is_after(at));
            (was_replaced && worked && !works_since).then_some(history.number)
        })
        .collect();
    ended.len() >= 2
}

/// The span in which tokens count as issued lately.
const RECENT: Span = Span::from_secs(600);
/// How far a time that a person gives may be off.
const GIVEN_ERROR: Span = Span::from_secs(60);

#[cfg(test)]
mod tests;
