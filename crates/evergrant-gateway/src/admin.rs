//! Dashboard, status and metrics, on a listener of their own.
//!
//! GET only, and nothing here changes anything. `/healthz` says that the process lives, `/readyz` that a usable token
//! is held; both are for machines that probe by address, so they skip the checks of `Host`, page and user that protect
//! everything else. `/` is the dashboard: it shows what `/status` holds, kept up to date by `/events`.

mod exposition;
mod status;
mod stream;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use evergrant::clock::boot;
use evergrant_core::time::Boot;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::dashboard::{self, Asset};
use crate::gate::Gate;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::site::{Hub, Roster};

use status::{EventLine, Listener, Status};
pub(crate) use stream::Cut;
use stream::Messages;

/// What the admin listener shows.
pub(crate) struct Admin {
    gate: ArcSwap<Gate>,
    hub: Arc<Hub>,
    roster: Roster,
    started: Boot,
    places: Arc<Semaphore>,
}

impl Admin {
    pub(crate) fn new(roster: Roster, hub: Arc<Hub>, gate: Gate) -> Self {
        Self {
            gate: ArcSwap::from_pointee(gate),
            hub,
            roster,
            started: boot(),
            places: Arc::new(Semaphore::new(stream::SUBSCRIBERS)),
        }
    }

    /// Lets other callers in from now on.
    pub(crate) fn replace_gate(&self, gate: Gate) {
        self.gate.store(Arc::new(gate));
    }

    /// Answers one request; `cut` ends its connection.
    pub(crate) fn answer<B>(self: &Arc<Self>, peer: &Peer, request: &Request<B>, cut: &Cut) -> Response<AdminBody> {
        let mut response = self.respond(peer, request, cut);
        dashboard::protect(response.headers_mut());
        response
    }

    fn respond<B>(self: &Arc<Self>, peer: &Peer, request: &Request<B>, cut: &Cut) -> Response<AdminBody> {
        let path = request.uri().path();
        let open = matches!(path, "/healthz" | "/readyz");
        if let Err(problem) = self.gate.load().admit(peer, request)
            && !open
        {
            return problem.into_response(AdminBody::whole);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                problem(StatusCode::METHOD_NOT_ALLOWED, "read only", "this listener answers GET only".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/status" => self.status(),
            "/metrics" => self.metrics(),
            "/events" if request.method() == Method::HEAD => with_type(StatusCode::OK, EVENT_STREAM, Bytes::new()),
            "/events" => self.subscribe(cut),
            _ => match Asset::at(path) {
                Some(asset) => with_type(StatusCode::OK, asset.content_type, asset.body()),
                None => problem(StatusCode::NOT_FOUND, "not found", WHAT_IS_HERE.to_owned()),
            },
        }
    }

    fn ready(&self) -> Response<AdminBody> {
        if !self.hub.control.is_serving() {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.roster.sites().iter().all(|site| site.source.is_ready()) {
            text(StatusCode::OK, "ready\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "no usable token\n")
        }
    }

    fn status(&self) -> Response<AdminBody> {
        let listeners = self.listeners();
        json(&Status::of(self, &listeners, Some(EventLine::all(self))))
    }

    fn metrics(&self) -> Response<AdminBody> {
        let listeners = self.listeners();
        match exposition::encode(&Status::of(self, &listeners, None)) {
            Ok(text) => with_type(StatusCode::OK, exposition::CONTENT_TYPE, text.into()),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics unavailable", error.to_string()),
        }
    }

    fn subscribe(self: &Arc<Self>, cut: &Cut) -> Response<AdminBody> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let messages = Messages::start(Arc::clone(self), place, cut.clone());
                let mut response = Response::new(AdminBody::Stream(messages));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
                response
            }
            Err(_) => {
                let detail = format!("at most {} subscribers at once", stream::SUBSCRIBERS);
                let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many subscribers", detail);
                problem.retry_after = Some(5);
                problem.into_response(AdminBody::whole)
            }
        }
    }

    fn listeners(&self) -> Vec<Listener> {
        self.roster.sites().iter().map(|site| Listener::of(site)).collect()
    }
}

/// The body of an answer.
pub(crate) enum AdminBody {
    Whole(Full<Bytes>),
    Stream(Messages),
}

impl AdminBody {
    fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

fn json(value: &impl Serialize) -> Response<AdminBody> {
    match serde_json::to_vec(value) {
        Ok(json) => with_type(StatusCode::OK, "application/json", json.into()),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "status unavailable", error.to_string()),
    }
}

fn problem(status: StatusCode, title: &'static str, detail: String) -> Response<AdminBody> {
    Problem::new(status, title, detail).into_response(AdminBody::whole)
}

fn text(status: StatusCode, text: &'static str) -> Response<AdminBody> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
const WHAT_IS_HERE: &str = "here are / (the dashboard), /status, /events, /metrics, /healthz and /readyz";
