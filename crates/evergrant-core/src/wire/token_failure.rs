//! Why a token request brought no token, sorted by what helps: wait, ask a person, or ask again at once.
//!
//! The kind drives the keeper. Only an RFC 6749 error body with status 400 or 401 is a considered answer of the
//! authorization server and therefore permanent until something changes; a firewall's 403 page or a torn body says
//! nothing about the credential, and giving up on one has kept other clients dead for days. A second question matters
//! for rotating refresh tokens: may the server have acted although we saw no token? Then the old refresh token may be
//! spent already, and [`TokenFailureKind::answer_may_be_lost`] says so.
//!
//! Source: RFC 6749 section 5.2.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::RetryAfter;
use super::text::{clean_name, clean_text};
use crate::secret::Secret;

/// A token request that brought no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFailure {
    /// What went wrong.
    pub kind: TokenFailureKind,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The `error` of an RFC 6749 body.
    pub code: Option<String>,
    /// What the server said, or for a failed connection what the transport said. One short line without secrets.
    pub description: Option<String>,
    /// What exactly was wrong with the answer, for [`TokenFailureKind::Malformed`].
    pub defect: Option<Defect>,
    /// How long the server asked us to wait. Filled in by the caller, who has the headers.
    pub retry_after: Option<RetryAfter>,
}

impl TokenFailure {
    /// A failure of this kind with nothing else known.
    #[must_use]
    pub fn of(kind: TokenFailureKind) -> Self {
        Self { kind, status: None, code: None, description: None, defect: None, retry_after: None }
    }

    /// The same failure with an HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same failure with the `error` code of the answer.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self { code: clean_name(code), ..self }
    }

    /// The same failure with a description, cleaned of control characters and of words that look like secrets.
    #[must_use]
    pub fn with_description(self, description: &str) -> Self {
        Self { description: clean_text(description), ..self }
    }

    /// The same failure without a secret that the server repeated in its words.
    #[must_use]
    pub fn without_secret(self, secret: &Secret) -> Self {
        if secret.expose().len() < SHORTEST_SECRET {
            return self;
        }
        let clean = |text: String| text.replace(secret.expose(), "[redacted]");
        Self { code: self.code.map(clean), description: self.description.map(clean), ..self }
    }

    /// May the server have spent the refresh token? A server error may come after the deed; 503 says that it did not begin.
    #[must_use]
    pub fn refresh_token_may_be_spent(&self) -> bool {
        let may_have_begun = self.kind == TokenFailureKind::ServerError && self.status != Some(503);
        self.kind.answer_may_be_lost() || may_have_begun
    }

    pub(super) fn malformed(status: u16, defect: Defect) -> Self {
        Self { defect: Some(defect), ..Self::of(TokenFailureKind::Malformed).with_status(status) }
    }
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => f.write_str(code)?,
            None => write!(f, "{}", self.kind)?,
        }
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if let Some(defect) = self.defect {
            write!(f, ": {defect}")?;
        }
        if let Some(description) = &self.description {
            write!(f, ": {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TokenFailure {}

/// The kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFailureKind {
    /// The refresh token, code or assertion is expired, revoked or was used before.
    InvalidGrant,
    /// The same, of a refresh token that an earlier request had spent, whose answer was never stored.
    RotationLost,
    /// The client id or secret was refused.
    InvalidClient,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The requested scope is unknown or not allowed.
    InvalidScope,
    /// The server does not offer this grant.
    UnsupportedGrantType,
    /// Too many token requests: status 429, or the provider's own way to say so.
    RateLimited,
    /// A 5xx status.
    ServerError,
    /// A successful status, but no token that can be used: torn, empty, not JSON, no `access_token`.
    #[serde(rename = "malformed_answer")]
    Malformed,
    /// The request was sent and the connection ended before the whole answer came.
    #[serde(rename = "answer_lost")]
    Lost,
    /// The request was never sent: connection refused, unknown host, TLS failure.
    Unreachable,
    /// No answer in time. The request may have been sent.
    TimedOut,
    /// A redirect. Token requests follow none, so the token URL is wrong.
    Redirected,
    /// Any other refusal, such as a 403 page of a firewall. Retried slowly.
    Rejected,
}

impl TokenFailureKind {
    /// Will the same request fail until a person or another process changes something?
    #[must_use]
    pub fn is_permanent(self) -> bool {
        match self {
            Self::InvalidGrant
            | Self::RotationLost
            | Self::InvalidClient
            | Self::UnauthorizedClient
            | Self::InvalidScope
            | Self::UnsupportedGrantType => true,
            Self::RateLimited
            | Self::ServerError
            | Self::Malformed
            | Self::Lost
            | Self::Unreachable
            | Self::TimedOut
            | Self::Redirected
            | Self::Rejected => false,
        }
    }

    /// May the server have minted a token, and spent the refresh token, although we saw none?
    #[must_use]
    pub fn answer_may_be_lost(self) -> bool {
        matches!(self, Self::Malformed | Self::Lost | Self::TimedOut)
    }

    /// The permanent kind that an RFC 6749 `error` code names.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" => Self::InvalidClient,
            "unauthorized_client" => Self::UnauthorizedClient,
            "invalid_scope" => Self::InvalidScope,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            _ => return None,
        })
    }

    /// Does it speak of the token endpoint, whoever asks? Who is not let through, or has a wrong secret, may be alone.
    #[must_use]
    pub const fn concerns_everybody(self) -> bool {
        matches!(self, Self::RateLimited | Self::ServerError)
    }

    /// The stable snake_case name, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::RotationLost => "rotation_lost",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Malformed => "malformed_answer",
            Self::Lost => "answer_lost",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Redirected => "redirected",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for TokenFailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidGrant
            | Self::RotationLost
            | Self::InvalidClient
            | Self::UnauthorizedClient
            | Self::InvalidScope
            | Self::UnsupportedGrantType => self.name(),
            Self::RateLimited => "too many token requests",
            Self::ServerError => "the token endpoint failed",
            Self::Malformed => "the token endpoint's answer holds no usable token",
            Self::Lost => "the connection ended before the token endpoint's answer was complete",
            Self::Unreachable => "the token endpoint is unreachable",
            Self::TimedOut => "the token endpoint did not answer in time",
            Self::Redirected => "the token URL redirects, and token requests follow no redirect",
            Self::Rejected => "the token request was refused",
        })
    }
}

/// What was wrong with an answer that should have held a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The body has no bytes.
    Empty,
    /// The body is longer than any token answer.
    TooLong,
    /// The JSON ends in the middle.
    Torn,
    /// The body is a web page.
    WebPage,
    /// The body is neither a JSON object nor a form.
    NotJson,
    /// There is no `access_token`, or it is empty or not text.
    NoToken,
    /// The token has characters that no header may carry.
    UnusableToken,
    /// The status is neither a success nor an error.
    UnexpectedStatus,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the body is empty",
            Self::TooLong => "the body is too long",
            Self::Torn => "the JSON ends in the middle",
            Self::WebPage => "the body is a web page, not JSON",
            Self::NotJson => "the body is not JSON",
            Self::NoToken => "the body has no access_token",
            Self::UnusableToken => "the access_token has characters that a header cannot carry",
            Self::UnexpectedStatus => "the status is neither success nor error",
        })
    }
}

/// Anything shorter stands in too many words by chance, and is no secret.
const SHORTEST_SECRET: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_the_server_repeats_is_not_shown() {
        let failure = TokenFailure::of(TokenFailureKind::InvalidClient)
            .with_code("invalid_client")
            .with_description("secret hunter2 is wrong: 'hunter2'");
        let shown = failure.clone().without_secret(&Secret::from("hunter2")).to_string();
        assert_eq!(shown, "invalid_client: secret [redacted] is wrong: '[redacted]'");
        assert_eq!(failure.clone().without_secret(&Secret::from("")), failure);
    }

    #[test]
    fn text_reads_on_after_failed_to_refresh() {
        let failure = TokenFailure::of(TokenFailureKind::InvalidClient)
            .with_status(401)
            .with_code("invalid_client")
            .with_description("authentication failed");
        assert_eq!(failure.to_string(), "invalid_client (HTTP 401): authentication failed");
        assert_eq!(
            TokenFailure::malformed(200, Defect::Empty).to_string(),
            "the token endpoint's answer holds no usable token (HTTP 200): the body is empty"
        );
        assert_eq!(
            TokenFailure::of(TokenFailureKind::Unreachable).with_description("refused by 127.0.0.1:9").to_string(),
            "the token endpoint is unreachable: refused by 127.0.0.1:9"
        );
    }

    #[test]
    fn permanent_failures_are_never_lost_answers() {
        for code in
            ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"]
        {
            let kind = TokenFailureKind::from_code(code).unwrap();
            assert!(kind.is_permanent() && !kind.answer_may_be_lost(), "{code}");
            assert_eq!(kind.name(), code);
        }
        assert_eq!(TokenFailureKind::from_code("invalid_request"), None);
    }
}
