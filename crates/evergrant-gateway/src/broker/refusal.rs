//! Why the broker gives no token, in the form that callers' libraries expect of the provider.
//!
//! An error of a token endpoint is the JSON of RFC 6749 section 5.2. Genesys Cloud writes the text twice, as
//! `description` and as `error_description`, and its libraries read either; so both are written, for all providers.
//! Every text begins by saying that it is this gateway that refuses, because to the caller it looks as if the provider
//! did, and ends by saying what helps.

use bytes::Bytes;
use evergrant_core::profile::{MintLimit, Profile};
use evergrant_core::time::Span;
use evergrant_core::wire::{TokenFailure, TokenFailureKind};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// Why a token request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The request cannot be understood.
    Request,
    /// The client is not the one that this gateway has.
    Client,
    /// The code or refresh token is good for nothing.
    Grant,
    /// The client may not do this.
    Unauthorized,
    /// There is no such grant here.
    GrantType,
    /// A requested scope is refused.
    Scope,
    /// Too many tries; after this time again.
    TooMany(Span),
    /// The provider's token endpoint gave no answer that could be used.
    Unavailable,
}

impl Refusal {
    pub(crate) fn request(text: impl Into<String>) -> Self {
        Self { kind: Kind::Request, text: text.into() }
    }

    pub(crate) fn client(text: impl Into<String>) -> Self {
        Self { kind: Kind::Client, text: text.into() }
    }

    pub(crate) fn grant(text: impl Into<String>) -> Self {
        Self { kind: Kind::Grant, text: text.into() }
    }

    pub(crate) fn grant_type() -> Self {
        let text = "this gateway takes client_credentials, authorization_code and refresh_token; \
                    ask the provider directly for any other grant";
        Self { kind: Kind::GrantType, text: text.to_owned() }
    }

    /// Neither the id nor the secret is told apart, and nothing that was sent is repeated.
    pub(crate) fn wrong_client() -> Self {
        Self::client(
            "the client id and secret are not the ones that this gateway is configured with; \
             give the caller the gateway's own, or the gateway the caller's in EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET",
        )
    }

    pub(crate) fn too_many(wait: Span) -> Self {
        let text = "too many wrong client secrets were tried here; wait and then send the right one".to_owned();
        Self { kind: Kind::TooMany(wait), text }
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, text: text.into() }
    }

    /// The provider refused what the caller brought, or could not be asked.
    pub(crate) fn of_provider(failure: &TokenFailure) -> Self {
        let kind = match failure.kind {
            TokenFailureKind::InvalidGrant | TokenFailureKind::RotationLost => Kind::Grant,
            TokenFailureKind::InvalidClient => Kind::Client,
            TokenFailureKind::UnauthorizedClient => Kind::Unauthorized,
            TokenFailureKind::InvalidScope => Kind::Scope,
            TokenFailureKind::UnsupportedGrantType => Kind::GrantType,
            TokenFailureKind::RateLimited => Kind::TooMany(Span::from_secs(60)),
            TokenFailureKind::Rejected => Kind::Request,
            TokenFailureKind::ServerError
            | TokenFailureKind::Malformed
            | TokenFailureKind::Lost
            | TokenFailureKind::Unreachable
            | TokenFailureKind::TimedOut
            | TokenFailureKind::Redirected => Kind::Unavailable,
        };
        Self { kind, text: format!("the provider's token endpoint gave no token: {failure}") }
    }

    /// The answer to the caller.
    pub(crate) fn into_response(self, profile: &Profile) -> Response<Bytes> {
        let (mut status, mut code) = match self.kind {
            Kind::Request => (StatusCode::BAD_REQUEST, "invalid_request"),
            Kind::Client => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Kind::Grant => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Kind::Unauthorized => (StatusCode::BAD_REQUEST, "unauthorized_client"),
            Kind::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Kind::Scope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Kind::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        };
        let mut text = format!("evergrant gateway: {}", self.text);
        if let (Kind::TooMany(_), Some(limit)) = (self.kind, profile.mint_limit) {
            (status, code, text) = as_mint_limit(limit, &text);
        }
        let mut response = answer(status, &json!({"error": code, "description": text, "error_description": text}));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6749 section 5.2: with the scheme that the client used, and there is only this one.
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"evergrant gateway\""));
        }
        match self.kind {
            Kind::TooMany(wait) => {
                let secs = (wait + ALMOST_A_SECOND).as_secs().max(1);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
            }
            Kind::Unavailable => _ = response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1)),
            Kind::Request | Kind::Client | Kind::Grant | Kind::Unauthorized | Kind::GrantType | Kind::Scope => {}
        }
        response
    }
}

/// The provider's own way to say "too many requests", which its libraries know how to wait for.
fn as_mint_limit(limit: MintLimit, text: &str) -> (StatusCode, &'static str, String) {
    let status = StatusCode::from_u16(limit.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    (status, limit.code, format!("{}; {text}", limit.description_start))
}

/// JSON that nobody may store (RFC 6749 section 5.1).
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// The API's answer to a handle that is unknown here, in the provider's shape and that of RFC 6750.
pub(crate) fn unknown_handle(profile: &Profile, detail: &str, id: &str) -> Response<Bytes> {
    let body = match profile.sdk.map(|sdk| sdk.unknown_token) {
        Some((code, message)) => json!({
            "message": message, "code": code, "status": 401, "contextId": id, "details": [], "errors": [],
            "messageWithParams": format!("{message} (evergrant gateway: {detail})"), "messageParams": {},
        }),
        None => json!({"error": "invalid_token", "error_description": format!("evergrant gateway: {detail}")}),
    };
    let mut response = answer(StatusCode::UNAUTHORIZED, &body);
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"evergrant gateway: {detail}\"");
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

const ALMOST_A_SECOND: Span = Span::from_millis(999);

#[cfg(test)]
mod tests {
    use evergrant_core::profile::Region;

    use super::*;

    fn shown(refusal: Refusal, profile: &Profile) -> (u16, Value, http::HeaderMap) {
        let response = refusal.into_response(profile);
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body, response.headers().clone())
    }

    #[test]
    fn a_wrong_secret_is_refused_by_name_of_the_gateway() {
        let (status, body, headers) = shown(Refusal::wrong_client(), &Profile::genesys(Region::UsEast1));
        assert_eq!((status, body["error"].as_str()), (401, Some("invalid_client")));
        assert_eq!(body["description"], body["error_description"]);
        assert!(body["description"].as_str().unwrap().starts_with("evergrant gateway: "), "{body}");
        assert!(headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
        assert_eq!(headers[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn too_many_tries_look_like_the_providers_own_limit() {
        let (status, body, headers) =
            shown(Refusal::too_many(Span::from_millis(1_500)), &Profile::genesys(Region::UsEast1));
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_request")));
        assert!(body["error_description"].as_str().unwrap().starts_with("rate limit exceeded; "), "{body}");
        assert_eq!(headers[RETRY_AFTER], "2");
        let (status, body, _) = shown(Refusal::too_many(Span::from_secs(9)), &Profile::oauth2());
        assert_eq!((status, body["error"].as_str()), (429, Some("slow_down")));
    }

    #[test]
    fn a_providers_refusal_keeps_its_code() {
        for (kind, status, code) in [
            (TokenFailureKind::InvalidGrant, 400, "invalid_grant"),
            (TokenFailureKind::InvalidClient, 401, "invalid_client"),
            (TokenFailureKind::UnauthorizedClient, 400, "unauthorized_client"),
            (TokenFailureKind::ServerError, 503, "temporarily_unavailable"),
            (TokenFailureKind::Unreachable, 503, "temporarily_unavailable"),
        ] {
            let (seen, body, _) = shown(Refusal::of_provider(&TokenFailure::of(kind)), &Profile::oauth2());
            assert_eq!((seen, body["error"].as_str()), (status, Some(code)));
        }
    }

    #[test]
    fn an_unknown_handle_is_refused_in_the_providers_words() {
        let genesys = unknown_handle(&Profile::genesys(Region::UsEast1), "log in again", "ab-1");
        let body: Value = serde_json::from_slice(genesys.body()).unwrap();
        assert_eq!((body["code"].as_str(), body["status"].as_u64()), (Some("bad.credentials"), Some(401)));
        let rfc = unknown_handle(&Profile::oauth2(), "log in again", "ab-1");
        assert!(rfc.headers()[WWW_AUTHENTICATE].to_str().unwrap().contains("invalid_token"));
    }
}
