//! What a capture shows of each token over time: where it came from, where it was taken, when it was refused.
//!
//! A single 401 says little; what happened before and after it in the same capture says most. So every exchange is
//! entered here as it is read, and only the refused ones are kept; of the others remain a few numbers for each token.
//! That keeps a capture of any length within fixed bounds, and what goes beyond them is counted.
//!
//! Limits: [`TOKENS`] tokens, [`REFUSALS`] refused exchanges, [`ROUTES`] routes for each token, [`HOSTS`] hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::credential::{Credential, TokenMark};
use super::exchange::{Exchange, Mint, Minted};
use super::skew::Clocks;
use super::timing::Moment;
use crate::attempt::Route;
use crate::evidence::SpentRefreshToken;
use crate::profile::Region;
use crate::time::Span;

/// Everything that is kept of a capture.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    pub(super) exchanges: usize,
    pub(super) refused: Vec<Refused>,
    /// Refused exchanges beyond those that are kept.
    pub(super) left_out: usize,
    pub(super) tokens: BTreeMap<TokenMark, History>,
    pub(super) clocks: Clocks,
    spent: BTreeMap<TokenMark, (Moment, bool)>,
    redirect: Option<Redirect>,
    /// Does any answer carry a date?
    pub(super) has_dates: bool,
}

/// What happened to one token.
#[derive(Clone)]
pub(super) struct History {
    /// Later tokens have higher numbers.
    pub(super) number: u64,
    pub(super) minting: Option<Minting>,
    pub(super) first_ok: Option<Moment>,
    pub(super) last_ok: Option<Moment>,
    last_use: Option<Moment>,
    refusals: u32,
    pub(super) hosts: BTreeSet<String>,
    /// Routes on which it was taken, and when it was last sent there.
    pub(super) ok_routes: BTreeMap<Route, Moment>,
    pub(super) ok_region: Option<Region>,
}

/// Where a token came from.
#[derive(Clone)]
pub(super) struct Minting {
    pub(super) sent: Moment,
    pub(super) received: Moment,
    pub(super) expires_in: Option<Span>,
    pub(super) host: Option<String>,
    pub(super) client: Option<TokenMark>,
}

/// A refused exchange, with what was known of its token when it happened.
#[derive(Clone)]
pub(super) struct Refused {
    pub(super) number: usize,
    pub(super) exchange: Exchange,
    pub(super) refusals: u32,
    pub(super) idle: Option<Span>,
    pub(super) is_redirected: bool,
    pub(super) spent: Option<SpentRefreshToken>,
}

/// A redirect that was just met, and whether the request that met it carried credentials.
#[derive(Clone)]
struct Redirect {
    from: String,
    to: String,
    carried: bool,
}

impl Ledger {
    /// Enters one exchange.
    pub(super) fn enter(&mut self, exchange: Exchange) {
        let number = self.exchanges;
        self.exchanges += 1;
        self.has_dates |= exchange.date.is_some();
        self.clocks.enter(&exchange);
        let is_redirected = self.follows_a_redirect(&exchange);
        let (refusals, idle) = self.enter_token(&exchange, number);
        let spent = exchange.mint.as_ref().and_then(|mint| self.enter_mint(mint, &exchange, number));
        if exchange.is_refusal() {
            if self.refused.len() < REFUSALS {
                self.refused.push(Refused { number, exchange, refusals, idle, is_redirected, spent });
            } else {
                self.left_out += 1;
            }
        }
    }

    /// Was the request sent on by a redirect to another host, and lost its credentials there?
    fn follows_a_redirect(&mut self, exchange: &Exchange) -> bool {
        let carried = matches!(exchange.credential, Credential::Token(_) | Credential::BlottedOut);
        let before = self.redirect.take();
        if let (Some(from), Some(to)) = (exchange.host(), &exchange.redirects_to) {
            let carried = carried || before.as_ref().is_some_and(|before| before.to == from && before.carried);
            self.redirect = Some(Redirect { from: from.to_owned(), to: to.clone(), carried });
        }
        before.is_some_and(|before| {
            before.carried && !carried && before.from != before.to && exchange.host() == Some(&before.to)
        })
    }

    /// Enters a use of a token; returns how often it was refused since it last worked, and how long it was not used.
    fn enter_token(&mut self, exchange: &Exchange, number: usize) -> (u32, Option<Span>) {
        let Some(facts) = exchange.credential.token() else { return (0, None) };
        let (sent, received) = (Moment::sent(exchange, number), Moment::received(exchange, number));
        let Some(history) = self.history(facts.mark) else { return (0, None) };
        let idle = history.last_use.and_then(|last| sent.since(last)).map(|(least, _)| least.max(Span::ZERO));
        history.last_use = Some(received);
        if let Some(host) = exchange.host().filter(|_| history.hosts.len() < HOSTS) {
            history.hosts.insert(host.to_owned());
        }
        if exchange.is_proof() {
            history.first_ok.get_or_insert(received);
            history.last_ok = Some(sent);
            history.refusals = 0;
            if let Some(route) = exchange.route.clone()
                && (history.ok_routes.len() < ROUTES || history.ok_routes.contains_key(&route))
            {
                history.ok_routes.insert(route, sent);
            }
            history.ok_region = exchange.region().or(history.ok_region);
        } else if exchange.refusal.as_ref().is_some_and(|refusal| refusal.subject.is_token()) {
            history.refusals = history.refusals.saturating_add(1);
        }
        (history.refusals, idle)
    }

    /// Enters a token request; returns what is known of the refresh token that it spent.
    fn enter_mint(&mut self, mint: &Mint, exchange: &Exchange, number: usize) -> Option<SpentRefreshToken> {
        let (sent, received) = (Moment::sent(exchange, number), Moment::received(exchange, number));
        if let Ok(Minted { token: Some(token), expires_in, .. }) = &mint.outcome {
            let minting = Minting {
                sent,
                received,
                expires_in: *expires_in,
                host: exchange.host().map(str::to_owned),
                client: mint.client,
            };
            if let Some(history) = self.history(token.mark) {
                // A provider may hand the same token out again; it lives from then on.
                history.minting = Some(minting);
            }
        }
        let spent = mint.refresh_token?;
        let before = self.spent.get(&spent).copied();
        let is_rotated = matches!(&mint.outcome, Ok(minted) if minted.refresh_token.is_some_and(|new| new != spent));
        if self.spent.len() < TOKENS || before.is_some() {
            let rotated = is_rotated || before.is_some_and(|(_, rotated)| rotated);
            self.spent.insert(spent, (sent, rotated));
        }
        let (then, has_successor) = before?;
        let sent_before = sent.since(then).map(|(least, _)| least.max(Span::ZERO))?;
        Some(SpentRefreshToken { sent_before: Some(sent_before), sent_by: None, has_successor })
    }

    fn history(&mut self, mark: TokenMark) -> Option<&mut History> {
        let number = self.tokens.len() as u64 + 1;
        if number > TOKENS as u64 && !self.tokens.contains_key(&mark) {
            return None;
        }
        Some(self.tokens.entry(mark).or_insert_with(|| History::new(number)))
    }
}

impl History {
    fn new(number: u64) -> Self {
        Self {
            number,
            minting: None,
            first_ok: None,
            last_ok: None,
            last_use: None,
            refusals: 0,
            hosts: BTreeSet::new(),
            ok_routes: BTreeMap::new(),
            ok_region: None,
        }
    }

    /// Do two tokens belong to one client of one provider, as far as the capture shows?
    pub(super) fn is_kin_of(&self, other: &Self) -> bool {
        let client = |history: &Self| history.minting.as_ref().map(|minting| (minting.host.clone(), minting.client));
        match (client(self), client(other)) {
            (Some((host, mine)), Some((other_host, theirs))) => {
                host == other_host && (mine == theirs || mine.is_none() || theirs.is_none())
            }
            _ => self.hosts.iter().any(|host| other.hosts.contains(host)),
        }
    }
}

/// The most tokens whose lives are followed.
const TOKENS: usize = 1000;
/// The most refused exchanges that are kept.
const REFUSALS: usize = 2000;
const ROUTES: usize = 200;
const HOSTS: usize = 16;
