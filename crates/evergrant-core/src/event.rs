//! What happened to a credential, as a bounded list of plain facts.
//!
//! Counters tell how often something happened and a report tells how things stand; neither tells what happened at 10:31.
//! The keeper notes each change worth a person's attention here, in the order in which it happened, so that a log line,
//! a dashboard and a support ticket can speak of the same thing by the same name.
//!
//! Names are stable and in snake case. No event holds a secret, a query or a header; a route is its template. The list
//! keeps the last 256 entries. A refusal that repeats (a caller that polls a route it may not see) would push out
//! everything else, so the same verdict on the same route counts up in one entry while it is among the last few.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use crate::time::Boot;
use crate::token::Generation;
use crate::verdict::{Cause, Confidence};

/// Something that happened to a credential.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The token endpoint has issued a token.
    TokenMinted {
        /// Its place in the order of tokens.
        generation: Generation,
        /// Why it was asked for.
        reason: &'static str,
        /// How long the token request took.
        took_s: f64,
    },
    /// Another process had minted a token and put it into the store.
    TokenAdopted {
        /// Its place in the order of tokens.
        generation: Generation,
    },
    /// The store held a token at the start.
    TokenRestored {
        /// Its place in the order of tokens.
        generation: Generation,
    },
    /// The token endpoint answered with a token that was at hand already, or that had been given up.
    TokenUnchanged {
        /// The generation that the answer holds.
        generation: Generation,
    },
    /// A token began to serve.
    TokenPromoted {
        /// Its place in the order of tokens.
        generation: Generation,
    },
    /// A token is at hand no more.
    TokenRetired {
        /// Its place in the order of tokens.
        generation: Generation,
        /// Why.
        why: Retired,
    },
    /// A token request brought no token.
    RefreshFailed {
        /// The stable name of the failure.
        failure: &'static str,
        /// What was said, without any secret.
        detail: String,
        /// When the token endpoint is asked again.
        retry_in_s: f64,
    },
    /// Another process's token request had failed just now, and this one was not sent.
    RefreshPostponed {
        /// The stable name of that failure.
        failure: &'static str,
        /// When the token endpoint is asked.
        retry_in_s: f64,
    },
    /// There is nothing left to renew the token with.
    LoginRequired,
    /// This machine's calendar clock stepped.
    LocalClockStep {
        /// By how much; positive is forward.
        jump_s: f64,
    },
    /// A clock of the provider stepped.
    ServerClockStep {
        /// Where it was seen.
        source: &'static str,
        /// By how much; positive is forward.
        jump_s: f64,
    },
    /// A refusal was passed on to a caller, or a request could not be sent for want of a token.
    Verdict {
        /// The name of the last verdict of this entry.
        id: String,
        /// Why.
        cause: Cause,
        /// How sure that is.
        confidence: Confidence,
        /// The status that the caller saw.
        status: u16,
        /// The route's template.
        route: String,
    },
    /// New tokens do not help against refusals: for a while refusals ask for none.
    CircuitOpened {
        /// For how long.
        for_s: f64,
    },
    /// A token was accepted again.
    CircuitClosed,
}

/// Why a token is at hand no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retired {
    /// Newer tokens took its place.
    Replaced,
    /// It was refused and given up.
    Refused,
    /// Its life was over.
    Ended,
}

impl Event {
    /// The stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TokenMinted { .. } => "token_minted",
            Self::TokenAdopted { .. } => "token_adopted",
            Self::TokenRestored { .. } => "token_restored",
            Self::TokenUnchanged { .. } => "token_unchanged",
            Self::TokenPromoted { .. } => "token_promoted",
            Self::TokenRetired { .. } => "token_retired",
            Self::RefreshFailed { .. } => "refresh_failed",
            Self::RefreshPostponed { .. } => "refresh_postponed",
            Self::LoginRequired => "login_required",
            Self::LocalClockStep { .. } => "local_clock_step",
            Self::ServerClockStep { .. } => "server_clock_step",
            Self::Verdict { .. } => "verdict",
            Self::CircuitOpened { .. } => "circuit_opened",
            Self::CircuitClosed => "circuit_closed",
        }
    }

    /// Should a person look?
    #[must_use]
    pub const fn is_trouble(&self) -> bool {
        match self {
            Self::RefreshFailed { .. }
            | Self::RefreshPostponed { .. }
            | Self::LoginRequired
            | Self::LocalClockStep { .. }
            | Self::ServerClockStep { .. }
            | Self::Verdict { .. }
            | Self::CircuitOpened { .. }
            | Self::TokenRetired { why: Retired::Refused, .. } => true,
            Self::TokenMinted { .. }
            | Self::TokenAdopted { .. }
            | Self::TokenRestored { .. }
            | Self::TokenUnchanged { .. }
            | Self::TokenPromoted { .. }
            | Self::TokenRetired { .. }
            | Self::CircuitClosed => false,
        }
    }

    fn repeats(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Verdict { cause, status, route, .. },
                Self::Verdict { cause: other_cause, status: other_status, route: other_route, .. },
            ) => (cause, status, route) == (other_cause, other_status, other_route),
            _ => false,
        }
    }
}

impl fmt::Display for Event {
    /// A sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenMinted { generation, reason, took_s } => {
                write!(f, "token {generation} minted in {:.0} ms: {}", took_s * 1e3, reason.replace('_', " "))
            }
            Self::TokenAdopted { generation } => write!(f, "token {generation} adopted from another process"),
            Self::TokenRestored { generation } => write!(f, "token {generation} found in the store"),
            Self::TokenUnchanged { generation } => {
                write!(f, "token {generation} came again: the token endpoint has no newer one")
            }
            Self::TokenPromoted { generation } => write!(f, "token {generation} serves"),
            Self::TokenRetired { generation, why } => {
                let why = match why {
                    Retired::Replaced => "newer tokens took its place",
                    Retired::Refused => "it was refused and given up",
                    Retired::Ended => "its life was over",
                };
                write!(f, "token {generation} retired: {why}")
            }
            Self::RefreshFailed { detail, retry_in_s, .. } => {
                write!(f, "refresh failed: {detail}; next try in {retry_in_s:.0} s")
            }
            Self::RefreshPostponed { failure, retry_in_s } => {
                let failure = failure.replace('_', " ");
                write!(f, "refresh postponed: another process met a {failure}; next try in {retry_in_s:.0} s")
            }
            Self::LoginRequired => f.write_str("login required: the grant cannot be renewed"),
            Self::LocalClockStep { jump_s } => write!(f, "this machine's clock stepped by {jump_s:+.1} s"),
            Self::ServerClockStep { source, jump_s } => {
                write!(f, "the provider's clock stepped by {jump_s:+.1} s, seen at {source}")
            }
            Self::Verdict { id, cause, confidence, status, route } => {
                let how = confidence.name();
                write!(f, "verdict {cause} ({how}) on a {status}")?;
                if !route.is_empty() {
                    write!(f, " of {route}")?;
                }
                write!(f, ", {id}")
            }
            Self::CircuitOpened { for_s } => {
                write!(f, "circuit opened: new tokens do not help, refusals ask for none for {for_s:.0} s")
            }
            Self::CircuitClosed => f.write_str("circuit closed: a token was accepted"),
        }
    }
}

/// An event in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name in the list; it does not change when the entry counts up.
    pub id: u64,
    /// Grows with every change of the list: what changed after a known revision is news.
    pub revision: u64,
    /// When it happened, or last happened.
    pub at: Boot,
    /// How often.
    pub times: u64,
    /// What.
    pub event: Event,
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub struct EventLog {
    entries: VecDeque<Entry>,
    revision: u64,
    ids: u64,
}

impl EventLog {
    /// Notes an event.
    pub fn note(&mut self, event: Event, now: Boot) {
        self.revision += 1;
        let mut latest = self.entries.iter_mut().rev().take(LOOK_BACK);
        if let Some(entry) = latest.find(|entry| event.repeats(&entry.event)) {
            entry.times += 1;
            (entry.at, entry.revision, entry.event) = (now, self.revision, event);
            return;
        }
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.ids += 1;
        self.entries.push_back(Entry { id: self.ids, revision: self.revision, at: now, times: 1, event });
    }

    /// The revision of the last change; 0 while nothing has happened.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is new or has changed since a revision, in the order of the list.
    pub fn since(&self, revision: u64) -> impl Iterator<Item = &Entry> {
        // Most who ask have seen everything.
        let kept = if revision < self.revision { self.entries.len() } else { 0 };
        self.entries.iter().take(kept).filter(move |entry| entry.revision > revision)
    }
}

/// How many entries are kept.
const KEPT: usize = 256;
/// Among so many of the last entries the same verdict counts up instead of making a new entry.
const LOOK_BACK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const T0: Boot = Boot::from_secs(100);

    fn verdict(route: &str, id: &str) -> Event {
        Event::Verdict {
            id: id.to_owned(),
            cause: Cause::RouteSpecific,
            confidence: Confidence::Certain,
            status: 401,
            route: route.to_owned(),
        }
    }

    fn promoted(generation: u64) -> Event {
        Event::TokenPromoted { generation: Generation(generation) }
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_newest() {
        let mut log = EventLog::default();
        (0..1000).for_each(|n| log.note(promoted(n), T0));
        let kept: Vec<_> = log.since(0).collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.last().unwrap().event, promoted(999));
        assert_eq!((log.revision(), kept.last().unwrap().id), (1000, 1000));
    }

    #[test]
    fn a_repeated_verdict_counts_up_and_is_news_each_time() {
        let mut log = EventLog::default();
        log.note(verdict("GET /a", "1"), T0);
        log.note(promoted(1), T0);
        let known = log.revision();
        log.note(verdict("GET /a", "2"), T0 + Span::from_secs(5));
        let news: Vec<_> = log.since(known).collect();
        assert_eq!(news.len(), 1);
        assert_eq!((news[0].id, news[0].times, news[0].at), (1, 2, T0 + Span::from_secs(5)));
        assert_eq!(news[0].event, verdict("GET /a", "2"));
        log.note(verdict("GET /b", "3"), T0);
        assert_eq!(log.since(0).count(), 3, "another route is another entry");
    }

    #[test]
    fn a_storm_of_refusals_leaves_room_for_what_matters() {
        let mut log = EventLog::default();
        log.note(promoted(1), T0);
        (0..10_000).for_each(|n| log.note(verdict(if n % 2 == 0 { "GET /a" } else { "GET /b" }, "x"), T0));
        assert_eq!(log.since(0).count(), 3);
    }

    #[test]
    fn a_name_is_the_same_in_json_and_in_code() {
        let generation = Generation(7);
        for event in [
            Event::TokenMinted { generation, reason: "scheduled", took_s: 0.012 },
            Event::TokenAdopted { generation },
            Event::TokenRestored { generation },
            Event::TokenUnchanged { generation },
            promoted(7),
            Event::TokenRetired { generation, why: Retired::Ended },
            Event::RefreshFailed { failure: "server_error", detail: "503".to_owned(), retry_in_s: 2.0 },
            Event::RefreshPostponed { failure: "server_error", retry_in_s: 2.0 },
            Event::LoginRequired,
            Event::LocalClockStep { jump_s: -3600.0 },
            Event::ServerClockStep { source: "api_date", jump_s: 4.0 },
            verdict("GET /a", "1"),
            Event::CircuitOpened { for_s: 30.0 },
            Event::CircuitClosed,
        ] {
            assert_eq!(serde_json::to_value(&event).unwrap()["event"], event.name());
            assert!(!event.to_string().is_empty());
        }
    }
}
