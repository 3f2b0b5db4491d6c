//! The client that most scripts have: keep a token until a request answers 401, then fetch another and try once more.
//!
//! ```python
//! token = fetch_token()
//! def call():
//!     response = requests.get(url, headers=bearer(token))
//!     if response.status_code == 401:
//!         token = fetch_token()
//!         response = requests.get(url, headers=bearer(token))
//!     return response
//! ```
//!
//! It is built as people paste it, neither better nor worse: no lock around the refresh, so callers that were refused
//! together refresh together; one retry, at once; the answer to it is what the caller gets; a token request that fails
//! is the caller's error. It reads no clock, so a wrong clock alone does it no harm.

use std::sync::{Mutex, PoisonError};

use evergrant_core::Secret;
use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use reqwest::{Client, StatusCode};
use serde::Deserialize;

/// The token and where to get another.
pub(super) struct Snippet {
    http: Client,
    token_url: String,
    token: Mutex<Option<Secret>>,
}

/// Why a call of the snippet has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnippetError {
    /// A request failed on its way.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// The token endpoint gave no token.
    #[error("the token endpoint answered {0}")]
    NoToken(StatusCode),
}

impl Snippet {
    /// A snippet that fetched its first token, as a script does when it starts.
    pub(super) async fn start(http: Client, provider: &SimServer) -> Result<Self, SnippetError> {
        let snippet = Self { http, token_url: provider.token_url(), token: Mutex::new(None) };
        snippet.fetch_token().await?;
        Ok(snippet)
    }

    /// Calls the API and returns the status that the caller sees.
    pub(super) async fn call(&self, url: &str) -> Result<u16, SnippetError> {
        let status = self.get(url).await?;
        if status != StatusCode::UNAUTHORIZED {
            return Ok(status.as_u16());
        }
        self.fetch_token().await?;
        Ok(self.get(url).await?.as_u16())
    }

    async fn get(&self, url: &str) -> Result<StatusCode, SnippetError> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = self.http.get(url).bearer_auth(token.as_ref().map_or("", Secret::expose));
        let response = request.send().await?;
        let status = response.status();
        response.bytes().await?;
        Ok(status)
    }

    async fn fetch_token(&self) -> Result<(), SnippetError> {
        let form = [("grant_type", "client_credentials")];
        let request = self.http.post(&self.token_url).basic_auth(CLIENT_ID, Some(CLIENT_SECRET)).form(&form);
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(SnippetError::NoToken(response.status()));
        }
        let answer: TokenAnswer = response.json().await?;
        let token = Secret::new(answer.access_token);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}
