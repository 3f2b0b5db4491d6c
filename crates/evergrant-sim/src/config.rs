//! What a provider is like, as data.
//!
//! A [`ProviderConfig`] says everything that holds from the start: the clock, the nodes, the clients, the life of
//! tokens, rotation, limits and latency. What changes while the provider runs is an [`Event`](crate::faults::Event).
//! The default is a well-behaved Genesys Cloud region with one node; each field makes it harder in one way.
//!
//! Spans serialise as nanoseconds. The secrets in here are made up for tests, and still never printed by `Debug`.

use std::fmt;

use evergrant_core::time::Span;
use serde::{Deserialize, Serialize};

use crate::faults::Faults;

/// The id of the client that every default configuration knows.
pub const CLIENT_ID: &str = "sim-client";
/// The secret of that client, of a form that is easy to find in a log.
pub const CLIENT_SECRET: &str = "sim-secret-6b1d0c57e2";
/// The refresh token that client holds at the start.
pub const REFRESH_TOKEN: &str = "sim-refresh-0-93fa41c8de";

/// Everything about a provider that is known before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Chooses nodes, delays, token text and chance faults.
    pub seed: u64,
    /// How errors look.
    pub shape: Shape,
    /// The issuer's clock.
    pub clock: ClockConfig,
    /// The resource nodes; at least one is always made.
    pub nodes: Vec<NodeConfig>,
    /// How a request finds its node. A request header `sim-node: N` overrides it.
    pub routing: Routing,
    /// The path of the token endpoint.
    pub token_path: String,
    /// The clients that may ask for tokens.
    pub clients: Vec<ClientConfig>,
    /// How clients may authenticate.
    pub client_auth: ClientAuth,
    /// The life of access tokens.
    pub tokens: TokenConfig,
    /// What happens to refresh tokens.
    pub rotation: RotationConfig,
    /// How many tokens a client may mint, if limited.
    pub mint_limit: Option<MintLimit>,
    /// How many requests the API takes with one token, if limited.
    pub rate_limit: Option<RateLimit>,
    /// How long answers take without a fault.
    pub latency: Latency,
    /// What the `Date` field shows.
    pub date: DateHeader,
    /// Is a bad token refused on the head of a request, while its body is still coming in?
    pub refuse_early: bool,
    /// What goes wrong from the start.
    pub faults: Faults,
}

impl ProviderConfig {
    /// Shaped like Genesys Cloud: its error bodies, no challenge on a 401, and `expires_in` one second short.
    #[must_use]
    pub fn genesys() -> Self {
        Self::default()
    }

    /// Shaped like RFC 6749 and RFC 6750.
    #[must_use]
    pub fn rfc() -> Self {
        let tokens = TokenConfig { expires_in: ExpiresIn::Whole, ..TokenConfig::default() };
        Self { shape: Shape::Rfc, tokens, ..Self::default() }
    }

    /// With this life for each access token, announced to the second.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Span) -> Self {
        self.tokens.lifetime = lifetime;
        self
    }

    /// With the issuer's clock this far ahead of the true time; negative is behind.
    #[must_use]
    pub fn with_offset(mut self, offset: Span) -> Self {
        self.clock.offset = offset;
        self
    }

    /// With this many nodes, each like the first one.
    #[must_use]
    pub fn with_nodes(mut self, count: usize) -> Self {
        let like = self.nodes.first().cloned().unwrap_or_default();
        self.nodes = vec![like; count.max(1)];
        self
    }

    /// With this delay until each node knows a new token.
    #[must_use]
    pub fn with_propagation(mut self, delay: Delay) -> Self {
        for node in &mut self.nodes {
            node.propagation = delay;
        }
        self
    }

    /// With this seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            shape: Shape::Genesys,
            clock: ClockConfig::default(),
            nodes: vec![NodeConfig::default()],
            routing: Routing::RoundRobin,
            token_path: "/oauth/token".to_owned(),
            clients: vec![ClientConfig::default()],
            client_auth: ClientAuth::Any,
            tokens: TokenConfig::default(),
            rotation: RotationConfig::default(),
            mint_limit: None,
            rate_limit: None,
            latency: Latency::default(),
            date: DateHeader::Live,
            refuse_early: false,
            faults: Faults::default(),
        }
    }
}

/// The form of errors and challenges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Genesys Cloud: `ErrorBody` on the API, both description fields on the login host, no challenge.
    Genesys,
    /// RFC 6749 errors and RFC 6750 challenges.
    Rfc,
    /// As [`Shape::Rfc`], but a 401 of the API carries neither challenge nor body.
    RfcBare,
}

/// How the issuer's clock relates to the true time.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// The issuer's clock minus the true calendar time at the start.
    pub offset: Span,
    /// Microseconds gained in each second.
    pub drift_ppm: i64,
}

/// One resource node.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// This node's clock minus the issuer's.
    pub clock_offset: Span,
    /// How long this node takes to learn of a new token.
    pub propagation: Delay,
}

/// How a request finds its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// Each request goes to the next node.
    RoundRobin,
    /// The seed chooses.
    Seeded,
}

/// A client of the token endpoint.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: String,
    /// The scopes it may ask for; empty: none are checked and those asked for are granted.
    pub scopes: Vec<String>,
    /// The refresh token it holds at the start, if any.
    pub refresh_token: Option<String>,
    /// May it use the client credentials grant?
    pub client_credentials: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            id: CLIENT_ID.to_owned(),
            secret: CLIENT_SECRET.to_owned(),
            scopes: Vec::new(),
            refresh_token: Some(REFRESH_TOKEN.to_owned()),
            client_credentials: true,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("id", &self.id).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// Which ways of client authentication are accepted (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Either way, but not both in one request.
    Any,
    /// HTTP Basic only.
    Basic,
    /// In the form only.
    Post,
}

/// The life of access tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// How long a token works, by the clocks of issuer and node.
    pub lifetime: Span,
    /// What the answer says about it.
    pub expires_in: ExpiresIn,
    /// What the token's text is.
    pub format: TokenFormat,
    /// A JWT's `nbf` minus its `iat`; unused for opaque tokens.
    pub not_before: Span,
    /// Does a new token end the client's older ones at once, on all nodes?
    pub revoke_old: bool,
    /// How many live tokens a client may have; one more ends the oldest.
    pub cap: Option<usize>,
    /// A token unused for this long ends.
    pub idle_timeout: Option<Span>,
    /// Every token is revoked at this part of its life, in thousandths.
    pub revoke_at_permille: Option<u16>,
    /// Every token is revoked once it was used this often.
    pub max_uses: Option<u32>,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            lifetime: Span::from_secs(86_400),
            expires_in: ExpiresIn::MinusOne,
            format: TokenFormat::Opaque,
            not_before: Span::ZERO,
            revoke_old: false,
            cap: None,
            idle_timeout: None,
            revoke_at_permille: None,
            max_uses: None,
        }
    }
}

/// The text of an access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// Random text.
    Opaque,
    /// Three parts in the form of a JWT with `iat`, `nbf` and `exp`, which nodes check by their own clock. The
    /// signature is random: nobody here checks one.
    Jwt,
}

/// What the `expires_in` of a token answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresIn {
    /// The life left in whole seconds, rounded down.
    Whole,
    /// One second less, as Genesys Cloud does.
    MinusOne,
    /// The same number as a JSON string.
    Text,
    /// Absent.
    Missing,
    /// This number, whatever the truth is.
    Says(i64),
}

/// What happens to refresh tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RotationConfig {
    /// Does each use give a new refresh token?
    pub rotate: bool,
    /// Does a second use of a spent refresh token revoke the whole family (RFC 9700 section 4.14.2)?
    pub reuse_detection: bool,
    /// For how long the refresh token just spent still answers.
    pub grace: Span,
    /// What it answers then.
    pub in_grace: InGrace,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self { rotate: true, reuse_detection: true, grace: Span::ZERO, in_grace: InGrace::SamePair }
    }
}

/// What the previous refresh token gives within its grace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InGrace {
    /// The pair that its first use gave.
    SamePair,
    /// A new pair; the one given before stays usable.
    NewPair,
}

/// How many tokens a client may mint.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintLimit {
    /// This many.
    pub count: usize,
    /// Within this time.
    pub window: Span,
    /// The answer to one more.
    pub answer: LimitAnswer,
}

/// How many requests the API takes with one token.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// This many.
    pub count: u32,
    /// In each window of this length. The first begins with the token's first request, the others follow one another.
    pub window: Span,
    /// Do answers tell the count, the limit and the time left?
    pub is_told: bool,
}

impl RateLimit {
    /// 300 requests a minute, as Genesys Cloud allows and tells.
    pub const GENESYS: Self = Self { count: 300, window: Span::from_secs(60), is_told: true };
}

/// How a mint limit is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAnswer {
    /// 400 `invalid_request`, "rate limit exceeded; ...", without `Retry-After`, as Genesys Cloud.
    BadRequest,
    /// 429 with `Retry-After` in seconds.
    TooManyRequests,
    /// 429 with `Retry-After` as a date of the issuer's clock.
    TooManyRequestsDate,
}

/// What the `Date` field of answers shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateHeader {
    /// The clock of the issuer or node that answers.
    Live,
    /// There is none.
    Absent,
    /// The moment at which this was configured, for ever, as from a server whose date cache hangs.
    Frozen,
    /// A date this many seconds old, with `Age`, as from a cache in between.
    Cached {
        /// The age.
        age_secs: u32,
    },
}

/// How long answers take without a fault.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Of the token endpoint. A token is issued when the request arrives, so its life runs while the answer travels.
    pub token: Delay,
    /// Of the API.
    pub api: Delay,
}

/// A range of delays, drawn evenly.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// The shortest.
    pub min: Span,
    /// The longest.
    pub max: Span,
}

impl Delay {
    /// No delay.
    pub const NONE: Self = Self::fixed(Span::ZERO);

    /// Always the same delay.
    #[must_use]
    pub const fn fixed(span: Span) -> Self {
        Self { min: span, max: span }
    }

    /// Anything from `min` to `max`.
    #[must_use]
    pub const fn uniform(min: Span, max: Span) -> Self {
        Self { min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_survives_json_and_refuses_unknown_keys() {
        let config = ProviderConfig::rfc().with_nodes(3).with_offset(Span::from_secs(-90));
        let json = serde_json::to_string(&config).unwrap();
        let back: ProviderConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
        assert!(serde_json::from_str::<ProviderConfig>(r#"{"sheed":1}"#).is_err());
    }

    #[test]
    fn a_config_never_prints_its_secrets() {
        let text = format!("{:?}", ProviderConfig::default());
        assert!(!text.contains(CLIENT_SECRET) && !text.contains(REFRESH_TOKEN), "{text}");
    }
}
