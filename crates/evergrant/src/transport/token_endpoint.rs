//! One token request, from the form to the answer, with both moments stamped.

use std::time::Duration;

use evergrant_core::time::Boot;
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind, parse_retry_after, parse_token_answer};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response};

use super::{AnswerHead, ConnectionFailure, Target, TransportError, TransportOptions, client, read_body};
use crate::clock;
use crate::grant::TokenRequest;
use crate::sync;
use crate::tls::Tls;

/// A token endpoint that requests can be sent to.
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    target: Target,
    client: Client,
    timeout: Duration,
}

impl TokenEndpoint {
    /// Prepares requests to `url`. Sends nothing yet.
    ///
    /// # Errors
    /// When the URL may not be used or TLS cannot be set up.
    pub fn new(url: &str, tls: &Tls, options: TransportOptions) -> Result<Self, TransportError> {
        let target = Target::parse("token URL", url, options.allow_insecure_http)?;
        let client = client(&target, tls, options, 0)?;
        Ok(Self { target, client, timeout: options.timeout })
    }

    /// The same endpoint for a caller whose own time is short.
    #[must_use]
    pub fn within(&self, at_most: Option<Duration>) -> Self {
        let timeout = at_most.map_or(self.timeout, |at_most| at_most.min(self.timeout));
        Self { timeout, ..self.clone() }
    }

    /// Where requests go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Posts a form to an endpoint that answers with something other than tokens.
    pub(crate) async fn post(&self, request: &TokenRequest) -> Result<Posted, TokenFailure> {
        let failed =
            |error: &reqwest::Error| TokenFailure::from(ConnectionFailure::of(error, &self.target, self.timeout));
        let response = self.builder(request, self.timeout).send().await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let (body, torn) = read_body(response, BODY_LIMIT).await;
        torn.map_or(Ok(Posted { status, body }), |error| Err(failed(&error)))
    }

    /// Sends one token request, once. `at_most` shortens the timeout, for a caller whose own time is short.
    pub async fn request(&self, request: &TokenRequest, at_most: Option<Duration>) -> TokenExchange {
        let timeout = at_most.map_or(self.timeout, |at_most| at_most.min(self.timeout));
        let builder = self.builder(request, timeout);
        let sent = clock::boot();
        let answer = sync::send(builder).await;
        let received = clock::boot();
        match answer {
            Ok(response) => {
                let head = AnswerHead::of(&response);
                let result = self.read(response, &head, timeout).await;
                TokenExchange { sent, received, head: Some(head), result }
            }
            Err(error) => {
                let failure = ConnectionFailure::of(&error, &self.target, timeout);
                TokenExchange { sent, received, head: None, result: Err(failure.into()) }
            }
        }
    }

    fn builder(&self, request: &TokenRequest, timeout: Duration) -> RequestBuilder {
        let builder = self
            .client
            .post(self.target.url().clone())
            .timeout(timeout)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(request.form.expose().to_owned());
        // Base64 always fits into a header; if it ever did not, the server's refusal would say so.
        let value = request.authorization.as_ref().and_then(|text| HeaderValue::from_str(text.expose()).ok());
        let Some(mut value) = value else { return builder };
        value.set_sensitive(true);
        builder.header(AUTHORIZATION, value)
    }

    /// Asks for nothing but the head of an answer, for its `Date`: when it was sent, what came, and when.
    pub(crate) async fn ask_head(&self) -> Option<(Boot, AnswerHead, Boot)> {
        let sent = clock::boot();
        let answer = self.client.head(self.target.url().clone()).timeout(self.timeout).send().await;
        let received = clock::boot();
        Some((sent, AnswerHead::of(&answer.ok()?), received))
    }

    async fn read(
        &self,
        response: Response,
        head: &AnswerHead,
        timeout: Duration,
    ) -> Result<TokenAnswer, TokenFailure> {
        let (body, torn) = read_body(response, BODY_LIMIT).await;
        let result = match torn {
            // The status of an error answer says enough; only of a success does the body matter.
            Some(error) if head.status < 300 => {
                let failure = ConnectionFailure::of(&error, &self.target, timeout);
                Err(TokenFailure::from(failure).with_status(head.status))
            }
            Some(_) | None => parse_token_answer(head.status, &body),
        };
        result.map_err(|mut failure| {
            let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            let answered = head.date.filter(|_| head.age.is_none());
            failure.retry_after = header(RETRY_AFTER).and_then(parse_retry_after).map(|at| at.counted_from(answered));
            if failure.kind == TokenFailureKind::Redirected {
                failure.description = Some(self.redirect_words(header(LOCATION)));
            }
            failure
        })
    }

    /// Where a redirect leads, by its origin alone: the rest may hold anything.
    fn redirect_words(&self, location: Option<&str>) -> String {
        let to = location.and_then(|location| self.target.url().join(location).ok());
        match to {
            Some(to) if to.origin() == self.target.url().origin() => format!(
                "{} redirects to another path of the same server; token requests follow no redirect: check the token URL",
                self.target.place()
            ),
            Some(to) => format!(
                "{} redirects to {}; token requests follow no redirect: check the token URL",
                self.target.place(),
                to.origin().ascii_serialization()
            ),
            None => format!("{} redirects without saying where; check the token URL", self.target.place()),
        }
    }
}

/// One token request and what came of it.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// Just before the request was handed over for sending.
    pub sent: Boot,
    /// When the head of the answer was there, or the failure was known.
    pub received: Boot,
    /// The head of the answer, if there was an answer: also a failure's Date is a clock sample.
    pub head: Option<AnswerHead>,
    /// The token, or why there is none.
    pub result: Result<TokenAnswer, TokenFailure>,
}

/// What an endpoint answered.
pub(crate) struct Posted {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Token answers are a few kilobytes at most.
const BODY_LIMIT: usize = 1 << 20;
