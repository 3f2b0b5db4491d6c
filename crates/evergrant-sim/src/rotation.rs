//! Refresh tokens: families, rotation, grace, reuse detection.
//!
//! Refresh tokens of one sign-in form a family. With rotation each is spent by its first use. A spent one still answers
//! within the grace as long as its successor was not used, which is how a client recovers from a lost answer. Any later
//! use is reuse: `invalid_grant`, and with detection on the whole family and its access tokens end (RFC 9700 section
//! 4.14.2). The grace counts from the first use and is not renewed by a use within it.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};

use crate::config::{ClientConfig, InGrace, RotationConfig};
use crate::seed::Seed;
use crate::tokens::Generation;

/// What presenting a refresh token means.
pub(crate) enum Use {
    /// No refresh token of this client, or of a family that ended.
    Unknown,
    /// Its first use.
    First,
    /// The token just spent, again within its grace.
    SamePair { generation: Generation, successor: String },
    /// The same, where the grace gives a new pair.
    NewPair,
    /// A spent token beyond its grace.
    Reuse,
}

/// All refresh tokens of a provider.
pub(crate) struct RefreshBook {
    tokens: BTreeMap<String, RefreshToken>,
    families: Vec<Family>,
}

struct RefreshToken {
    family: usize,
    spent: Option<Spent>,
}

struct Spent {
    at: Boot,
    generation: Generation,
    successor: String,
}

struct Family {
    client: usize,
    revoked: bool,
    generations: Vec<Generation>,
}

impl RefreshBook {
    /// The book of the refresh tokens that clients hold at the start.
    pub(crate) fn new(clients: &[ClientConfig]) -> Self {
        let mut book = Self { tokens: BTreeMap::new(), families: Vec::new() };
        for (client, config) in clients.iter().enumerate() {
            if let Some(text) = &config.refresh_token {
                let family = book.families.len();
                book.families.push(Family { client, revoked: false, generations: Vec::new() });
                book.tokens.insert(text.clone(), RefreshToken { family, spent: None });
            }
        }
        book
    }

    /// Begins the family of a new sign-in, with its first refresh token.
    pub(crate) fn begin(&mut self, client: usize, generation: Generation, seed: &mut Seed) -> String {
        let (family, text) = (self.families.len(), format!("rt-{}", seed.text(6)));
        self.families.push(Family { client, revoked: false, generations: vec![generation] });
        self.tokens.insert(text.clone(), RefreshToken { family, spent: None });
        text
    }

    /// Ends every refresh token.
    pub(crate) fn revoke_all(&mut self) {
        self.families.iter_mut().for_each(|family| family.revoked = true);
    }

    /// The texts of all refresh tokens.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.tokens.keys().map(String::as_str)
    }

    /// What a refresh token is good for, if this client presents it now.
    pub(crate) fn look(&self, text: &str, client: usize, rotation: &RotationConfig, now: Boot) -> Use {
        let Some(token) = self.tokens.get(text) else {
            return Use::Unknown;
        };
        let family = &self.families[token.family];
        if family.client != client || family.revoked {
            return Use::Unknown;
        }
        let Some(spent) = &token.spent else {
            return Use::First;
        };
        let successor_is_unused = self.tokens.get(&spent.successor).is_some_and(|next| next.spent.is_none());
        if !successor_is_unused || now - spent.at > rotation.grace || rotation.grace <= Span::ZERO {
            return Use::Reuse;
        }
        match rotation.in_grace {
            InGrace::SamePair => Use::SamePair { generation: spent.generation, successor: spent.successor.clone() },
            InGrace::NewPair => Use::NewPair,
        }
    }

    /// Notes the use of a good refresh token; with rotation returns its successor.
    pub(crate) fn spend(
        &mut self,
        text: &str,
        generation: Generation,
        rotation: &RotationConfig,
        seed: &mut Seed,
        now: Boot,
    ) -> Option<String> {
        let token = self.tokens.get_mut(text)?;
        let family = token.family;
        self.families[family].generations.push(generation);
        if !rotation.rotate {
            return None;
        }
        let successor = format!("rt-{}", seed.text(6));
        // A second use in the grace keeps the time of the first: the grace is not renewed.
        let at = token.spent.as_ref().map_or(now, |spent| spent.at);
        token.spent = Some(Spent { at, generation, successor: successor.clone() });
        self.tokens.insert(successor.clone(), RefreshToken { family, spent: None });
        Some(successor)
    }

    /// Ends a family and returns the access tokens that came from it.
    pub(crate) fn revoke_family_of(&mut self, text: &str) -> Vec<Generation> {
        let Some(token) = self.tokens.get(text) else {
            return Vec::new();
        };
        let family = &mut self.families[token.family];
        family.revoked = true;
        std::mem::take(&mut family.generations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CLIENT_SECRET, ProviderConfig, REFRESH_TOKEN};
    use crate::ledger::TokenOutcome;
    use crate::provider::Request;
    use crate::stage::{Stage, text};

    fn rotating(grace_secs: i64, in_grace: InGrace) -> ProviderConfig {
        let mut config = ProviderConfig::rfc().with_lifetime(Span::from_secs(60));
        config.rotation =
            RotationConfig { rotate: true, reuse_detection: true, grace: Span::from_secs(grace_secs), in_grace };
        config
    }

    fn outcomes(stage: &Stage, outcome: TokenOutcome) -> u64 {
        stage.provider.ledger().token_requests_ended(outcome)
    }

    #[test]
    fn a_refresh_token_works_once_and_its_reuse_ends_the_family() {
        let mut stage = Stage::new(rotating(0, InGrace::SamePair));
        let (_, first) = stage.refresh(REFRESH_TOKEN);
        let (_, second) = stage.refresh(&text(&first, "refresh_token"));
        assert_eq!(stage.call(&text(&second, "access_token")), 200);
        let (status, body) = stage.refresh(REFRESH_TOKEN);
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")));
        assert_eq!(outcomes(&stage, TokenOutcome::ReuseDetected), 1);
        assert_eq!(stage.call(&text(&first, "access_token")), 401);
        assert_eq!(stage.call(&text(&second, "access_token")), 401);
        assert_eq!(stage.refresh(&text(&second, "refresh_token")).0, 400, "the newest of the family is dead as well");
    }

    #[test]
    fn without_detection_reuse_is_refused_and_nothing_else_happens() {
        let mut config = rotating(0, InGrace::SamePair);
        config.rotation.reuse_detection = false;
        let mut stage = Stage::new(config);
        let (_, first) = stage.refresh(REFRESH_TOKEN);
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, 400);
        assert_eq!(stage.call(&text(&first, "access_token")), 200);
        assert_eq!(stage.refresh(&text(&first, "refresh_token")).0, 200);
    }

    #[test]
    fn without_rotation_the_refresh_token_stays_and_is_not_repeated() {
        let mut config = rotating(0, InGrace::SamePair);
        config.rotation.rotate = false;
        let mut stage = Stage::new(config);
        for _ in 0..3 {
            let (status, body) = stage.refresh(REFRESH_TOKEN);
            assert_eq!((status, &body["refresh_token"]), (200, &serde_json::Value::Null));
        }
    }

    #[test]
    fn within_the_grace_the_previous_token_gives_the_same_pair() {
        let mut stage = Stage::new(rotating(10, InGrace::SamePair));
        let (_, first) = stage.refresh(REFRESH_TOKEN);
        stage.pass_ms(10_000);
        let (status, again) = stage.refresh(REFRESH_TOKEN);
        assert_eq!(status, 200);
        assert_eq!(
            (&again["access_token"], &again["refresh_token"]),
            (&first["access_token"], &first["refresh_token"])
        );
        assert_eq!((first["expires_in"].as_i64(), again["expires_in"].as_i64()), (Some(60), Some(50)));
        assert_eq!(outcomes(&stage, TokenOutcome::IssuedAgain), 1);
        stage.pass_ms(1);
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, 400, "the grace counts from the first use");
        assert_eq!(outcomes(&stage, TokenOutcome::ReuseDetected), 1);
    }

    #[test]
    fn within_the_grace_the_previous_token_gives_a_new_pair_if_so_configured() {
        let mut stage = Stage::new(rotating(10, InGrace::NewPair));
        let (_, lost) = stage.refresh(REFRESH_TOKEN);
        stage.pass_ms(5_000);
        let (status, again) = stage.refresh(REFRESH_TOKEN);
        assert_eq!(status, 200);
        assert_ne!(again["refresh_token"], lost["refresh_token"]);
        stage.pass_ms(5_001);
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, 400, "a use in the grace does not renew it");
    }

    #[test]
    fn the_grace_ends_when_the_successor_is_used() {
        let mut stage = Stage::new(rotating(10, InGrace::SamePair));
        let (_, first) = stage.refresh(REFRESH_TOKEN);
        assert_eq!(stage.refresh(&text(&first, "refresh_token")).0, 200);
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, 400);
        assert_eq!(outcomes(&stage, TokenOutcome::ReuseDetected), 1);
    }

    #[test]
    fn a_refresh_token_belongs_to_its_client() {
        let mut config = rotating(0, InGrace::SamePair);
        let other = ClientConfig { id: "other".to_owned(), refresh_token: None, ..ClientConfig::default() };
        config.clients.push(other);
        let mut stage = Stage::new(config);
        let form = [("grant_type", "refresh_token"), ("refresh_token", REFRESH_TOKEN)];
        let stolen = stage.answer(&Request::token(&form).basic("other", CLIENT_SECRET));
        assert_eq!(stolen.status(), 400);
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, 200);
    }
}
