//! An exchange while it is being read: fields come in one by one, in any order, and an [`Exchange`] comes out.
//!
//! This is where secrets end. A field's value is looked at once, when it comes in, and only what is known to matter is
//! kept; a body is kept until the exchange is whole, at most [`BODY_LIMIT`] bytes of it, and dropped with the draft.
//!
//! Whether a request went to a token endpoint is seen from its form (`grant_type`), from its answer (`access_token`),
//! from its path, and where the request is not shown from an error code that only token endpoints use.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::credential::{Credential, TokenFacts, TokenMark};
use super::exchange::{Exchange, Mint, Minted};
use crate::attempt::{Refusal, Route};
use crate::profile::{Profile, Region};
use crate::time::{Boot, Server, Wall};
use crate::wire::{
    Challenge, JwtClaims, RateSample, RetryAfter, TokenAnswer, TokenFailure, TokenFailureKind, parse_api_error,
    parse_challenges, parse_http_date, parse_rate_sample, parse_retry_after, parse_token_answer, read_claims,
};

/// How much of a body is looked at.
pub(super) const BODY_LIMIT: usize = 16 << 10;

/// An exchange that is not whole yet.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) sent: Option<Wall>,
    pub(super) received: Option<Wall>,
    pub(super) status: Option<u16>,
    /// Does the capture show the fields of the request?
    pub(super) shows_request: bool,
    /// How long the answer's body is, if the answer says so.
    pub(super) content_length: Option<usize>,
    pub(super) is_chunked: bool,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    authorization: Option<Credential>,
    client: Option<TokenMark>,
    form: Vec<u8>,
    date: Option<Server>,
    is_cached: bool,
    challenges: Vec<Challenge>,
    retry_after: Option<RetryAfter>,
    rate: [Option<String>; 3],
    correlation_id: Option<String>,
    /// Did the answer carry a field that only Genesys Cloud sends?
    is_of_genesys: bool,
    redirects_to: Option<String>,
    body: Vec<u8>,
}

impl Draft {
    /// The request line: method and target.
    pub(super) fn request_line(&mut self, method: &str, target: &str) {
        self.method(method);
        self.target(target);
    }

    pub(super) fn method(&mut self, method: &str) {
        let is_method =
            !method.is_empty() && method.len() <= 20 && method.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_method {
            self.method = Some(method.to_ascii_uppercase());
        }
    }

    /// A URL, or the path of one.
    pub(super) fn target(&mut self, target: &str) {
        if let Some((_, rest)) = target.split_once("://") {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            self.host(authority);
            self.path = Some(if path.starts_with('/') { cut(path, TARGET_LIMIT) } else { "/".to_owned() });
        } else if target.starts_with('/') {
            self.path = Some(cut(target, TARGET_LIMIT));
        } else if !target.is_empty() && self.method.as_deref() == Some("CONNECT") {
            self.host(target);
            self.path = Some(String::new());
        }
    }

    pub(super) fn host(&mut self, authority: &str) {
        let authority = authority.trim().rsplit('@').next().unwrap_or_default();
        let authority = authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if !authority.is_empty() && authority.len() <= 255 && authority.bytes().all(is_host) {
            self.host = Some(authority.to_ascii_lowercase());
        }
    }

    pub(super) fn request_field(&mut self, name: &str, value: &str) {
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        match name.to_ascii_lowercase().as_str() {
            "host" | ":authority" => self.host(value),
            ":method" => self.method(value),
            ":path" => self.target(value),
            "authorization" => {
                self.client = basic_id(value).or(self.client);
                self.authorization = Some(Credential::of_authorization(value));
            }
            _ => {}
        }
    }

    /// Some of the request's body.
    pub(super) fn request_body(&mut self, bytes: &[u8]) {
        append(&mut self.form, bytes);
    }

    pub(super) fn answer_field(&mut self, name: &str, value: &str) {
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "date" => self.date = parse_http_date(value).or(self.date),
            "age" => self.is_cached = true,
            "www-authenticate" | "proxy-authenticate" if self.challenges.len() < 16 => {
                self.challenges.extend(parse_challenges([value.as_bytes()]));
            }
            "retry-after" => self.retry_after = parse_retry_after(value),
            "location" => self.redirects_to = host_of(value),
            "content-length" => self.content_length = value.parse().ok(),
            "transfer-encoding" => self.is_chunked = value.to_ascii_lowercase().contains("chunked"),
            RateSample::COUNT => self.rate[0] = Some(cut(value, 20)),
            RateSample::ALLOWED => self.rate[1] = Some(cut(value, 20)),
            RateSample::RESET => self.rate[2] = Some(cut(value, 20)),
            _ if CORRELATION_FIELDS.contains(&name.as_str()) => {
                let id: String = value.chars().filter(char::is_ascii_graphic).take(64).collect();
                self.is_of_genesys |= name.starts_with("inin-");
                self.correlation_id.get_or_insert(id);
            }
            _ => {}
        }
    }

    /// Some of the answer's body.
    pub(super) fn answer_body(&mut self, bytes: &[u8]) {
        append(&mut self.body, bytes);
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn replace_body(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    /// Takes the host of another draft, if there is none yet.
    pub(super) fn adopt_host(&mut self, other: &Self) {
        if self.host.is_none() {
            self.host.clone_from(&other.host);
        }
    }

    /// Takes over what another draft of the same exchange knows and this one does not. Bodies stay apart.
    pub(super) fn adopt(&mut self, other: Self) {
        self.adopt_host(&other);
        self.status = self.status.or(other.status);
        self.shows_request |= other.shows_request;
        self.method = self.method.take().or(other.method);
        self.path = self.path.take().or(other.path);
        self.authorization = self.authorization.take().or(other.authorization);
        self.client = self.client.or(other.client);
        self.date = self.date.or(other.date);
        self.is_cached |= other.is_cached;
        self.is_of_genesys |= other.is_of_genesys;
        self.challenges.extend(other.challenges);
        self.retry_after = self.retry_after.or(other.retry_after);
        self.correlation_id = self.correlation_id.take().or(other.correlation_id);
        for (mine, theirs) in self.rate.iter_mut().zip(other.rate) {
            *mine = mine.take().or(theirs);
        }
    }

    /// The exchange; nothing if there was no answer.
    pub(super) fn finish(mut self) -> Option<Exchange> {
        let status = self.status.filter(|status| (100..600).contains(status))?;
        if self.is_chunked
            && let Some(body) = without_chunks(&self.body)
        {
            self.body = body;
        }
        let profile = self.profile();
        let mint = self.mint(status, &profile);
        let route = self.route();
        let nowhere = || Route { host: String::new(), method: String::new(), template: String::new() };
        let refused = route.clone().unwrap_or_else(nowhere);
        let refusal = Refusal::read(&profile, status, &self.challenges, &self.body, refused, Boot::from_nanos(0));
        let named = self.correlation_id;
        let refusal = refusal.map(|refusal| Refusal { correlation_id: named.or(refusal.correlation_id), ..refusal });
        let credential = match self.authorization {
            Some(credential) => credential,
            None if self.shows_request => Credential::Nothing,
            None => Credential::NotShown,
        };
        let [count, allowed, reset] = &self.rate;
        let rate = count.as_deref().zip(allowed.as_deref()).zip(reset.as_deref());
        Some(Exchange {
            sent: self.sent,
            received: self.received,
            date: self.date,
            is_cached: self.is_cached,
            route,
            credential,
            status,
            profile,
            refusal,
            retry_after: self.retry_after,
            rate: rate.and_then(|((count, allowed), reset)| parse_rate_sample(count, allowed, reset)),
            redirects_to: self.redirects_to.filter(|_| (300..400).contains(&status)),
            mint,
        })
    }

    fn route(&self) -> Option<Route> {
        let host = self.host.as_deref().unwrap_or_default();
        let method = self.method.as_deref().unwrap_or_default();
        let path = self.path.as_deref().or_else(|| self.host.is_some().then_some(""))?;
        Some(Route::new(host, method, path))
    }

    /// Whose facts apply. A body may tell where the host does not, as behind a gateway.
    fn profile(&self) -> Profile {
        let region = self.host.as_deref().and_then(Region::of_url);
        let genesys = Profile::genesys(region.unwrap_or(Region::UsEast1));
        let speaks_genesys = || {
            let error = parse_api_error(&self.body);
            let is_limit = error.as_ref().is_some_and(|error| {
                error.code.as_deref() == Some("invalid_request")
                    && error.message.as_deref().is_some_and(|words| words.starts_with("rate limit exceeded"))
            });
            is_limit || error.is_some_and(|error| genesys.meaning(&error).is_some())
        };
        if region.is_some() {
            genesys
        } else if self.is_of_genesys || speaks_genesys() {
            Profile { token_url: None, api_url: None, ..genesys }
        } else {
            Profile::oauth2()
        }
    }

    /// What came of a token request, if it was one.
    fn mint(&self, status: u16, profile: &Profile) -> Option<Mint> {
        let form = self.form_values();
        let outcome = parse_token_answer(status, &self.body);
        let is_mint = form.grant.is_some() || outcome.is_ok() || self.went_to_a_token_endpoint(&outcome);
        // A redirect, a server error or a success without a token say nothing about the grant.
        if !is_mint || (outcome.is_err() && !(400..500).contains(&status)) {
            return None;
        }
        let outcome = match outcome {
            Ok(answer) => Ok(minted(&answer)),
            Err(mut failure) => {
                profile.classify_token_failure(&mut failure);
                Err(TokenFailure { retry_after: self.retry_after, ..failure })
            }
        };
        let client = self.client.or(form.client);
        let FormValues { grant, refresh_token, assertion, .. } = form;
        Some(Mint { grant, client, refresh_token, assertion, outcome })
    }

    fn went_to_a_token_endpoint(&self, outcome: &Result<TokenAnswer, TokenFailure>) -> bool {
        let path = self.path.as_deref().and_then(|path| path.split(['?', '#']).next());
        match (self.method.as_deref(), path) {
            (Some("POST"), Some(path)) => path.trim_end_matches('/').rsplit('/').next() == Some("token"),
            (Some(_), _) | (None, Some(_)) => false,
            (None, None) => outcome.as_ref().is_err_and(|failure| {
                let is_limit = failure.code.as_deref() == Some("invalid_request")
                    && failure.description.as_deref().is_some_and(|words| words.starts_with("rate limit exceeded"));
                is_limit || failure.code.as_deref().and_then(TokenFailureKind::from_code).is_some()
            }),
        }
    }

    fn form_values(&self) -> FormValues {
        let mut values = FormValues::default();
        for (name, value) in form_urlencoded::parse(&self.form).take(64) {
            match name.as_ref() {
                "grant_type" => values.grant = Some(cut(&value, 80)),
                "client_id" => values.client = Some(TokenMark::of(&value)),
                "refresh_token" => values.refresh_token = Some(TokenMark::of(&value)),
                "assertion" | "client_assertion" => values.assertion = read_claims(&value),
                _ => {}
            }
        }
        values
    }
}

#[derive(Default)]
struct FormValues {
    grant: Option<String>,
    client: Option<TokenMark>,
    refresh_token: Option<TokenMark>,
    assertion: Option<JwtClaims>,
}

fn minted(answer: &TokenAnswer) -> Minted {
    Minted {
        token: TokenFacts::of_token(answer.access_token.expose()),
        expires_in: answer.expires_in,
        refresh_token: answer.refresh_token.as_ref().map(|token| TokenMark::of(token.expose())),
    }
}

/// The mark of the client id in `Basic` credentials.
fn basic_id(value: &str) -> Option<TokenMark> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let id = decoded.split(|byte| *byte == b':').next()?;
    let id = form_urlencoded::parse(id).next()?.0.into_owned();
    Some(TokenMark::of(&id))
}

/// The host of an absolute URL.
fn host_of(url: &str) -> Option<String> {
    let mut draft = Draft::default();
    draft.target(url);
    draft.host
}

fn append(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = BODY_LIMIT.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

/// The body inside a chunked one; `None` if it holds no chunks, because the capture's writer has taken them out.
fn without_chunks(body: &[u8]) -> Option<Vec<u8>> {
    let mut rest = body.trim_ascii_start();
    let mut whole = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 1..];
        whole.extend_from_slice(&rest[..size.min(rest.len())]);
        if size == 0 || size >= rest.len() {
            return Some(whole);
        }
        rest = rest[size..].trim_ascii_start();
        if rest.is_empty() {
            return Some(whole);
        }
    }
}

/// How much of a request's target is looked at.
const TARGET_LIMIT: usize = 2048;
/// Fields in which servers name an exchange.
const CORRELATION_FIELDS: [&str; 7] = [
    "inin-correlation-id",
    "x-correlation-id",
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "traceparent",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Draft {
        let mut draft = Draft { status: Some(status), ..Draft::default() };
        draft.answer_body(body.as_bytes());
        draft
    }

    #[test]
    fn a_url_leaves_host_and_template_only() {
        let mut draft = answered(401, "");
        draft.request_line("get", "https://me:pw@API.example.org:443/api/v2/users/17?access_token=s3cr3t#x");
        let route = draft.finish().unwrap().route.unwrap();
        assert_eq!((route.host.as_str(), route.to_string().as_str()), ("api.example.org", "GET /api/v2/users/{id}"));
    }

    #[test]
    fn a_token_request_is_known_by_form_path_answer_or_code() {
        let mut by_form = answered(400, r#"{"error":"invalid_request"}"#);
        by_form.request_body(b"grant_type=refresh_token&refresh_token=abc");
        assert_eq!(by_form.finish().unwrap().mint.unwrap().grant.as_deref(), Some("refresh_token"));
        let mut by_path = answered(401, "");
        by_path.request_line("POST", "/oauth/token");
        assert!(by_path.finish().unwrap().mint.is_some());
        let by_answer = answered(200, r#"{"access_token":"abcdef","expires_in":60}"#);
        assert!(by_answer.finish().unwrap().mint.unwrap().outcome.is_ok());
        assert!(answered(400, r#"{"error":"invalid_client"}"#).finish().unwrap().mint.is_some());
        assert!(answered(401, r#"{"error":"invalid_token"}"#).finish().unwrap().mint.is_none());
        assert!(answered(500, r#"{"error":"invalid_client"}"#).finish().unwrap().mint.is_none());
    }

    #[test]
    fn the_client_is_the_same_in_basic_and_form() {
        let mut basic = answered(401, "");
        basic.request_line("POST", "/token");
        basic.request_field("Authorization", "Basic aWQ6c2VjcmV0");
        let mut form = answered(401, "");
        form.request_body(b"grant_type=client_credentials&client_id=id&client_secret=secret");
        let client = |draft: Draft| draft.finish().unwrap().mint.unwrap().client.unwrap();
        assert_eq!(client(basic), client(form));
    }

    #[test]
    fn chunks_are_taken_out_where_they_are() {
        let mut draft = answered(401, "10\r\n{\"code\":\"abcdef\"\r\n1\r\n}\r\n0\r\n\r\n");
        draft.is_chunked = true;
        assert_eq!(draft.clone().finish().unwrap().refusal.unwrap().error_code.as_deref(), Some("abcdef"));
        draft.replace_body(b"{\"code\":\"x\"}".to_vec());
        assert_eq!(draft.finish().unwrap().refusal.unwrap().error_code.as_deref(), Some("x"));
    }

    #[test]
    fn without_an_answer_there_is_no_exchange() {
        assert!(Draft::default().finish().is_none());
        assert!(answered(0, "").finish().is_none());
    }
}
