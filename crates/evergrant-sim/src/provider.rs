//! The provider: one state machine behind [`Provider::handle`].
//!
//! A request comes in with this machine's boot clock, a reply goes out: what to answer, and how long to wait before.
//! Scheduled events that are due are applied first, in order and with their own times, so that a provider needs no
//! timer and the same inputs give the same outputs. The provider acts at the moment a request arrives; its delay is the
//! answer's way back. The client's clock is never consulted.
//!
//! The decisions are in [`grants`](crate::grants) for the token endpoint and [`api`](crate::api) for everything else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use evergrant_core::secret::Secret;
use evergrant_core::time::{Boot, Now, Server, Span};
use http::header::{AGE, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::json;

use crate::clock::{SimClock, http_date};
use crate::codes::Code;
use crate::config::{DateHeader, ProviderConfig};
use crate::faults::{At, Event};
use crate::grants::JWT_BEARER;
use crate::ledger::Ledger;
use crate::rate::RateBook;
use crate::rotation::RefreshBook;
use crate::seed::Seed;
use crate::shape;
use crate::tokens::{Issue, Node, Refusal, TokenBook};

/// A request as the provider reads it.
#[derive(Clone)]
pub struct Request {
    /// Where it arrived.
    pub listener: Listener,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Request {
    /// A request without fields or body; `target` is a path with an optional query.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            listener: Listener::Both,
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A GET.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new(Method::GET, target)
    }

    /// A POST that executes the side effect `effect`.
    #[must_use]
    pub fn post(target: &str, effect: &str, body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(Method::POST, target).header(crate::api::EFFECT_HEADER, effect);
        request.body = body.into();
        request
    }

    /// A token request with this form.
    #[must_use]
    pub fn token(form: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Self::new(Method::POST, "/oauth/token");
        request.body = body.into();
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request
    }

    /// With HTTP Basic client authentication (RFC 6749 section 2.3.1: both parts form-encoded first).
    #[must_use]
    pub fn basic(self, id: &str, secret: &str) -> Self {
        let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = STANDARD.encode(format!("{}:{}", part(id), part(secret)));
        self.header(AUTHORIZATION, &format!("Basic {credentials}"))
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// With one more field; a value that no header can carry is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }
}

/// Which part of the provider a socket serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// Token endpoint and API.
    Both,
    /// The token endpoint only.
    Login,
    /// The API only.
    Api,
}

/// What the provider does about a request.
#[derive(Debug)]
pub struct Reply {
    /// How long after the request's arrival.
    pub delay: Span,
    /// What the client gets then.
    pub answer: Answer,
}

/// What a client gets.
#[derive(Debug)]
pub enum Answer {
    /// A whole answer.
    Response(Response<Payload>),
    /// The head and the first bytes of the body of an answer that announced more, then the end of the connection.
    Torn {
        /// The answer it would have been; its body is [`Payload::Bytes`].
        response: Response<Payload>,
        /// How many bytes of the body are sent.
        keep: usize,
    },
    /// The connection is reset without an answer.
    Reset {
        /// Did the provider act on the request before?
        acted: bool,
    },
}

/// A body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// These bytes.
    Bytes(Bytes),
    /// This many bytes of [`Payload::FILL`], too many to hold.
    Fill(u64),
    /// Server-sent events, one at once and then one each `every`.
    Events {
        /// How many.
        count: u32,
        /// The time between two.
        every: Span,
    },
}

impl Payload {
    /// The byte of which a big body is made.
    pub const FILL: u8 = b'x';
}

/// The provider's whole state.
pub struct Provider {
    pub(crate) config: ProviderConfig,
    pub(crate) clock: SimClock,
    pub(crate) tokens: TokenBook,
    pub(crate) refresh: RefreshBook,
    pub(crate) codes: BTreeMap<String, Code>,
    pub(crate) jtis: BTreeSet<String>,
    pub(crate) mints: Vec<VecDeque<Boot>>,
    pub(crate) rates: RateBook,
    pub(crate) ledger: Ledger,
    pub(crate) seed: Seed,
    pub(crate) next_node: usize,
    pub(crate) last_refusal: Option<Refusal>,
    frozen_date: Server,
    schedule: VecDeque<(Boot, Event)>,
}

impl Provider {
    /// A provider that starts now, with `now.wall` as the true calendar time.
    #[must_use]
    pub fn new(mut config: ProviderConfig, now: Now) -> Self {
        if config.nodes.is_empty() {
            config.nodes.push(crate::config::NodeConfig::default());
        }
        let shown = Server::from_nanos(now.wall.as_nanos()) + config.clock.offset;
        Self {
            clock: SimClock::new(shown, config.clock.drift_ppm, now.boot),
            tokens: TokenBook::default(),
            refresh: RefreshBook::new(&config.clients),
            codes: BTreeMap::new(),
            jtis: BTreeSet::new(),
            mints: vec![VecDeque::new(); config.clients.len()],
            rates: RateBook::default(),
            ledger: Ledger::default(),
            seed: Seed::new(config.seed),
            next_node: 0,
            last_refusal: None,
            frozen_date: shown,
            schedule: VecDeque::new(),
            config,
        }
    }

    /// Adds events, each at its time after `start`.
    pub fn schedule(&mut self, events: impl IntoIterator<Item = At>, start: Boot) {
        self.schedule.extend(events.into_iter().map(|at| (start + at.after, at.event)));
        self.schedule.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// When the next scheduled event is due.
    #[must_use]
    pub fn next_event(&self) -> Option<Boot> {
        self.schedule.front().map(|(at, _)| *at)
    }

    /// Applies the scheduled events that are due.
    pub fn advance(&mut self, now: Boot) {
        while self.next_event().is_some_and(|at| at <= now) {
            if let Some((at, event)) = self.schedule.pop_front() {
                self.apply(event, at);
            }
        }
    }

    /// Answers a request that arrives now.
    pub fn handle(&mut self, request: &Request, now: Boot) -> Reply {
        self.advance(now);
        self.last_refusal = None;
        let is_token = request.path == self.config.token_path;
        let (mut reply, shown) = match request.listener {
            Listener::Both | Listener::Login if is_token => (self.token_request(request, now), self.clock.read(now)),
            Listener::Both | Listener::Api if request.path.starts_with("/api/") => self.api_request(request, now),
            Listener::Both | Listener::Login if DISCOVERY_PATHS.contains(&request.path.as_str()) => {
                (self.discovery(request), self.clock.read(now))
            }
            Listener::Both | Listener::Login | Listener::Api => (not_found(), self.clock.read(now)),
        };
        if let Answer::Response(response) | Answer::Torn { response, .. } = &mut reply.answer {
            self.write_date(response, shown);
        }
        reply
    }

    /// The refusal that a provider with `refuse_early` sends on the head of a request, while its body still comes in.
    pub fn refuse_early(&mut self, head: &Request, now: Boot) -> Option<Reply> {
        self.advance(now);
        let is_api = head.listener != Listener::Login && head.path.starts_with("/api/");
        if !self.config.refuse_early || !is_api {
            return None;
        }
        let (mut response, shown) = self.refuse_by_head(head, now)?;
        self.write_date(&mut response, shown);
        Some(Reply { delay: Span::ZERO, answer: Answer::Response(response) })
    }

    /// Changes the provider now.
    pub fn apply(&mut self, event: Event, now: Boot) {
        let config = &mut self.config;
        match event {
            Event::StepServer(by) => self.clock.step(by, now),
            Event::StepNode(node, by) => {
                if let Some(node) = config.nodes.get_mut(node) {
                    node.clock_offset += by;
                }
            }
            Event::SetDrift(ppm) => self.clock.set_drift(ppm, now),
            Event::RevokeAll => self.tokens.end_all(Refusal::Revoked, None, now),
            Event::RevokeOldest => self.tokens.end_oldest(Refusal::Revoked, self.clock.read(now), now),
            Event::RevokeRefreshTokens => self.refresh.revoke_all(),
            Event::OutsideMints(count) => self.mint_outside(count, now),
            Event::SetPropagation(delay) => config.nodes.iter_mut().for_each(|node| node.propagation = delay),
            Event::SetLifetime(lifetime) => config.tokens.lifetime = lifetime,
            Event::SetExpiresIn(says) => config.tokens.expires_in = says,
            Event::SetRevokeOld(revoke) => config.tokens.revoke_old = revoke,
            Event::SetMintLimit(limit) => config.mint_limit = limit,
            Event::SetClientSecret(secret) => {
                if let Some(client) = config.clients.first_mut() {
                    client.secret = secret;
                }
            }
            Event::SetDate(date) => {
                config.date = date;
                self.frozen_date = self.clock.read(now);
            }
            Event::TokenFault(rule) => config.faults.token.insert(0, rule),
            Event::ClearTokenFaults => config.faults.token.clear(),
            Event::ApiFault(rule) => config.faults.api.insert(0, rule),
            Event::ClearApiFaults => config.faults.api.clear(),
        }
    }

    /// Why the token of the last request was refused, if it was.
    pub(crate) fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal
    }

    /// Is the life of this token over by the issuer's clock, or so nearly that a node may think so? Or is the life over
    /// that its answer announced?
    #[must_use]
    pub fn is_over(&self, token: &str, now: Boot) -> bool {
        let soon = Span::from_secs(2);
        let generation = self.tokens.generation_of(token);
        let seen = generation.and_then(|generation| self.ledger.generations.get(&generation));
        self.tokens.ends(token).is_some_and(|ends| self.clock.read(now) + soon >= ends)
            || seen.is_some_and(|seen| now + soon >= seen.announced_end)
    }

    /// Has the time of this token not come yet by the issuer's clock, or so lately that a node may think so?
    #[must_use]
    pub fn is_early(&self, token: &str, now: Boot) -> bool {
        self.tokens.begins(token).is_some_and(|begins| self.clock.read(now) < begins + Span::from_secs(2))
    }

    /// What happened so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ledger, for the layer that measures concurrency.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// What the issuer's clock shows: the truth that a client's estimate is compared with.
    #[must_use]
    pub fn issuer_clock(&self, now: Boot) -> Server {
        self.clock.read(now)
    }

    /// What a node's clock shows; an unknown node has the issuer's clock.
    #[must_use]
    pub fn node_clock(&self, node: usize, now: Boot) -> Server {
        let extra = self.config.nodes.get(node).map_or(Span::ZERO, |node| node.clock_offset);
        self.clock.read(now) + extra
    }

    /// Would every node accept this token now? Using it so leaves no trace.
    #[must_use]
    pub fn works_everywhere(&self, token: &str, now: Boot) -> bool {
        (0..self.config.nodes.len()).all(|index| self.would_accept(token, index, now))
    }

    /// Would some node accept this token now?
    #[must_use]
    pub fn works_somewhere(&self, token: &str, now: Boot) -> bool {
        (0..self.config.nodes.len()).any(|index| self.would_accept(token, index, now))
    }

    fn would_accept(&self, token: &str, index: usize, now: Boot) -> bool {
        let idle_timeout = self.config.tokens.idle_timeout;
        let node = Node { index, clock: self.node_clock(index, now), idle_timeout };
        self.tokens.would_accept(token, &node, now)
    }

    /// Every secret that this provider knows or gave out, for tests that search outputs for them.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let clients = self.config.clients.iter().map(|client| client.secret.as_str());
        self.tokens.texts().chain(self.refresh.texts()).chain(clients).map(Secret::from).collect()
    }

    /// Issues an access token and writes it to the ledger.
    pub(crate) fn mint(&mut self, client: usize, scope: Option<String>, now: Boot) -> u64 {
        let config = &self.config;
        let delays = config.nodes.iter().map(|node| self.seed.delay(node.propagation)).collect();
        let client_id = config.clients.get(client).map_or("", |client| client.id.as_str());
        let stamp = self.clock.read(now);
        let issue = Issue { client, client_id, scope, config: &config.tokens, stamp, delays };
        let generation = self.tokens.issue(issue, &mut self.seed, now);
        self.ledger.note_issue(generation, now, now + config.tokens.lifetime);
        generation
    }

    /// The metadata of the authorization server (RFC 8414 section 3.2), under the name it was asked by.
    fn discovery(&self, request: &Request) -> Reply {
        let host = request.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
        let body = json!({
            "issuer": format!("http://{host}"),
            "token_endpoint": format!("http://{host}{}", self.config.token_path),
            "grant_types_supported": ["client_credentials", "refresh_token", "authorization_code", JWT_BEARER],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        });
        Reply { delay: Span::ZERO, answer: Answer::Response(shape::json_response(StatusCode::OK, &body)) }
    }

    /// Writes `Date`, and what a cache in between adds to it.
    fn write_date(&self, response: &mut Response<Payload>, shown: Server) {
        match self.config.date {
            DateHeader::Live => shape::set(response, DATE, &http_date(shown)),
            DateHeader::Absent => {}
            DateHeader::Frozen => shape::set(response, DATE, &http_date(self.frozen_date)),
            DateHeader::Cached { age_secs } => {
                shape::set(response, DATE, &http_date(shown - Span::from_secs(i64::from(age_secs))));
                shape::set(response, AGE, &age_secs.to_string());
            }
        }
    }

    fn mint_outside(&mut self, count: u32, now: Boot) {
        for _ in 0..count {
            self.mint(0, None, now);
            if let Some(mints) = self.mints.first_mut() {
                mints.push_back(now);
            }
            self.ledger.token.outside_mints += 1;
        }
    }
}

const DISCOVERY_PATHS: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

fn not_found() -> Reply {
    let response = shape::json_response(StatusCode::NOT_FOUND, &json!({"error": "not_found"}));
    Reply { delay: Span::ZERO, answer: Answer::Response(response) }
}

#[cfg(test)]
mod tests;
