//! How often callers may present a wrong client secret.
//!
//! A secret that is checked on a local port can be guessed at the speed of loopback. So failures are counted: a few a
//! minute for each peer, more in total, and beyond that nobody is told whether a secret is right until the minute has
//! passed, not even a caller whose secret is.
//!
//! Presenting the same wrong secret again is no guess. A job with yesterday's secret that runs every second would
//! otherwise lock out everybody else on the machine; it gets its refusal and counts once. What was presented is kept as
//! a hash, salted by the table's own random number.
//!
//! Limits: peers are told apart by address, so all programs of one machine that call over loopback are one peer.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use evergrant_core::time::{Boot, Span};
use sha2::{Digest as _, Sha256};

/// Failures in the last minute.
#[derive(Debug)]
pub(crate) struct Tries {
    salt: [u8; 16],
    failures: Mutex<VecDeque<Failure>>,
}

#[derive(Debug)]
struct Failure {
    at: Boot,
    peer: String,
    presented: [u8; 32],
}

impl Tries {
    pub(crate) fn new() -> Self {
        let mut salt = [0_u8; 16];
        // Without randomness the hashes are unsalted, which costs nothing as long as nobody reads this memory.
        _ = getrandom::fill(&mut salt);
        Self { salt, failures: Mutex::default() }
    }

    /// May `peer` have its credentials checked? If not: after this long it may.
    pub(crate) fn admit(&self, peer: &str, now: Boot) -> Result<(), Span> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        while failures.front().is_some_and(|failure| now - failure.at >= WINDOW) {
            failures.pop_front();
        }
        let of_peer = failures.iter().filter(|failure| failure.peer == peer);
        let wait = |oldest_that_counts: Option<Boot>| oldest_that_counts.map(|at| at + WINDOW - now);
        // The failure that must have left the window before one more fits in.
        let peer_wait = wait(of_peer.map(|failure| failure.at).rev().nth(PER_PEER - 1));
        let total_wait = wait(failures.iter().map(|failure| failure.at).rev().nth(IN_TOTAL - 1));
        peer_wait.max(total_wait).map_or(Ok(()), Err)
    }

    /// `peer` presented these wrong credentials. Is it the first time within the window?
    pub(crate) fn note_failure(&self, peer: &str, id: &str, secret: &str, now: Boot) -> bool {
        let presented = self.hash(id, secret);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.iter().any(|failure| failure.presented == presented && failure.peer == peer) {
            return false;
        }
        failures.push_back(Failure { at: now, peer: peer.to_owned(), presented });
        true
    }

    fn hash(&self, id: &str, secret: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(id.len().to_be_bytes());
        hash.update(id);
        hash.update(secret);
        hash.finalize().into()
    }
}

const WINDOW: Span = Span::from_secs(60);
const PER_PEER: usize = 10;
const IN_TOTAL: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Boot {
        Boot::from_secs(secs)
    }

    #[test]
    fn ten_guesses_a_minute_are_looked_at() {
        let tries = Tries::new();
        for n in 0..10 {
            assert_eq!(tries.admit("a", at(n)), Ok(()), "guess {n}");
            tries.note_failure("a", "id", &format!("guess {n}"), at(n));
        }
        assert_eq!(tries.admit("a", at(10)), Err(Span::from_secs(50)));
        assert_eq!(tries.admit("b", at(10)), Ok(()), "another peer");
        assert_eq!(tries.admit("a", at(59)), Err(Span::from_secs(1)));
        assert_eq!(tries.admit("a", at(60)), Ok(()), "the first has left the window");
        tries.note_failure("a", "id", "guess 10", at(60));
        assert_eq!(tries.admit("a", at(60)), Err(Span::from_secs(1)));
    }

    #[test]
    fn the_same_wrong_secret_again_is_no_guess() {
        let tries = Tries::new();
        for n in 0..500 {
            assert_eq!(tries.admit("a", at(n / 10)), Ok(()), "try {n}");
            tries.note_failure("a", "id", "yesterday's", at(n / 10));
        }
    }

    #[test]
    fn many_peers_together_are_bounded_too() {
        let tries = Tries::new();
        for n in 0..60 {
            tries.note_failure(&format!("peer {}", n / 9), "id", &n.to_string(), at(0));
        }
        assert_eq!(tries.admit("a new peer", at(1)), Err(Span::from_secs(59)));
    }

    #[test]
    fn no_presented_secret_is_kept() {
        let tries = Tries::new();
        tries.note_failure("a", "id", "almost-the-secret", at(0));
        assert!(!format!("{tries:?}").contains("almost-the-secret"));
    }
}
