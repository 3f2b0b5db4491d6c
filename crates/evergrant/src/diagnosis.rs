//! Why an answer to a request of one's own was a refusal.
//!
//! A program that sends with its own HTTP client hands the head of the answer and the beginning of its body to a
//! [`Diagnosis`], adds what it knows, and gets the verdict that the gateway and [`Client`](crate::Client) would give.
//! More facts make a surer verdict, and none is required: without the token's text no defect of it is seen, without the
//! request's URL no region, without the moments of sending and receiving no clock is compared.
//!
//! ```
//! use evergrant::Diagnosis;
//! use evergrant::core::verdict::{Cause, Confidence};
//! use http::{Response, header::WWW_AUTHENTICATE};
//!
//! let answer = Response::builder()
//!     .status(401)
//!     .header(WWW_AUTHENTICATE, r#"Bearer error="invalid_token", error_description="Token has been revoked""#)
//!     .body("")?;
//! let verdict = Diagnosis::of(answer.status(), answer.headers())
//!     .request("GET", "https://api.example.org/v1/users/17?expand=all")
//!     .body(answer.body().as_bytes())
//!     .token("DCl7jJaGIGQ1M-8dq791twKewbp8")
//!     .verdict()
//!     .ok_or("no refusal")?;
//! assert_eq!((verdict.cause, verdict.confidence), (Cause::Revoked, Confidence::Certain));
//! println!("{}: {}", verdict.cause, verdict.remedy);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With [`Diagnosis::verdict_from`] the verdict comes from a [`TokenSource`] that gave the token: it knows the token's
//! age and end, its successors, and what became of other requests, and it counts the verdict as its own.
//!
//! Limits: a token is judged by its text and its dates, never by its signature.

use std::fmt;
use std::time::{Duration, SystemTime};

use evergrant_core::Secret;
use evergrant_core::attempt::{Attempt, Refusal, Replay, Route};
use evergrant_core::evidence::{Carried, Evidence, Regions};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Profile, Region};
use evergrant_core::time::{Boot, Server, Span};
use evergrant_core::token::Generation;
use evergrant_core::verdict::{Verdict, diagnose};
use evergrant_core::wire::{TokenShape, parse_challenges, parse_http_date, read_claims};
use http::header::{AGE, DATE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::clock;
use crate::retry_after::retry_after;
use crate::source::TokenSource;

/// What is known about one refused request, to be diagnosed.
#[must_use = "it does nothing until it is asked for a verdict"]
pub struct Diagnosis<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    body: &'a [u8],
    method: &'a str,
    url: Option<Url>,
    token: Option<Secret>,
    is_bare: bool,
    profile: Option<Profile>,
    token_url: Option<&'a str>,
    audience: Option<&'a str>,
    moments: Option<(SystemTime, SystemTime)>,
    age: Option<Duration>,
    expires_in: Option<Duration>,
    worked_before: bool,
    works_since: bool,
}

impl<'a> Diagnosis<'a> {
    /// Begins with the head of an answer.
    pub fn of(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self {
            status,
            headers,
            body: &[],
            method: "GET",
            url: None,
            token: None,
            is_bare: false,
            profile: None,
            token_url: None,
            audience: None,
            moments: None,
            age: None,
            expires_in: None,
            worked_before: false,
            works_since: false,
        }
    }

    /// The beginning of its body, as far as it is at hand; 16 KiB are plenty.
    pub fn body(self, prefix: &'a [u8]) -> Self {
        Self { body: prefix, ..self }
    }

    /// What was asked: the method and the URL, whose query is dropped.
    pub fn request(self, method: &'a str, url: &str) -> Self {
        let url = Url::parse(url).ok().map(|mut url| {
            url.set_query(None);
            url
        });
        Self { method, url, ..self }
    }

    /// The text of the token that was sent. It is looked at and not kept.
    pub fn token(self, token: impl Into<Secret>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The request carried no credentials at all.
    pub fn without_token(self) -> Self {
        Self { token: None, is_bare: true, ..self }
    }

    /// What is known about the provider. Without it the host of the URL decides.
    pub fn profile(self, profile: Profile) -> Self {
        Self { profile: Some(profile), ..self }
    }

    /// The token endpoint that issued the token.
    pub fn issued_by(self, token_url: &'a str) -> Self {
        Self { token_url: Some(token_url), ..self }
    }

    /// What the API calls itself, as an audience or resource.
    pub fn audience(self, name: &'a str) -> Self {
        Self { audience: Some(name), ..self }
    }

    /// When the request was sent and its answer arrived, by this machine's calendar clock.
    pub fn moments(self, sent: SystemTime, received: SystemTime) -> Self {
        Self { moments: Some((sent, received)), ..self }
    }

    /// How long before the answer the token was asked for, and the `expires_in` that it came with.
    pub fn lifetime(self, age: Duration, expires_in: Option<Duration>) -> Self {
        Self { age: Some(age), expires_in, ..self }
    }

    /// Had a request with the same token succeeded before?
    pub fn worked_before(self, worked: bool) -> Self {
        Self { worked_before: worked, ..self }
    }

    /// Has a request with the same token succeeded that was sent after this answer had arrived?
    pub fn works_since(self, works: bool) -> Self {
        Self { works_since: works, ..self }
    }

    /// The verdict; `None` if the answer refuses nothing that has to do with credentials.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.evidence().map(|evidence| diagnose(&evidence))
    }

    /// The verdict of the source that gave the token, with its `id`; `None` if the answer refuses nothing.
    ///
    /// A token that the source does not know, or knows no more, is judged as without it.
    #[must_use]
    pub fn verdict_from(&self, source: &TokenSource) -> Option<Verdict> {
        let shared = source.shared();
        let refusal = self.refusal(&shared.profile)?;
        let generation = self.token.as_ref().and_then(|token| shared.look(|keeper, _| keeper.generation_of(token)));
        let evidence = self.evidence()?;
        Some(shared.act(|keeper, now| match generation {
            Some(generation) => keeper.verdict(&self.attempt(generation, &refusal), &refusal, now),
            None => keeper.verdict_on(&evidence, now),
        }))
    }

    /// What is known, for whoever knows more and wants to add it before [`diagnose`].
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        let guessed = || self.region().map_or_else(Profile::oauth2, Profile::genesys);
        let refusal = self.refusal(&self.profile.clone().unwrap_or_else(guessed))?;
        let carried = match &self.token {
            Some(_) => Carried::Unmanaged,
            None if self.is_bare => Carried::Nothing,
            None => Carried::NotShown,
        };
        let (to_dead, to_gone) = self.ends();
        let mut evidence = Evidence {
            age: self.age.map(Span::from_duration),
            to_dead,
            to_gone,
            settle: Policy::FIRST_SETTLE,
            regions: Regions { api: self.region(), ..Regions::of(self.token_url, None) },
            worked_before: self.worked_before,
            works_since: self.works_since,
            local_minus_server: self.local_minus_server(),
            ..Evidence::of_refusal(&refusal, carried)
        };
        let Some(token) = &self.token else { return Some(evidence) };
        if let Some(shape) = TokenShape::of_authorization(&format!("Bearer {}", token.expose())) {
            evidence = evidence.with_shape(shape);
        }
        if let Some(claims) = read_claims(token.expose()) {
            evidence = evidence.with_claims(&claims, self.host(), self.server_time());
        }
        if let Some(audience) = &mut evidence.audience {
            audience.wanted = self.audience.map(str::to_owned);
        }
        Some(evidence)
    }

    fn refusal(&self, profile: &Profile) -> Option<Refusal> {
        let challenges = parse_challenges(self.headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes));
        let path = self.url.as_ref().map(Url::path).unwrap_or_default();
        let route = Route::new(self.host().unwrap_or_default(), self.method, path);
        let refusal = Refusal::read(profile, self.status.as_u16(), &challenges, self.body, route, clock::boot())?;
        let named = ["inin-correlation-id", "x-request-id"].iter().find_map(|name| self.text(name)).map(str::to_owned);
        Some(Refusal {
            correlation_id: named.or(refusal.correlation_id),
            retry_after: retry_after(self.headers),
            can_send_again: true,
            ..refusal
        })
    }

    /// The request as the keeper knows one: it could be sent again, so that nobody is told that it may not.
    fn attempt(&self, generation: Generation, refusal: &Refusal) -> Attempt {
        let took = self.moments.and_then(|(sent, received)| received.duration_since(sent).ok()).unwrap_or_default();
        let sent: Boot = refusal.received - Span::from_duration(took);
        let mut attempt = Attempt::new(Replay::Free, sent, Span::ZERO);
        attempt.mark_sent(generation, sent);
        attempt.mark_refused(refusal.clone());
        attempt
    }

    fn host(&self) -> Option<&str> {
        self.url.as_ref()?.host_str()
    }

    fn region(&self) -> Option<Region> {
        Region::of_url(self.host()?)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The earliest and the latest end of the token's life, from the answer on.
    fn ends(&self) -> (Option<Span>, Option<Span>) {
        let (Some(age), Some(lifetime)) = (self.age, self.expires_in) else { return (None, None) };
        let lifetime = Span::from_duration(lifetime);
        let (left, drift) = (lifetime - Span::from_duration(age), lifetime.drift(Policy::default().drift_ppm));
        (Some(left - drift), Some(left + drift))
    }

    /// Between which two instants the server's clock stood when it wrote the answer. A cached answer is of another time.
    fn server_time(&self) -> Option<(Server, Server)> {
        let date = parse_http_date(self.text(DATE.as_str())?).filter(|_| !self.headers.contains_key(AGE))?;
        Some((date, date + Span::from_secs(1)))
    }

    /// How far this machine's calendar clock was ahead: the server wrote the date between the two moments.
    fn local_minus_server(&self) -> Option<(Span, Span)> {
        let (sent, received) = self.moments?;
        let (earliest, latest) = self.server_time()?;
        let local = |at: SystemTime| {
            let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(Server::from_secs(0) + Span::from_duration(since_epoch))
        };
        Some((local(sent)? - latest, local(received)? - earliest))
    }
}

impl fmt::Debug for Diagnosis<'_> {
    /// Without header values and body, which may hold anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnosis").field("status", &self.status).field("host", &self.host()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use evergrant_core::verdict::{Cause, Confidence, Fault};

    use super::*;

    const DATE_OF_ANSWER: u64 = 1_790_000_000;

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn jwt(exp: u64) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(&format!(r#"{{"exp":{exp},"aud":"https://other/"}}"#)))
    }

    fn local(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn an_answer_that_refuses_nothing_has_no_verdict() {
        let headers = HeaderMap::new();
        for status in [200, 302, 404, 400, 500, 503, 504] {
            assert!(Diagnosis::of(StatusCode::from_u16(status).unwrap(), &headers).verdict().is_none(), "{status}");
        }
    }

    #[test]
    fn the_host_tells_the_provider_and_its_codes_are_understood() {
        let headers = HeaderMap::new();
        let body = br#"{"code":"ip.not.authorized","message":"no","status":401}"#;
        let of = |url| Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).body(body).token("abc").request("GET", url);
        assert_eq!(of("https://api.mypurecloud.de/api/v2/users").verdict().unwrap().cause, Cause::IpNotAllowed);
        assert_eq!(of("https://api.example.org/users").verdict().unwrap().cause, Cause::Unknown);
    }

    #[test]
    fn a_request_that_carried_nothing_is_told_so() {
        let headers = HeaderMap::new();
        let of = Diagnosis::of(StatusCode::UNAUTHORIZED, &headers);
        assert_eq!(of.without_token().verdict().unwrap().cause, Cause::MissingToken);
    }

    #[test]
    fn a_jwt_is_judged_by_the_date_of_the_answer() {
        let headers = head(&[("date", "Mon, 21 Sep 2026 14:13:20 GMT")]);
        let of = |exp| Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).token(jwt(exp).as_str()).verdict().unwrap();
        // Certain only when nodes whose clocks are a second apart agree.
        let over = of(DATE_OF_ANSWER - 1);
        assert_eq!((over.cause, over.confidence), (Cause::Expired, Confidence::Certain));
        for last in [DATE_OF_ANSWER, DATE_OF_ANSWER + 1] {
            let within = of(last);
            assert_eq!((within.cause, within.confidence), (Cause::Expired, Confidence::Likely));
        }
        assert_ne!(of(DATE_OF_ANSWER + 2).cause, Cause::Expired);
    }

    #[test]
    fn a_slow_clock_is_found_from_the_moments_of_the_request() {
        let headers = head(&[("date", "Mon, 21 Sep 2026 14:13:20 GMT")]);
        let of = |slow| {
            let sent = local(DATE_OF_ANSWER - slow);
            let token = jwt(DATE_OF_ANSWER - 60);
            Diagnosis::of(StatusCode::UNAUTHORIZED, &headers)
                .token(token.as_str())
                .moments(sent, sent + Duration::from_millis(200))
                .verdict()
                .unwrap()
        };
        assert_eq!(of(120).fault, Fault::ThisClock);
        assert!(of(120).evidence.iter().any(|fact| fact.contains("SLOW")));
        assert_eq!(of(0).fault, Fault::Caller);
    }

    #[test]
    fn a_cached_answer_tells_no_time() {
        let headers = head(&[("date", "Mon, 21 Sep 2026 14:13:20 GMT"), ("age", "3")]);
        let token = jwt(DATE_OF_ANSWER - 60);
        let verdict = Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).token(token.as_str()).verdict().unwrap();
        assert_ne!(verdict.cause, Cause::Expired);
    }

    #[test]
    fn what_the_program_knows_of_its_token_counts() {
        let headers = HeaderMap::new();
        let of = || Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).token("abcdef");
        let hour = Duration::from_secs(3600);
        let lived = |age| of().lifetime(Duration::from_secs(age), Some(hour)).worked_before(true).verdict().unwrap();
        assert_eq!((lived(3602).cause, lived(3602).confidence), (Cause::Expired, Confidence::Certain));
        assert_eq!((lived(3600).cause, lived(3600).confidence), (Cause::Expired, Confidence::Likely));
        assert_eq!((lived(3000).cause, lived(3000).confidence), (Cause::Revoked, Confidence::Likely));
        assert_eq!(of().lifetime(Duration::from_secs(1), Some(hour)).verdict().unwrap().cause, Cause::Propagating);
        assert_eq!(of().works_since(true).verdict().unwrap().cause, Cause::RouteSpecific);
    }

    #[test]
    fn regions_and_audiences_are_compared() {
        let headers = HeaderMap::new();
        let of = |token: &str| Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).token(token);
        let elsewhere = of("abcdef")
            .request("GET", "https://api.mypurecloud.com/api/v2/users/me")
            .issued_by("https://login.mypurecloud.de/oauth/token");
        assert_eq!(elsewhere.verdict().unwrap().cause, Cause::WrongRegion);
        assert_eq!(of(&jwt(1)).audience("https://api/").verdict().unwrap().cause, Cause::WrongAudience);
        assert_eq!(of(&jwt(1)).audience("https://other/").verdict().unwrap().cause, Cause::Unknown);
    }

    #[test]
    fn nothing_of_the_token_or_the_query_is_shown() {
        let headers = HeaderMap::new();
        let diagnosis = Diagnosis::of(StatusCode::UNAUTHORIZED, &headers)
            .token("DCl7jJaGIGQ1M 8dq791twKewbp8")
            .request("GET", "https://api.example/users?secret=query");
        let verdict = diagnosis.verdict().unwrap();
        assert_eq!(verdict.cause, Cause::MalformedToken);
        let shown = format!("{verdict:?} {:?}", diagnosis.evidence());
        assert!(!shown.contains("DCl7") && !shown.contains("query"), "{shown}");
    }
}
