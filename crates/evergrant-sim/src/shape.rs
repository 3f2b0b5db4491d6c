//! How answers look: Genesys Cloud's bodies or those of the RFCs.
//!
//! Genesys Cloud has two error shapes. Its login host writes OAuth errors with both `description` and
//! `error_description`, all as 400; its API writes an `ErrorBody` with `code` and `contextId`, and no challenge on a
//! 401, whose code for every kind of bad token is `bad.credentials`. The RFC shape has a `Bearer` challenge (RFC 6750
//! section 3) and RFC 6749 section 5.2 errors, where wrong Basic credentials are a 401. The bare shape is the RFC shape
//! of servers that answer 401 with nothing at all.
//!
//! The causes of the ledger are finer than what any shape tells, as in reality.

use bytes::Bytes;
use evergrant_core::time::Server;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::clock::http_date;
use crate::config::{LimitAnswer, Shape};
use crate::provider::Payload;
use crate::tokens::Refusal;

/// An error of the token endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenError {
    /// The client is unknown, or its secret is wrong; did it use HTTP Basic?
    InvalidClient {
        known: bool,
        basic: bool,
    },
    InvalidGrant,
    InvalidScope,
    InvalidRequest(&'static str),
    UnauthorizedClient,
    UnsupportedGrantType,
    /// Too many mints; at `until` by the issuer's clock, in `secs`, there is room again.
    RateLimited {
        answer: LimitAnswer,
        until: Server,
        secs: i64,
    },
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Payload> {
    response(status, "application/json", body.to_string().into())
}

/// An answer with a body of this media type, never to be stored.
pub(crate) fn response(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Payload> {
    let mut response = bare(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    *response.body_mut() = Payload::Bytes(body);
    response
}

/// An answer without a body.
pub(crate) fn bare(status: StatusCode) -> Response<Payload> {
    let mut response = Response::new(Payload::Bytes(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Sets a header whose value was made here.
pub(crate) fn set(response: &mut Response<Payload>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The answer of the token endpoint to a bad request.
pub(crate) fn token_error(shape: Shape, error: TokenError) -> Response<Payload> {
    let (status, name, description) = token_error_parts(shape, error);
    let body = match shape {
        Shape::Genesys => json!({"error": name, "description": description, "error_description": description}),
        Shape::Rfc | Shape::RfcBare => json!({"error": name, "error_description": description}),
    };
    let mut response = json_response(status, &body);
    if status == StatusCode::UNAUTHORIZED {
        set(&mut response, WWW_AUTHENTICATE, r#"Basic realm="sim""#);
    }
    if let TokenError::RateLimited { answer, until, secs } = error {
        match answer {
            LimitAnswer::BadRequest => {}
            LimitAnswer::TooManyRequests => set(&mut response, RETRY_AFTER, &secs.to_string()),
            LimitAnswer::TooManyRequestsDate => set(&mut response, RETRY_AFTER, &http_date(until)),
        }
    }
    response
}

fn token_error_parts(shape: Shape, error: TokenError) -> (StatusCode, &'static str, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    match error {
        TokenError::InvalidClient { known: false, .. } if shape == Shape::Genesys => {
            (bad, "invalid_client", "client not found")
        }
        TokenError::InvalidClient { basic, .. } => {
            let status = if basic && shape != Shape::Genesys { StatusCode::UNAUTHORIZED } else { bad };
            (status, "invalid_client", "authentication failed")
        }
        TokenError::InvalidGrant => (bad, "invalid_grant", "the refresh token is invalid, expired or revoked"),
        TokenError::InvalidScope => (bad, "invalid_scope", "a requested scope is not allowed for this client"),
        TokenError::InvalidRequest(description) => (bad, "invalid_request", description),
        TokenError::UnauthorizedClient => {
            (bad, "unauthorized_client", "client is not authorized to use the client_credential grant type")
        }
        TokenError::UnsupportedGrantType => (bad, "unsupported_grant_type", "this grant type is not supported"),
        TokenError::RateLimited { answer, .. } => match answer {
            LimitAnswer::BadRequest => (bad, "invalid_request", "rate limit exceeded; too many token requests"),
            LimitAnswer::TooManyRequests | LimitAnswer::TooManyRequestsDate => {
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many token requests")
            }
        },
    }
}

/// The API's 401.
pub(crate) fn refusal(shape: Shape, why: Refusal, correlation: &str) -> Response<Payload> {
    let status = StatusCode::UNAUTHORIZED;
    match shape {
        Shape::Genesys => {
            let (code, message) = genesys_refusal(why);
            genesys_error(status, code, message, correlation)
        }
        Shape::Rfc => {
            let (challenge, body) = rfc_refusal(why);
            let mut response = json_response(status, &body);
            set(&mut response, WWW_AUTHENTICATE, challenge);
            response
        }
        Shape::RfcBare => bare(status),
    }
}

fn genesys_refusal(why: Refusal) -> (&'static str, &'static str) {
    match why {
        Refusal::MissingToken => {
            ("authentication.required", "No authentication bearer token specified in authorization header.")
        }
        Refusal::IpNotAuthorized => ("ip.not.authorized", "The IP address is not authorized."),
        Refusal::UnknownToken
        | Refusal::Propagating
        | Refusal::NotYetValid
        | Refusal::Expired
        | Refusal::Revoked
        | Refusal::RevokedByRefresh
        | Refusal::Evicted
        | Refusal::Idle
        | Refusal::Route => ("bad.credentials", "Invalid login credentials."),
    }
}

fn rfc_refusal(why: Refusal) -> (&'static str, Value) {
    let described = |challenge, text| (challenge, json!({"error": "invalid_token", "error_description": text}));
    match why {
        // RFC 6750 section 3.1: a request without credentials is told no error code.
        Refusal::MissingToken => (r#"Bearer realm="sim""#, json!({"detail": "authentication required"})),
        Refusal::Expired => described(
            r#"Bearer realm="sim", error="invalid_token", error_description="The access token expired""#,
            "The access token expired",
        ),
        Refusal::IpNotAuthorized => (r#"Bearer realm="sim""#, json!({"error": "ip_not_authorized"})),
        Refusal::UnknownToken
        | Refusal::Propagating
        | Refusal::NotYetValid
        | Refusal::Revoked
        | Refusal::RevokedByRefresh
        | Refusal::Evicted
        | Refusal::Idle
        | Refusal::Route => described(r#"Bearer realm="sim", error="invalid_token""#, "The access token is invalid"),
    }
}

/// An error of the API that is not about the token itself.
pub(crate) fn api_error(
    shape: Shape,
    status: StatusCode,
    code: &str,
    message: &str,
    correlation: &str,
) -> Response<Payload> {
    match shape {
        Shape::Genesys => genesys_error(status, code, message, correlation),
        Shape::Rfc | Shape::RfcBare => json_response(status, &json!({"error": code, "detail": message})),
    }
}

/// 403 with the challenge of RFC 6750 section 3.1 where the shape has one.
pub(crate) fn insufficient_scope(shape: Shape, correlation: &str) -> Response<Payload> {
    let mut response = api_error(
        shape,
        StatusCode::FORBIDDEN,
        if shape == Shape::Genesys { "not.authorized" } else { "insufficient_scope" },
        "You are not authorized to perform the requested action.",
        correlation,
    );
    if shape == Shape::Rfc {
        set(&mut response, WWW_AUTHENTICATE, r#"Bearer realm="sim", error="insufficient_scope", scope="write""#);
    }
    response
}

/// 429 of the API.
pub(crate) fn too_many_requests(shape: Shape, secs: u32, correlation: &str) -> Response<Payload> {
    let message = format!("Rate limit exceeded the maximum. Retry the request in [{secs}] seconds");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = api_error(shape, status, "too.many.requests.retry.after", &message, correlation);
    set(&mut response, RETRY_AFTER, &secs.to_string());
    response
}

fn genesys_error(status: StatusCode, code: &str, message: &str, correlation: &str) -> Response<Payload> {
    let body = json!({
        "message": message, "code": code, "status": status.as_u16(), "contextId": correlation,
        "details": [], "errors": [],
    });
    let mut response = json_response(status, &body);
    set(&mut response, CORRELATION_ID, correlation);
    response
}

/// Genesys Cloud's correlation id, also the `contextId` of its bodies.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response<Payload>) -> Value {
        let Payload::Bytes(bytes) = response.body() else { panic!("a short body") };
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(bytes).unwrap() }
    }

    #[test]
    fn a_genesys_401_has_a_code_and_no_challenge() {
        for (why, code) in [
            (Refusal::MissingToken, "authentication.required"),
            (Refusal::Expired, "bad.credentials"),
            (Refusal::UnknownToken, "bad.credentials"),
            (Refusal::IpNotAuthorized, "ip.not.authorized"),
        ] {
            let response = refusal(Shape::Genesys, why, "ctx");
            assert_eq!(response.status(), 401);
            assert_eq!((&body(&response)["code"], &body(&response)["contextId"]), (&json!(code), &json!("ctx")));
            assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        }
    }

    #[test]
    fn an_rfc_401_is_challenged() {
        for (why, has_error) in [(Refusal::MissingToken, false), (Refusal::Expired, true), (Refusal::Revoked, true)] {
            let response = refusal(Shape::Rfc, why, "ctx");
            let challenge = response.headers()[WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"));
            assert_eq!(challenge.contains(r#"error="invalid_token""#), has_error, "{challenge}");
        }
    }

    #[test]
    fn a_bare_401_says_nothing() {
        let response = refusal(Shape::RfcBare, Refusal::Expired, "ctx");
        assert_eq!(body(&response), Value::Null);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[test]
    fn wrong_client_credentials_look_as_each_shape_has_them() {
        let wrong = TokenError::InvalidClient { known: true, basic: true };
        let genesys = token_error(Shape::Genesys, wrong);
        assert_eq!(genesys.status(), 400);
        assert_eq!(body(&genesys)["description"], body(&genesys)["error_description"]);
        let rfc = token_error(Shape::Rfc, wrong);
        assert_eq!(rfc.status(), 401);
        assert!(rfc.headers().contains_key(WWW_AUTHENTICATE));
        let posted = token_error(Shape::Rfc, TokenError::InvalidClient { known: true, basic: false });
        assert_eq!(posted.status(), 400);
        let unknown = token_error(Shape::Genesys, TokenError::InvalidClient { known: false, basic: true });
        assert_eq!(body(&unknown)["description"], "client not found");
    }

    #[test]
    fn a_mint_limit_has_three_forms() {
        let until = Server::from_secs(1_792_567_591);
        let limited = |answer| token_error(Shape::Genesys, TokenError::RateLimited { answer, until, secs: 3 });
        let plain = limited(LimitAnswer::BadRequest);
        assert_eq!((plain.status().as_u16(), &body(&plain)["error"]), (400, &json!("invalid_request")));
        assert!(body(&plain)["error_description"].as_str().unwrap().starts_with("rate limit exceeded;"));
        assert_eq!(limited(LimitAnswer::TooManyRequests).headers()[RETRY_AFTER], "3");
        let date = limited(LimitAnswer::TooManyRequestsDate);
        assert_eq!(date.headers()[RETRY_AFTER], "Wed, 21 Oct 2026 07:26:31 GMT");
    }
}
