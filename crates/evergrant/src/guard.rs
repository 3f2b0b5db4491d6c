//! A token on loan to somebody who sends a request.
//!
//! Most callers get what the keeper has published: a guard of that costs no lock and no copy, and neither does its header,
//! which is made once for each token. Who had to ask the keeper gets a token of its own.
//!
//! Limits: a guard keeps its token's text in memory, and a published one keeps what was published. It is for one request.

use std::sync::Arc;

use arc_swap::Guard;
use evergrant_core::Secret;
use evergrant_core::time::Span;
use evergrant_core::token::{Generation, Token};
use http::HeaderValue;

use crate::clock;
use crate::driver::Published;

/// A token on loan: keep it for one request, not for later.
pub struct TokenGuard(Held);

enum Held {
    Published(Guard<Arc<Published>>),
    Own(Box<Own>),
}

/// What a caller got who had to ask the keeper; in a box, so that the guard of the common case is small.
struct Own {
    token: Arc<Token>,
    header: HeaderValue,
}

impl TokenGuard {
    /// What needs no question.
    pub(crate) const fn published(published: Guard<Arc<Published>>) -> Self {
        Self(Held::Published(published))
    }

    /// What the keeper answered.
    pub(crate) fn own(token: Arc<Token>) -> Self {
        Self(Held::Own(Box::new(Own { header: bearer(&token.access_token), token })))
    }

    /// The text of the token.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token().map_or("", |token| token.access_token.expose())
    }

    /// `Bearer` and the token, marked as sensitive. Copy its bytes into a request: cloning it shares a counter.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        match &self.0 {
            Held::Published(published) => &published.header,
            Held::Own(own) => &own.header,
        }
    }

    /// Which token it is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.token().map(|token| token.generation).unwrap_or_default()
    }

    /// Time until the token can stop working, if that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<Span> {
        self.token()?.remaining(clock::boot())
    }

    fn token(&self) -> Option<&Token> {
        match &self.0 {
            Held::Published(published) => published.token.as_deref(),
            Held::Own(own) => Some(&own.token),
        }
    }
}

impl std::fmt::Debug for TokenGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TokenGuard").field(&self.generation()).finish()
    }
}

/// The value of an Authorization header with this token.
pub(crate) fn bearer(token: &Secret) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}
