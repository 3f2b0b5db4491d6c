//! One request, from the caller's head to the caller's answer.
//!
//! Read [`answer`] from top to bottom: refuse what is not for us, take a token, send, and let the library judge the
//! answer. A refusal of the token is looked into before any byte of it is handed on; the library then says whether the
//! caller sees it, with its verdict, or whether the request goes out again with another token. Everything else streams
//! through both ways, and the answer may begin before the request has ended.
//!
//! What is replayed and when is the library's rule alone. This module knows what it needs to obey: whether the request
//! body is whole in its copy, and that no byte of the answer has been handed on. If a replay finds no upstream, the
//! caller gets the 401 that caused it, unharmed.
//!
//! Before a request goes out it waits for its turn under the provider's rate limit ([`crate::pace`]). A 429 says
//! that nothing was executed, so a request whose body is at hand waits it out and goes again, whatever its method.
//!
//! Queries, `Authorization` and `Cookie` are in no log line; a path is there as its route template only.

mod reply;
mod turn;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use evergrant::clock::boot;
use evergrant::{Answer, Exchange, RequestTraits, Ruling, Sendable, TokenSource};
use evergrant_core::attempt::Route;
use evergrant_core::keeper::AcquireError;
use evergrant_core::pace::CallerKey;
use evergrant_core::time::Boot;
use http::header::{AUTHORIZATION, CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};

use crate::activity::Open;
use crate::body::CallerBody;
use crate::broker::{Admitted, Caller};
use crate::cors::{self, Visitor};
use crate::expect::{Asking, Withdrawn};
use crate::fault::FaultKind;
use crate::framing::Framing;
use crate::gate::bad_request;
use crate::headers::{self, CallerAuth};
use crate::pace::{self, Pass};
use crate::patience::answer_within;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::room::Room;
use crate::site::Site;
use crate::spans::RequestSpan;
use crate::tee::{Outbound, Tee};
use crate::upgrade::Upgrade;
use crate::upstream::{Arriving, Fault};

use reply::{Failed, Refusal, is_refusal};

/// Answers one request; in the form that a service has, which can fail.
pub(crate) async fn answer(
    site: Arc<Site>,
    peer: Arc<Peer>,
    mut open: Open,
    request: Request<Incoming>,
) -> Result<Response<CallerBody>, Infallible> {
    let started = boot();
    open.span = RequestSpan::begin(&site.name, &request);
    let traced = tracing::enabled!(tracing::Level::TRACE)
        .then(|| Route::new("", request.method().as_str(), request.uri().path()));
    let framing = request.headers().get(TRANSFER_ENCODING).map(|_| open.framing());
    // This request is counted already, so its own place is within the limit.
    let is_overloaded =
        site.metrics.in_progress() > i64::try_from(site.config.limits.requests_in_flight).unwrap_or(i64::MAX);
    let admitted = match framing {
        _ if is_overloaded => Err(overload("too many requests are in flight")),
        Some(Framing::Conflicting) => Err(bad_request("both Transfer-Encoding and Content-Length")),
        Some(Framing::Clear | Framing::Unseen) | None => site.gate.admit(&peer, &request),
    };
    let mut response = match admitted {
        Ok(visitor) => {
            let mut response = answer_visitor(&site, &peer, &visitor, &open, request).await;
            visitor.finish_response(response.headers_mut());
            response
        }
        Err(problem) => {
            site.metrics.refused.add();
            problem.into_response(CallerBody::whole)
        }
    };
    *response.version_mut() = Version::HTTP_11;
    if !site.config.verdict_header {
        response.headers_mut().remove(headers::VERDICT);
    }
    let is_last = open.is_last() && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if is_last || framing.is_some_and(|framing| framing != Framing::Clear) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    open.span.note_answer(response.status());
    let ended = boot();
    site.metrics.answered(response.status(), started, ended);
    if let Some(route) = traced {
        tracing::trace!(%route, %peer, status = response.status().as_u16(), took = %(ended - started), "request answered");
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        open.begin_tunnel();
    }
    Ok(response.map(|body| body.holding(open)))
}

/// Answers a request that the gate let in.
async fn answer_visitor(
    site: &Arc<Site>,
    peer: &Peer,
    visitor: &Visitor,
    open: &Open,
    mut request: Request<Incoming>,
) -> Response<CallerBody> {
    if cors::is_preflight(&request) {
        return cors::preflight(request.headers(), CallerBody::whole(bytes::Bytes::new()));
    }
    let caller = match site.broker.admit(&site.source, &mut request) {
        Admitted::Call(caller) => caller,
        // In a box: logins are rare and need more room than a call.
        Admitted::Here(errand) => {
            return Box::pin(site.broker.answer(errand, &site.source, peer, request)).await.map(CallerBody::whole);
        }
    };
    let mut call = match Call::accept(site, visitor, peer, open, caller, request) {
        Ok(call) => call,
        Err(problem) => {
            site.metrics.refused.add();
            return problem.into_response(CallerBody::whole);
        }
    };
    let result = if call.own_authorization { call.pass_through().await } else { call.keep_authorized().await };
    result.unwrap_or_else(|problem| problem.into_response(CallerBody::whole))
}

/// A request that was let in, and what is needed to send it, once or again.
struct Call {
    site: Arc<Site>,
    caller: Caller,
    /// For whom it counts under a rate limit.
    key: CallerKey,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Did the caller bring an Authorization of its own?
    own_authorization: bool,
    upgrade: Option<Upgrade>,
    /// The caller's body until it is sent for the first time.
    first: Outbound,
    copy: BodyCopy,
    /// The same body, if the caller waits to hear whether it is wanted.
    asking: Option<Asking>,
    span: RequestSpan,
}

/// What is left of the request body once it was sent.
enum BodyCopy {
    /// There was none.
    Empty,
    /// A copy, as far as it got.
    Tee(Tee),
    /// Nothing.
    Unkept,
}

impl Call {
    /// Refuses the request, or makes it ready to be sent.
    fn accept(
        site: &Arc<Site>,
        visitor: &Visitor,
        peer: &Peer,
        open: &Open,
        caller: Caller,
        mut request: Request<Incoming>,
    ) -> Result<Self, Problem> {
        let own_authorization = match CallerAuth::of(request.headers()) {
            CallerAuth::Absent => false,
            CallerAuth::Own => true,
            CallerAuth::Doubled => return Err(bad_request("more than one Authorization field")),
        };
        let target = site.config.upstream.target(request.uri().path_and_query());
        let uri = target.map_err(|_| bad_request("request target cannot be sent on"))?;
        let upgrade = headers::wanted_upgrade(request.headers())
            .filter(|_| request.version() == Version::HTTP_11 && request.body().is_end_stream())
            .map(|protocol| Upgrade::new(protocol, hyper::upgrade::on(&mut request)));
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        let asks_first = headers::asks_first(&headers, parts.version) && !body.is_end_stream();
        headers::clean_request(&mut headers, parts.version);
        visitor.clean_request(&mut headers);
        let key = pace::caller_of(&mut headers, &caller, peer);
        headers.insert(HOST, site.config.upstream.host_value());
        if let Some(upgrade) = &upgrade {
            upgrade.ask(&mut headers);
        }
        let (mut first, copy) = outbound(site, open, body, own_authorization);
        let asking = asks_first.then(|| {
            headers.insert(EXPECT, headers::CONTINUE);
            Asking::new(std::mem::replace(&mut first, Outbound::Empty))
        });
        let site = Arc::clone(site);
        let method = parts.method;
        let span = open.span.clone();
        Ok(Self { site, caller, key, method, uri, headers, own_authorization, upgrade, first, copy, asking, span })
    }

    /// Sends the request with the caller's own Authorization; a refusal of it is explained and changes nothing.
    async fn pass_through(&mut self) -> Result<Response<CallerBody>, Problem> {
        self.site.metrics.own_authorization.add();
        let response = self.send_first(None).await.map_err(|failed| self.no_answer(failed))?;
        if !is_refusal(response.status()) {
            return Ok(self.hand_on(response));
        }
        let received = boot();
        let refusal = self.look_into(response).await;
        let exchange = self.source().exchange(self.traits(self.deadline()));
        let verdict = exchange.judge_foreign(&self.as_answer(&refusal, received), self.headers.get(AUTHORIZATION));
        Ok(self.show(refusal, verdict.as_ref()))
    }

    /// Sends the request with a good token, again with another one where that is safe and useful.
    async fn keep_authorized(&mut self) -> Result<Response<CallerBody>, Problem> {
        let deadline = self.deadline();
        let mut pass = self.take_turn(deadline).await?;
        let mut exchange = self.source().exchange(self.traits(deadline));
        let token = match self.first_token(&mut exchange).await? {
            Ok(token) => token,
            Err(error) => return self.no_token(&error, &exchange.verdict_on_no_token(&error)),
        };
        pass.mark_sent();
        let response = self.send_first(Some(&token)).await.map_err(|failed| self.no_answer(failed))?;
        if is_refusal(response.status()) {
            // In a box: it is rare and needs more room than a call.
            return Box::pin(self.answer_refusal(exchange, pass, response, deadline)).await;
        }
        Ok(self.accept_answer(&exchange, pass, response))
    }

    /// Hands on an answer that is no refusal, and lets those know who learn from it.
    fn accept_answer(&mut self, exchange: &Exchange, pass: Pass, response: Response<Arriving>) -> Response<CallerBody> {
        let received = boot();
        self.hear(pass, &response);
        exchange.accept(&self.head_as_answer(&response, received));
        self.hand_on(response)
    }

    /// Looks into a refusal, and sends the request again as long as that is safe and useful.
    async fn answer_refusal(
        &mut self,
        mut exchange: Exchange,
        mut pass: Pass,
        mut response: Response<Arriving>,
        deadline: Boot,
    ) -> Result<Response<CallerBody>, Problem> {
        loop {
            let received = boot();
            let after = self.hear(pass, &response);
            let mut seen = self.look_into(response).await;
            let (body, token);
            if let Some((at_hand, begun)) = self.wait_out(after, &mut seen, deadline).await {
                (pass, exchange, token) = begun;
                body = at_hand;
            } else {
                token = match exchange.judge(self.as_answer(&seen, received)).await {
                    Ruling::Pass(verdict) => return Ok(self.show(seen, verdict.as_deref())),
                    Ruling::NoToken(error, verdict) => return self.no_token(&error, &verdict),
                    Ruling::Replay(next) => next,
                };
                // Nothing is replayed without a body at hand; were it so, the copy would say it.
                body = seen.at_hand.unwrap_or(AtHand::Copied);
                self.site.metrics.replays.add();
                pass = self.take_turn_at_once();
                pass.mark_sent();
            }
            response = match self.send_again(body, Some(&token)).await {
                Ok(response) => response,
                Err(failed) => {
                    let kind = failed.kind.name();
                    tracing::debug!(kind, "replay got no answer, the refusal before it is handed on");
                    return Ok(self.show(seen, exchange.verdict_on_last_refusal().as_ref()));
                }
            };
            if !is_refusal(response.status()) {
                return Ok(self.accept_answer(&exchange, pass, response));
            }
        }
    }

    /// Takes a token that is at hand, or joins those who wait for one if they are not too many.
    async fn first_token(&self, exchange: &mut Exchange) -> Result<Result<Sendable, AcquireError>, Problem> {
        let mut begin = pin!(exchange.begin());
        if let Poll::Ready(at_hand) = poll_fn(|cx| Poll::Ready(begin.as_mut().poll(cx))).await {
            return Ok(at_hand);
        }
        let Some(_place) = Room::try_enter(&self.site.waiting, self.site.config.limits.waiting) else {
            self.site.metrics.without_token.add();
            return Err(overload("too many requests wait for a token"));
        };
        Ok(begin.await)
    }

    /// The tokens that this call may carry: its caller's own, or the gateway's.
    fn source(&self) -> &TokenSource {
        self.caller.grant.as_ref().unwrap_or(&self.site.source)
    }

    fn traits(&self, deadline: Boot) -> RequestTraits {
        RequestTraits {
            method: self.method.clone(),
            has_idempotency_key: self.headers.contains_key(headers::IDEMPOTENCY_KEY),
            is_body_kept: !matches!(self.copy, BodyCopy::Unkept),
            deadline: Some(deadline),
        }
    }

    /// What the library needs to know of an answer that is not looked into.
    fn head_as_answer<'a>(&'a self, response: &'a Response<Arriving>, received: Boot) -> Answer<'a> {
        Answer {
            status: response.status(),
            headers: response.headers(),
            body_prefix: &[],
            received,
            host: self.site.config.upstream.host(),
            path: self.path(),
            can_send_again: false,
        }
    }

    /// What the library needs to know of a refusal.
    fn as_answer<'a>(&'a self, refusal: &'a Refusal, received: Boot) -> Answer<'a> {
        Answer {
            status: refusal.head.status,
            headers: &refusal.head.headers,
            body_prefix: refusal.body.prefix(),
            received,
            host: self.site.config.upstream.host(),
            path: self.path(),
            can_send_again: refusal.at_hand.is_some(),
        }
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// Sends the request with the body as it arrives.
    async fn send_first(&mut self, token: Option<&Sendable>) -> Result<Response<Arriving>, Failed> {
        let first = match &self.asking {
            Some(asking) => asking.ask(),
            None => std::mem::replace(&mut self.first, Outbound::Empty),
        };
        self.send(first, token).await
    }

    /// Sends the request once more, with the body that is at hand.
    async fn send_again(&self, body: AtHand, token: Option<&Sendable>) -> Result<Response<Arriving>, Failed> {
        self.send(self.again(body), token).await
    }

    /// The body once more.
    fn again(&self, body: AtHand) -> Outbound {
        match (body, &self.asking) {
            (AtHand::Unsent, Some(asking)) => asking.ask(),
            (AtHand::Unsent | AtHand::Copied, _) => self.copy.again(),
        }
    }

    /// Sends the request, and once more if a connection from the pool had died and that can do no harm.
    async fn send(&self, body: Outbound, token: Option<&Sendable>) -> Result<Response<Arriving>, Failed> {
        let started = boot();
        let failed = |kind| Failed { kind, after: boot() - started };
        let fault = match self.send_once(body, token, false).await {
            Ok(Ok(response)) if self.is_unasked_upgrade(&response) => return Err(failed(FaultKind::Upgraded)),
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(fault)) => fault,
            Err(late) => return Err(failed(late)),
        };
        // In a box: it is rare and needs more room than a call.
        Box::pin(self.send_after(fault, token)).await.map_err(failed)
    }

    /// Sends the request once more after this fault of the first try, if that can do no harm.
    async fn send_after(&self, fault: Fault, token: Option<&Sendable>) -> Result<Response<Arriving>, FaultKind> {
        let harmless = fault.is_refused_stream() || (fault.is_stale_connection() && self.method.is_idempotent());
        // Its connection is gone, so there is nothing to keep it for.
        let unsent = self.withdraw().is_some();
        if !harmless {
            return Err(fault.kind());
        }
        let Some(body) = self.at_hand(unsent).await else { return Err(fault.kind()) };
        self.site.metrics.reconnects.add();
        self.send_once(self.again(body), token, true).await?.map_err(|fault| fault.kind())
    }

    /// Takes back the offer of a body that was not asked for yet.
    fn withdraw(&self) -> Option<Withdrawn> {
        self.asking.as_ref().and_then(Asking::withdraw)
    }

    /// The body for another try, if there is one.
    async fn at_hand(&self, unsent: bool) -> Option<AtHand> {
        if unsent {
            return Some(AtHand::Unsent);
        }
        self.copy.settle(self.site.config.timeouts.body_after_401).await.then_some(AtHand::Copied)
    }

    fn is_unasked_upgrade(&self, response: &Response<Arriving>) -> bool {
        response.status() == StatusCode::SWITCHING_PROTOCOLS
            && (self.upgrade.is_none() || !response.headers().contains_key(UPGRADE))
    }

    /// One try; the outer error says who was too slow.
    async fn send_once(
        &self,
        mut body: Outbound,
        token: Option<&Sendable>,
        anew: bool,
    ) -> Result<Result<Response<Arriving>, Fault>, FaultKind> {
        // HTTP/2 has no upgrades, and hides interim answers.
        let needs_http1 = self.upgrade.is_some() || (self.asking.is_some() && self.site.config.upstream.is_tls());
        let sender = &self.site.sender;
        let (timeouts, sent) = (&self.site.config.timeouts, body.watch());
        let request = self.request(body, token);
        if anew {
            // In a box: it is rare and needs several times the room.
            return answer_within(timeouts, sent, Box::pin(sender.send_anew(request, needs_http1))).await;
        }
        answer_within(timeouts, sent, pin!(sender.send(request, needs_http1))).await
    }

    fn request(&self, body: Outbound, token: Option<&Sendable>) -> Request<Outbound> {
        let question = if let Outbound::Asked(body) = &body { Some(body.question()) } else { None };
        let mut request = Request::new(body);
        if let Some(question) = question {
            question.listen(&mut request);
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.authorization().clone());
            self.span.note_generation(token.generation());
        }
        self.span.send(request.headers_mut());
        request
    }
}

impl BodyCopy {
    async fn settle(&self, patience: std::time::Duration) -> bool {
        match self {
            Self::Empty => true,
            Self::Tee(tee) => tee.settle(patience).await,
            Self::Unkept => false,
        }
    }

    fn again(&self) -> Outbound {
        match self {
            Self::Empty => Outbound::Empty,
            Self::Tee(tee) => tee.again(),
            Self::Unkept => unreachable!("a body that was not kept never settles"),
        }
    }
}

/// Where the body for another try comes from.
#[derive(Clone, Copy)]
enum AtHand {
    /// The caller has not begun to send it.
    Unsent,
    /// It is whole in its copy, or there is none.
    Copied,
}

/// The body to send first, and what will be left of it.
fn outbound(site: &Site, open: &Open, body: Incoming, own_authorization: bool) -> (Outbound, BodyCopy) {
    if body.is_end_stream() {
        return (Outbound::Empty, BodyCopy::Empty);
    }
    let limit = site.config.limits.replay_body_bytes;
    if own_authorization || body.size_hint().lower() > limit as u64 {
        return (Outbound::plain(body, open.receive()), BodyCopy::Unkept);
    }
    let (tee, teed) = Tee::new(body, open.receive(), limit, Arc::clone(&site.hub.budget));
    (Outbound::Teed(teed), BodyCopy::Tee(tee))
}

/// More than the limits allow; a moment later it may be less.
fn overload(detail: &'static str) -> Problem {
    let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
    problem.retry_after = Some(1);
    problem
}
