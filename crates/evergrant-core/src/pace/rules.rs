//! What a pacer is told: who counts for how much, what may wait, and what happens to those who may not.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::time::Span;

/// How a limit is shared out. It does not change while a pacer lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaceRules {
    /// What happens to a request that cannot be sent now.
    pub when_limited: WhenLimited,
    /// The limit of a provider that names none in its answers.
    pub fixed: Option<RateLimit>,
    /// The weight of callers by name; a caller without one has weight 1.
    pub weights: BTreeMap<String, u32>,
    /// The most requests that wait.
    pub queue: usize,
    /// The most requests of one caller that wait.
    pub queue_per_caller: usize,
}

impl PaceRules {
    /// The highest weight.
    pub const MOST_WEIGHT: u32 = 1_000;
    /// The most characters of a caller's name that count.
    pub const LONGEST_NAME: usize = 64;

    /// The weight of a caller, at least 1.
    #[must_use]
    pub fn weight(&self, caller: &CallerKey) -> u32 {
        let named = match caller {
            CallerKey::Named(name) | CallerKey::Handle(name) => self.weights.get(name).copied(),
            CallerKey::Connection(_) | CallerKey::User(_) | CallerKey::Others => None,
        };
        named.unwrap_or(1).clamp(1, Self::MOST_WEIGHT)
    }
}

impl Default for PaceRules {
    fn default() -> Self {
        Self {
            when_limited: WhenLimited::Wait,
            fixed: None,
            weights: BTreeMap::new(),
            queue: 1_000,
            queue_per_caller: 250,
        }
    }
}

/// What happens to a request that cannot be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLimited {
    /// It waits for its turn.
    #[default]
    Wait,
    /// It is answered with 429 and the time left. Nothing is spread out: what is left goes to who asks first.
    Answer,
}

/// So many requests in each window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// How many.
    pub allowed: u32,
    /// The length of the window.
    pub window: Span,
}

/// Who sends a request, as far as fairness goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CallerKey {
    /// A program that gives itself a name.
    Named(String),
    /// Whoever holds this local handle, by the handle's public name.
    Handle(String),
    /// Whoever is at the other end of this connection.
    Connection(SocketAddr),
    /// A user of this machine who comes through a Unix socket, by number, if the system tells.
    User(Option<u32>),
    /// Everyone for whom there was no room to be counted alone.
    Others,
}

impl fmt::Display for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Handle(name) => write!(f, "handle {name}"),
            Self::Connection(addr) => addr.fmt(f),
            Self::User(Some(uid)) => write!(f, "uid {uid}"),
            Self::User(None) => f.write_str("unknown user"),
            Self::Others => f.write_str("others"),
        }
    }
}
