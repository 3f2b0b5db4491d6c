//! The resource server: any path under `/api/`, on nodes that each judge the token by their own clock.
//!
//! | route | answer to a good token |
//! |---|---|
//! | GET, HEAD `/api/...` | 200 with path, query and node; `?bytes=N` pads the body |
//! | POST, PUT, PATCH, DELETE `/api/...` | executes the side effect named by the `sim-effect` field; echoes the body's length and hash |
//! | GET, HEAD, DELETE `/api/v2/tokens/me` | about the token; DELETE revokes it |
//! | GET of the routes of `account` | about the client and its organisation |
//! | `/api/v2/paged/...`, `/api/v2/analytics/paged/...` | a page of a collection, see `paged` |
//! | GET `/api/v2/date` | the node's clock in milliseconds |
//! | GET `/api/v2/health/check` | 200 without a token |
//! | GET `/api/bytes/N` | N bytes |
//! | GET `/api/events?count=N&every_ms=M` | server-sent events |
//! | `/api/status/N` | that status |
//!
//! A request that is refused executes nothing, whatever its method; that is what makes its replay safe. A fault that
//! strikes after executing is the case that must never be replayed.

use bytes::Bytes;
use evergrant_core::time::{Boot, Server, Span};
use http::header::{AUTHORIZATION, HeaderName};
use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::account;
use crate::clock::iso_millis;
use crate::config::{Routing, Shape};
use crate::faults::ApiFault;
use crate::grants::torn;
use crate::paged;
use crate::provider::{Answer, Payload, Provider, Reply, Request};
use crate::rate::Counted;
use crate::shape;
use crate::tokens::{Generation, Node, Refusal};

/// The request field that names a side effect.
pub const EFFECT_HEADER: HeaderName = HeaderName::from_static("sim-effect");
/// The request field that chooses a node by number, and the answer's field that says which it was.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("sim-node");

/// The hash that the API echoes of a request body: 64-bit FNV-1a in hexadecimal.
#[must_use]
pub fn body_hash(body: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", body.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

impl Provider {
    /// Answers a request to the API; also returns what the node's clock shows.
    pub(crate) fn api_request(&mut self, request: &Request, now: Boot) -> (Reply, Server) {
        let node = self.choose_node(request, now);
        let delay = self.seed.delay(self.config.latency.api);
        let fault = self.config.faults.draw_api(&request.path, &mut self.seed);
        self.ledger.api.calls += 1;
        self.ledger.api.faulted += u64::from(fault.is_some());
        let correlation = self.seed.uuid();
        let mut reply = self.decide_api(request, &node, fault, delay, &correlation, now);
        if let Answer::Response(response) | Answer::Torn { response, .. } = &mut reply.answer {
            shape::set(response, NODE_HEADER, &node.index.to_string());
            if self.config.shape == Shape::Genesys {
                shape::set(response, shape::CORRELATION_ID, &correlation);
            }
            self.ledger.api.succeeded += u64::from(response.status().is_success());
        }
        (reply, node.clock)
    }

    /// The refusal of a bad token, and the clock of the node that refuses it; `None` if it is good.
    pub(crate) fn refuse_by_head(&mut self, head: &Request, now: Boot) -> Option<(Response<Payload>, Server)> {
        let node = self.choose_node(head, now);
        let text = bearer(head)?;
        let (generation, verdict) = self.tokens.present(text, &node, now);
        let why = verdict.err()?;
        self.ledger.api.calls += 1;
        self.ledger.note_use(generation, Err(why), now);
        let correlation = self.seed.uuid();
        let mut response = shape::refusal(self.config.shape, why, &correlation);
        shape::set(&mut response, NODE_HEADER, &node.index.to_string());
        Some((response, node.clock))
    }

    fn decide_api(
        &mut self,
        request: &Request,
        node: &Node,
        fault: Option<ApiFault>,
        delay: Span,
        correlation: &str,
        now: Boot,
    ) -> Reply {
        let answered = |response| Reply { delay, answer: Answer::Response(response) };
        if let Some(answer) = fault.as_ref().and_then(|fault| self.fault_before_token(fault, correlation)) {
            return Reply { delay, answer };
        }
        if request.path == "/api/v2/health/check" {
            return answered(shape::json_response(StatusCode::OK, &json!({"ok": true})));
        }
        let generation = match self.check_token(request, node, now) {
            Ok(generation) => generation,
            Err(why) => return answered(shape::refusal(self.config.shape, why, correlation)),
        };
        let counted = self.config.rate_limit.map(|limit| self.rates.count(generation, limit, now));
        if let Some(over) = counted.filter(Counted::is_over) {
            self.ledger.api.rate_limited += 1;
            let mut response = shape::too_many_requests(self.config.shape, over.left_secs(), correlation);
            over.tell(&mut response);
            return answered(response);
        }
        if let Some(response) = fault.as_ref().and_then(|fault| self.fault_before_executing(fault, correlation)) {
            return answered(response);
        }
        let mut response = self.execute(request, node, generation, now);
        if let Some(counted) = counted {
            counted.tell(&mut response);
        }
        match fault {
            Some(ApiFault::Lost) => Reply { delay, answer: Answer::Reset { acted: true } },
            Some(ApiFault::Torn) => Reply { delay, answer: torn(response) },
            Some(ApiFault::Slow(span)) => Reply { delay: delay + span, answer: Answer::Response(response) },
            Some(ApiFault::FailedAfterExecuting) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let text = "The server encountered an unexpected condition.";
                answered(shape::api_error(self.config.shape, status, "internal.server.error", text, correlation))
            }
            Some(
                ApiFault::Reset
                | ApiFault::Status(_)
                | ApiFault::AuthenticationTimeout
                | ApiFault::AlwaysUnauthorized
                | ApiFault::IpNotAuthorized
                | ApiFault::MissingPermission
                | ApiFault::InsufficientScope
                | ApiFault::TooManyRequests(_),
            )
            | None => answered(response),
        }
    }

    /// The answer of a fault that strikes before the token is looked at.
    fn fault_before_token(&mut self, fault: &ApiFault, correlation: &str) -> Option<Answer> {
        let kind = self.config.shape;
        let response = match fault {
            ApiFault::Reset => return Some(Answer::Reset { acted: false }),
            ApiFault::Status(status) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                shape::api_error(kind, status, "service.unavailable", "The service is unavailable.", correlation)
            }
            ApiFault::AuthenticationTimeout => {
                let (code, text) = ("authentication.request.timeout", "Authentication request timeout.");
                shape::api_error(kind, StatusCode::GATEWAY_TIMEOUT, code, text, correlation)
            }
            ApiFault::AlwaysUnauthorized => self.refuse_all(Refusal::Route, correlation),
            ApiFault::IpNotAuthorized => self.refuse_all(Refusal::IpNotAuthorized, correlation),
            ApiFault::MissingPermission
            | ApiFault::InsufficientScope
            | ApiFault::TooManyRequests(_)
            | ApiFault::Slow(_)
            | ApiFault::Lost
            | ApiFault::Torn
            | ApiFault::FailedAfterExecuting => return None,
        };
        Some(Answer::Response(response))
    }

    fn refuse_all(&mut self, why: Refusal, correlation: &str) -> Response<Payload> {
        *self.ledger.api.refused.entry(why).or_default() += 1;
        self.last_refusal = Some(why);
        shape::refusal(self.config.shape, why, correlation)
    }

    /// The answer of a fault that strikes a good token before anything is executed.
    fn fault_before_executing(&self, fault: &ApiFault, correlation: &str) -> Option<Response<Payload>> {
        let kind = self.config.shape;
        match fault {
            ApiFault::MissingPermission => {
                let text =
                    "Unable to perform the requested action. You are missing the following permission(s): sim:all:view";
                Some(shape::api_error(kind, StatusCode::FORBIDDEN, "missing.permissions", text, correlation))
            }
            ApiFault::InsufficientScope => Some(shape::insufficient_scope(kind, correlation)),
            ApiFault::TooManyRequests(secs) => Some(shape::too_many_requests(kind, *secs, correlation)),
            ApiFault::Reset
            | ApiFault::Status(_)
            | ApiFault::AuthenticationTimeout
            | ApiFault::AlwaysUnauthorized
            | ApiFault::IpNotAuthorized
            | ApiFault::Slow(_)
            | ApiFault::Lost
            | ApiFault::Torn
            | ApiFault::FailedAfterExecuting => None,
        }
    }

    fn check_token(&mut self, request: &Request, node: &Node, now: Boot) -> Result<Generation, Refusal> {
        let (generation, verdict) = match bearer(request) {
            Some(text) => self.tokens.present(text, node, now),
            None => (None, Err(Refusal::MissingToken)),
        };
        self.ledger.note_use(generation, verdict, now);
        self.last_refusal = verdict.err();
        verdict?;
        generation.ok_or(Refusal::UnknownToken)
    }

    fn execute(&mut self, request: &Request, node: &Node, generation: Generation, now: Boot) -> Response<Payload> {
        let path = request.path.as_str();
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        if !reads && request.method != Method::OPTIONS {
            let named = request.headers.get(EFFECT_HEADER).and_then(|value| value.to_str().ok());
            // Two writes without a name are two effects, not one executed twice.
            let id = named.map_or_else(|| format!("unnamed-{}", self.ledger.api.calls), str::to_owned);
            let body_len = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
            self.ledger.note_effect(&id, body_len, body_hash(&request.body));
        }
        if let Some(status) = number(path.strip_prefix("/api/status/")) {
            let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
            return shape::bare(status.unwrap_or(StatusCode::NOT_FOUND));
        }
        if let Some(told) = account::about(path, self.holder(generation), &self.config, node.clock).filter(|_| reads) {
            return shape::json_response(StatusCode::OK, &told);
        }
        if let Some(page) = paged::answer(request, node.clock) {
            return page;
        }
        match path {
            "/api/v2/tokens/me" if request.method == Method::DELETE => {
                self.tokens.end(generation, Refusal::Revoked, now);
                shape::bare(StatusCode::NO_CONTENT)
            }
            "/api/v2/date" if reads => {
                shape::json_response(StatusCode::OK, &json!({"currentDate": iso_millis(node.clock)}))
            }
            "/api/events" if reads => events(&request.query),
            _ => match number(path.strip_prefix("/api/bytes/")) {
                Some(count) if reads => {
                    let mut response = shape::response(StatusCode::OK, "application/octet-stream", Bytes::new());
                    *response.body_mut() = Payload::Fill(count);
                    response
                }
                _ => echo(request, node),
            },
        }
    }

    /// The client that holds the token.
    fn holder(&self, generation: Generation) -> &str {
        let client = self.tokens.token(generation).and_then(|token| self.config.clients.get(token.client));
        client.map_or("", |client| client.id.as_str())
    }

    fn choose_node(&mut self, request: &Request, now: Boot) -> Node {
        let count = self.config.nodes.len();
        let chosen = request.headers.get(NODE_HEADER).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let index = match (chosen, self.config.routing) {
            (Some(chosen), _) => chosen % count,
            (None, Routing::RoundRobin) => {
                self.next_node = (self.next_node + 1) % count;
                self.next_node
            }
            (None, Routing::Seeded) => {
                let bound = u64::try_from(count).unwrap_or(1);
                usize::try_from(self.seed.below(bound)).unwrap_or(0)
            }
        };
        Node { index, clock: self.node_clock(index, now), idle_timeout: self.config.tokens.idle_timeout }
    }
}

fn echo(request: &Request, node: &Node) -> Response<Payload> {
    let mut body = json!({"ok": true, "path": request.path, "node": node.index});
    if !request.query.is_empty() {
        body["query"] = json!(request.query);
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        body["method"] = json!(request.method.as_str());
        body["body_len"] = json!(request.body.len());
        body["body_hash"] = json!(body_hash(&request.body));
    }
    if let Some(padding) = query_number(&request.query, "bytes") {
        body["padding"] = json!("x".repeat(usize::try_from(padding.min(MAX_PADDING)).unwrap_or(0)));
    }
    shape::json_response(StatusCode::OK, &body)
}

fn events(query: &str) -> Response<Payload> {
    let count = query_number(query, "count").and_then(|count| u32::try_from(count).ok()).unwrap_or(3);
    let every = query_number(query, "every_ms").and_then(|millis| i64::try_from(millis).ok()).unwrap_or(100);
    let mut response = shape::response(StatusCode::OK, "text/event-stream", Bytes::new());
    *response.body_mut() = Payload::Events { count, every: Span::from_millis(every) };
    response
}

/// The token of a single `Authorization: Bearer` field (RFC 6750 section 2.1).
fn bearer(request: &Request) -> Option<&str> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (fields.next()?, fields.next());
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

fn query_number(query: &str, key: &str) -> Option<u64> {
    let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key);
    number(found.as_ref().map(|(_, value)| value.as_ref()))
}

const MAX_PADDING: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
