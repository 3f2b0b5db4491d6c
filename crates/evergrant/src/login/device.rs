//! A login on another device, for machines without a browser.
//!
//! The server hands out a short code for the person and a long one for us. While the person types the short one on a
//! phone, we ask with the long one, no more often than the server wants, until it says yes or no.
//!
//! Source: RFC 8628 sections 3.1 to 3.5.

use evergrant_core::Secret;
use evergrant_core::time::{Boot, Span};
use evergrant_core::wire::{TokenFailure, TokenFailureKind};
use serde_json::Value;

use super::{LoggedIn, Login, LoginError};
use crate::assertion::{self, Occasion};
use crate::clock;
use crate::transport::{Posted, TokenEndpoint};

/// A login on another device that has begun.
#[derive(Debug)]
pub struct DeviceLogin {
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same page with the code filled in, if the server has one.
    pub verification_uri_complete: Option<String>,
    /// Until when it can be finished.
    pub expires: Boot,
    device_code: Secret,
    interval: Span,
}

/// How a login on another device stands.
#[derive(Debug, PartialEq, Eq)]
pub enum DeviceStep {
    /// Ask again after this time.
    Wait(Span),
    /// It is done.
    Done(LoggedIn),
}

impl Login {
    /// Begins a login on another device.
    ///
    /// # Errors
    /// When it is not known where, or the server does not offer it.
    pub async fn begin_device(&self) -> Result<DeviceLogin, LoginError> {
        let url = self.device_url.as_deref().ok_or(LoginError::NoDeviceUrl)?;
        let endpoint = TokenEndpoint::new(url, &self.tls, self.transport)?;
        let time = assertion::time_for(&self.endpoint, &self.credential, None).await;
        let occasion = Occasion { token_url: self.endpoint.target().url().as_str(), time };
        let request = self.credential.request(&[], &occasion).map_err(unsent)?;
        let asked = clock::boot();
        let Posted { status, body } = endpoint.post(&request).await?;
        read(status, &body, asked)
    }

    /// Asks once whether a login on another device is done.
    ///
    /// # Errors
    /// When it was refused or has expired. A server that cannot be reached is asked again.
    pub async fn ask_device(&self, login: &mut DeviceLogin) -> Result<DeviceStep, LoginError> {
        if clock::boot() >= login.expires {
            return Err(LoginError::Expired);
        }
        let fields = [("grant_type", DEVICE_CODE), ("device_code", login.device_code.expose())];
        let exchange = self.ask(&fields).await?;
        let Err(failure) = &exchange.result else { return Ok(DeviceStep::Done(self.keep(exchange).await?)) };
        match failure.code.as_deref() {
            Some("authorization_pending") => Ok(DeviceStep::Wait(login.interval)),
            Some("slow_down") => {
                login.interval += SLOWER;
                Ok(DeviceStep::Wait(login.interval))
            }
            Some("expired_token") => Err(LoginError::Expired),
            Some("access_denied") => Err(LoginError::Refused(failure.clone())),
            _ if is_worth_another_try(failure.kind) => {
                login.interval = login.interval.scaled(2, 1).min(LONGEST_INTERVAL);
                Ok(DeviceStep::Wait(login.interval))
            }
            _ => Err(LoginError::Token(failure.clone())),
        }
    }
}

fn unsent(error: crate::grant::GrantError) -> LoginError {
    TokenFailure::of(TokenFailureKind::Unreachable).with_description(&error.to_string()).into()
}

/// The network, or the server's bad moment (section 3.5 asks for exponential back-off).
fn is_worth_another_try(kind: TokenFailureKind) -> bool {
    matches!(
        kind,
        TokenFailureKind::ServerError
            | TokenFailureKind::RateLimited
            | TokenFailureKind::Unreachable
            | TokenFailureKind::TimedOut
            | TokenFailureKind::Lost
    )
}

/// Reads the answer of the device authorization endpoint (section 3.2).
fn read(status: u16, body: &[u8], asked: Boot) -> Result<DeviceLogin, LoginError> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().filter(|text| !text.is_empty());
    if let Some(code) = text("error") {
        let kind = TokenFailureKind::from_code(code).unwrap_or(TokenFailureKind::Rejected);
        let failure = TokenFailure::of(kind).with_status(status).with_code(code);
        return Err(match text("error_description") {
            Some(description) => failure.with_description(description),
            None => failure,
        }
        .into());
    }
    let seconds = |name: &str| answer[name].as_i64().filter(|secs| (1..=LONGEST_LIFE.as_secs()).contains(secs));
    let needed =
        (text("device_code"), text("user_code"), text("verification_uri").or_else(|| text("verification_url")));
    let (200, (Some(device_code), Some(user_code), Some(verification_uri))) = (status, needed) else {
        let failure = TokenFailure::of(TokenFailureKind::Malformed).with_status(status);
        return Err(failure.with_description("the device URL does not answer as one").into());
    };
    Ok(DeviceLogin {
        user_code: printable(user_code),
        verification_uri: printable(verification_uri),
        verification_uri_complete: text("verification_uri_complete").map(printable),
        expires: asked + Span::from_secs(seconds("expires_in").unwrap_or(DEFAULT_LIFE.as_secs())),
        device_code: Secret::from(device_code),
        interval: Span::from_secs(seconds("interval").unwrap_or(DEFAULT_INTERVAL.as_secs())),
    })
}

/// Fit to be shown in a terminal: what a server sends must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(2000).collect()
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const DEFAULT_INTERVAL: Span = Span::from_secs(5);
const SLOWER: Span = Span::from_secs(5);
const LONGEST_INTERVAL: Span = Span::from_secs(60);
/// The answer has to say how long; if it does not, this is what servers usually give.
const DEFAULT_LIFE: Span = Span::from_secs(600);
const LONGEST_LIFE: Span = Span::from_secs(86_400);
