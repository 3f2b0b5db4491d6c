//! What the caller gets: an answer as it arrives, a refusal that was looked into, or a problem of our own.
//!
//! The way of a call stands in [`Call::keep_authorized`]; here are its ends. Of a refusal the beginning of the body is
//! read, because it says what is refused; nothing of it is handed on before it is decided that the caller sees it.

use std::sync::Arc;

use evergrant_core::keeper::AcquireError;
use evergrant_core::pace::WhenLimited;
use evergrant_core::time::Span;
use evergrant_core::verdict::Verdict;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{AtHand, BodyCopy, Call};
use crate::body::{CallerBody, Peeked};
use crate::expect::Withdrawn;
use crate::fault::FaultKind;
use crate::headers;
use crate::problem::Problem;
use crate::upgrade::{self, Upgrade};
use crate::upstream::Arriving;

impl Call {
    /// Reads the beginning of a refusal, and the rest of the request body if a replay needs it.
    pub(super) async fn look_into(&self, response: Response<Arriving>) -> Refusal {
        let (head, body) = response.into_parts();
        let withdrawn = self.withdraw();
        let body = Peeked::read(body, REFUSAL_PREFIX, REFUSAL_PATIENCE).await;
        let is_401 = head.status == StatusCode::UNAUTHORIZED;
        if is_401 {
            self.site.metrics.upstream_401.add();
        }
        let waits = self.site.config.pace.when_limited == WhenLimited::Wait;
        let is_retried = is_401 || (waits && head.status == StatusCode::TOO_MANY_REQUESTS);
        let at_hand = if is_retried { self.at_hand(withdrawn.is_some()).await } else { None };
        Refusal { head, body, at_hand, withdrawn }
    }

    /// Hands an answer on as it arrives.
    pub(super) fn hand_on(&mut self, mut response: Response<Arriving>) -> Response<CallerBody> {
        if let Some(upgrade) = self.upgrade.take_if(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            return self.switch_protocols(upgrade, response);
        }
        headers::clean_response(response.headers_mut(), &self.site.config.upstream);
        let is_failure = response.status().is_client_error() || response.status().is_server_error();
        let withdrawn = if is_failure { self.withdraw() } else { None };
        if let Some(asking) = self.asking.as_ref().filter(|_| !is_failure) {
            asking.permit();
        }
        // What the upstream has not read of the body goes on being sent; only the copy ends here.
        self.copy = BodyCopy::Unkept;
        end_after(response.headers_mut(), withdrawn.as_ref());
        response.map(|body| CallerBody::streamed(body).keeping(withdrawn))
    }

    fn switch_protocols(&self, upgrade: Upgrade, mut response: Response<Arriving>) -> Response<CallerBody> {
        let protocol = response.headers_mut().remove(UPGRADE);
        let upstream = hyper::upgrade::on(&mut response);
        headers::clean_response(response.headers_mut(), &self.site.config.upstream);
        if let Some(protocol) = protocol {
            upgrade::name_protocol(response.headers_mut(), protocol);
        }
        let phases = self.site.hub.control.watch();
        upgrade.join(upstream, Arc::clone(&self.site), phases);
        response.map(|_| CallerBody::whole(bytes::Bytes::new()))
    }

    /// Hands a refusal on with what is known about it.
    pub(super) fn show(&self, refusal: Refusal, verdict: Option<&Verdict>) -> Response<CallerBody> {
        let mut head = refusal.head;
        headers::clean_response(&mut head.headers, &self.site.config.upstream);
        if let Some(verdict) = verdict {
            tracing::debug!(%verdict.id, cause = verdict.cause.name(), evidence = ?verdict.evidence, "refusal passed on");
            self.span.note_verdict(verdict.cause.name());
            head.headers.extend(header_value(verdict).map(|value| (headers::VERDICT, value)));
        }
        if head.status == StatusCode::UNAUTHORIZED {
            self.site.metrics.visible_401(verdict.map_or("unknown", |verdict| verdict.cause.name()));
        }
        end_after(&mut head.headers, refusal.withdrawn.as_ref());
        Response::from_parts(head, CallerBody::peeked(refusal.body).keeping(refusal.withdrawn))
    }

    pub(super) fn no_answer(&self, failed: Failed) -> Problem {
        let upstream = self.site.config.upstream.host_port();
        if !failed.kind.is_callers() {
            self.site.metrics.upstream_fault(failed.kind);
        }
        tracing::debug!(upstream, kind = failed.kind.name(), after = %failed.after, "no answer from upstream");
        failed.kind.problem(&upstream, failed.after.to_duration())
    }

    pub(super) fn no_token(&self, error: &AcquireError, verdict: &Verdict) -> Result<Response<CallerBody>, Problem> {
        // A caller whose own login is over can log in again; for the gateway's own it can only wait.
        if let Some(grant) = &self.caller.grant
            && let Some(response) = self.site.broker.grant_over(grant, error, verdict)
        {
            return Ok(response.map(CallerBody::whole));
        }
        self.site.metrics.without_token.add();
        self.span.note_verdict(verdict.cause.name());
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no usable token", error.to_string());
        problem.retry_after = Some(error.retry_after.map_or(1, whole_seconds));
        problem.verdict = header_value(verdict);
        Err(problem)
    }
}

/// A request that got no answer.
#[derive(Clone, Copy)]
pub(super) struct Failed {
    pub(super) kind: FaultKind,
    pub(super) after: Span,
}

/// A refusal that was looked into.
pub(super) struct Refusal {
    pub(super) head: http::response::Parts,
    pub(super) body: Peeked,
    /// The request body for another try, if it is at hand.
    pub(super) at_hand: Option<AtHand>,
    /// Holds the connection of a body that was not sent.
    pub(super) withdrawn: Option<Withdrawn>,
}

/// Is this an answer that the library has a verdict on?
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// A caller that was not told to send its body may send it or not: what comes next on its connection cannot be read.
fn end_after(headers: &mut HeaderMap, withdrawn: Option<&Withdrawn>) {
    if withdrawn.is_some() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

pub(super) fn header_value(verdict: &Verdict) -> Option<HeaderValue> {
    HeaderValue::try_from(verdict.header()).ok()
}

/// Whole seconds that are not shorter.
pub(super) fn whole_seconds(wait: Span) -> i64 {
    (wait + ALMOST_A_SECOND).as_secs().max(1)
}

const REFUSAL_PREFIX: usize = 16 << 10;
const REFUSAL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
const ALMOST_A_SECOND: Span = Span::from_millis(999);
