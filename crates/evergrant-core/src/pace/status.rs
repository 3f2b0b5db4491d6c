//! What a pacer shows of itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rules::WhenLimited;

/// The rate budget of one token at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct PaceStatus {
    /// What happens to requests that cannot be sent now.
    pub when_limited: WhenLimited,
    /// Requests allowed in a window, if a limit is known.
    pub allowed: Option<u32>,
    /// Requests used in the current window, those on their way included.
    pub used: Option<u32>,
    /// Seconds until the window ends, as far as is known.
    pub reset_in_s: Option<f64>,
    /// Seconds for which nothing is sent because of a 429.
    pub blocked_for_s: Option<f64>,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// What has been counted since the start.
    #[serde(flatten)]
    pub counts: PaceCounts,
    /// The callers of the current window; of many the twenty that sent most.
    pub callers: BTreeMap<String, CallerPace>,
}

/// What is counted since the start.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PaceCounts {
    /// Requests that had to wait.
    pub waited_total: u64,
    /// Requests answered with 429 without being sent.
    pub answered_429: u64,
    /// 429s that the provider sent.
    pub upstream_429: u64,
}

/// One caller's part.
#[derive(Clone, Debug, Serialize)]
pub struct CallerPace {
    /// For how much it counts.
    pub weight: u32,
    /// Requests sent in this window.
    pub sent: u32,
    /// Requests waiting.
    pub waiting: usize,
}
