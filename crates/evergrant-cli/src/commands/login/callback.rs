//! Where the browser comes back to: a listener on loopback that understands one URL.
//!
//! Any page that the person has open can send requests here, so nothing is believed for having arrived. A request must be
//! a GET for the path of the redirect URI and name this listener in its `Host`, or another name could be made to lead
//! here (DNS rebinding). What its query brings is handed to the login, which knows whether it is its own; a page that
//! belongs to no login is told so and changes nothing. The answer waits for the login to finish, so that the browser says
//! what really happened.
//!
//! Source: RFC 8252 sections 7.3 and 8.10.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evergrant::login::Redirect;
use evergrant_core::Secret;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use url::Url;

use crate::exit;
use crate::failure::Failure;

/// A listener for one redirect URI.
pub(super) struct Callback {
    listener: TcpListener,
    place: Arc<Place>,
    /// The places of browsers.
    room: Arc<Semaphore>,
    /// The redirect URI with the real port.
    pub(super) redirect_uri: String,
}

/// What a request must name.
struct Place {
    host: String,
    path: String,
}

/// What the browser brought, and a way to tell it how that ended.
pub(super) struct Arrival {
    /// What it brought.
    pub(super) redirect: Redirect,
    /// Takes what the browser is to show.
    pub(super) reply: oneshot::Sender<Page>,
}

/// What the browser shows at the end.
pub(super) enum Page {
    /// The person is logged in.
    Done,
    /// Nothing of this login's.
    NotOurs,
    /// The login failed, for this reason.
    Failed(String),
}

impl Callback {
    /// Listens where the redirect URI says.
    pub(super) async fn bind(redirect_uri: &Url) -> Result<Self, Failure> {
        let host = redirect_uri.host_str().unwrap_or_default();
        let port = redirect_uri.port().unwrap_or(80);
        // A name could be made to resolve to another machine; loopback is meant.
        let address = if host == "[::1]" { "::1" } else { "127.0.0.1" };
        let failed = |error: std::io::Error| {
            Failure::new(exit::LISTEN, "cannot listen for the browser")
                .at(redirect_uri)
                .because(error)
                .hint("choose another port with --redirect-uri, and register it with the provider")
        };
        let listener = TcpListener::bind((address, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let (host, path) = (format!("{host}:{port}"), redirect_uri.path().to_owned());
        let redirect_uri = format!("http://{host}{path}");
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        Ok(Self { listener, place: Arc::new(Place { host, path }), room, redirect_uri })
    }

    /// Accepts browsers for as long as it is polled, and tells what they bring.
    pub(super) async fn serve(&self, arrivals: mpsc::Sender<Arrival>) {
        loop {
            let Ok(place) = Arc::clone(&self.room).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (expected, arrivals) = (Arc::clone(&self.place), arrivals.clone());
            tokio::spawn(async move {
                // A browser that hangs up or stalls is of no interest.
                let _ = tokio::time::timeout(LONGEST_CONNECTION, talk(stream, expected, arrivals)).await;
                drop(place);
            });
        }
    }

    /// Waits a moment for the browsers that are being answered.
    pub(super) async fn close(&self) {
        let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(LAST_PAGE, self.room.acquire_many(all)).await;
    }
}

async fn talk(stream: TcpStream, place: Arc<Place>, arrivals: mpsc::Sender<Arrival>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (place, arrivals) = (Arc::clone(&place), arrivals.clone());
        async move { Ok::<_, Infallible>(answer(&request, &place, &arrivals).await) }
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a browser's connection ended early");
    }
}

async fn answer(request: &Request<Incoming>, place: &Place, arrivals: &mpsc::Sender<Arrival>) -> Response<Full<Bytes>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_here = hosts.next().is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(place.host.as_bytes()));
    if !is_here || hosts.next().is_some() {
        return page(StatusCode::MISDIRECTED_REQUEST, "Not here", "This listener has another name.");
    }
    if request.uri().path() != place.path {
        return page(StatusCode::NOT_FOUND, "Nothing here", "This is not the page that the login comes back to.");
    }
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "Not so", "The login comes back with GET.");
    }
    let redirect = read(request.uri().query().unwrap_or_default());
    let (reply, replied) = oneshot::channel();
    // Both fail only when the login is over and the command about to end.
    if arrivals.send(Arrival { redirect, reply }).await.is_err() {
        return page(StatusCode::GONE, "Too late", "This login is over.");
    }
    match replied.await {
        Ok(Page::Done) => page(StatusCode::OK, "Logged in", "You can close this window."),
        Ok(Page::NotOurs) => page(
            StatusCode::BAD_REQUEST,
            "Not this login",
            "What arrived does not belong to the login that is waiting here. It was ignored.",
        ),
        Ok(Page::Failed(reason)) => page(StatusCode::BAD_REQUEST, "Not logged in", &reason),
        Err(_) => page(StatusCode::GONE, "Too late", "This login is over."),
    }
}

fn read(query: &str) -> Redirect {
    let mut redirect = Redirect::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            "code" => redirect.code = Some(Secret::new(value)),
            "state" => redirect.state = Some(value),
            "iss" => redirect.issuer = Some(value),
            "error" => redirect.error = Some(value),
            "error_description" => redirect.error_description = Some(value),
            _ => {}
        }
    }
    redirect
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<Full<Bytes>> {
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>\
         <p>{}</p></main></html>",
        escaped(text)
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

/// The words of a server, which may hold anything.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;color-scheme:light dark}main{max-width:32rem;margin:20vh auto;padding:0 1rem}";
const MOST_CONNECTIONS: usize = 16;
/// Browsers open connections that they do not use.
const LAST_PAGE: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for the token request that the answer waits for.
const LONGEST_CONNECTION: Duration = Duration::from_secs(60);
