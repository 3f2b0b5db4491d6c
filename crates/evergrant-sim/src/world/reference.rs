//! A keeper so simple that one can believe it, beside the real one.
//!
//! It knows every token that came and when, and what became of requests with it. It decides nothing. It says three
//! things: a token must not be handed out after its announced life is certainly over; not while it is known to be dead
//! and a newer one works; and a caller must not go without while a token that came to this process still works.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};

/// Every token that came.
#[derive(Default)]
pub(super) struct Reference {
    tokens: BTreeMap<String, Known>,
}

/// What is known of one token.
struct Known {
    came: Boot,
    over: Boot,
    refused_since: Option<Boot>,
    refusals: u32,
    last_success: Option<Boot>,
}

impl Reference {
    pub(super) fn minted(&mut self, token: &str, lifetime: Option<Span>, sent: Boot, now: Boot) {
        let life = lifetime.map_or(Span::MAX, |life| life + life.drift(TOLERANCE_PPM) + (now - sent));
        let known = Known { came: now, over: sent + life, refused_since: None, refusals: 0, last_success: None };
        self.tokens.insert(token.to_owned(), known);
        while self.tokens.len() > KEPT {
            let oldest = self.tokens.iter().min_by_key(|(_, known)| known.came).map(|(token, _)| token.clone());
            oldest.and_then(|token| self.tokens.remove(&token));
        }
    }

    /// The process that knew what was refused is gone.
    pub(super) fn forget_grants(&mut self) {
        self.tokens.values_mut().for_each(|known| (known.refused_since, known.refusals) = (None, 0));
    }

    pub(super) fn answered(&mut self, token: &str, refused: bool, now: Boot) {
        let Some(known) = self.tokens.get_mut(token) else { return };
        if refused {
            known.refused_since.get_or_insert(now);
            known.refusals += 1;
        } else {
            (known.refused_since, known.refusals, known.last_success) = (None, 0, Some(now));
        }
    }

    /// A token is handed out.
    pub(super) fn granted(&self, token: &str, now: Boot) -> Result<(), String> {
        let Some(known) = self.tokens.get(token) else { return Ok(()) };
        if now > known.over {
            return Err(format!("a token is handed out {} after its end", now - known.over));
        }
        let is_newer_good = self
            .tokens
            .values()
            .any(|other| other.came > known.came && other.refusals == 0 && other.last_success > known.refused_since);
        match known.refused_since {
            Some(since) if is_newer_good && now - since > PATIENCE && known.refusals > 2 => {
                Err(format!("a token is handed out {} after it was first refused, and a newer one works", now - since))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How old a token is that worked all along, by the provider's word, if there is one.
    pub(super) fn usable(&self, started: Boot, now: Boot, works: impl Fn(&str) -> bool) -> Option<Span> {
        let was_at_hand = |known: &Known| known.came < started && known.refusals == 0 && now + MARGIN < known.over;
        let found = self.tokens.iter().find(|(token, known)| was_at_hand(known) && works(token));
        found.map(|(_, known)| now - known.came)
    }
}

/// What the keeper allows for clocks that run apart.
const TOLERANCE_PPM: i64 = 201;
const PATIENCE: Span = Span::from_secs(20);
const MARGIN: Span = Span::from_secs(1);
const KEPT: usize = 8;
