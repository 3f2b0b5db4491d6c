//! Logins of callers: a stand-in for the provider's token endpoint that gives out handles instead of tokens.
//!
//! A client library logs in before it calls, and a gateway that only adds tokens would make every user rewrite that
//! part. So the gateway answers the login itself. The caller proves that it knows the gateway's own client id and
//! secret and gets a handle, random text of the form `eg1_...`; a request with a handle gets the real token on its way
//! to the API. The real token never leaves this process, so it cannot be found in a caller's memory, configuration or
//! log, and renewing it is nobody's business but ours. A handle survives every renewal.
//!
//! Ending is local too. A logout, or a DELETE of the caller's own token, ends the handle; the token behind it is shared
//! and stays. A request to end a token that carries no handle has nothing to end and says so by doing nothing: it must
//! not reach the provider, where it would end the token that this gateway adds.
//!
//! A handle that is not known here goes nowhere. Any other Authorization is the caller's own and passes unchanged.
//!
//! Source: RFC 6749 sections 2.3.1, 4 and 5; RFC 7009.

mod handles;
mod login;
mod paths;
mod refusal;
mod shelf;
mod tries;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evergrant::TokenSource;
use evergrant::clock::boot;
use evergrant::store::PrivateFile;
use evergrant_core::attempt::Route;
use evergrant_core::profile::Profile;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

pub(crate) use handles::HandleId;
use handles::{Handle, HandleTable, Subject};
use login::{Login, Who};
use paths::{Paths, Place};
use refusal::Refusal;
use shelf::{Change, Shelf};
use tries::Tries;

use crate::headers::{CallerAuth, VERDICT};
use crate::metrics::Metrics;
use crate::peer::Peer;

/// How callers' logins are handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The file that keeps handles over a restart; without it they end with the process.
    pub handles_file: Option<PathBuf>,
}

/// The logins at one site.
#[derive(Debug)]
pub(crate) struct Broker {
    config: BrokerConfig,
    /// The credential and the site that its handles belong to.
    scope: String,
    paths: Paths,
    table: HandleTable,
    shelf: Shelf,
    tries: Tries,
    metrics: Arc<Metrics>,
}

/// What becomes of a request.
pub(crate) enum Admitted {
    /// It goes to the API.
    Call(Caller),
    /// It is answered here.
    Here(Errand),
}

/// Who sends a request to the API, as far as it was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The handle that the request carries.
    #[allow(dead_code, reason = "whoever shares something out between callers reads it")]
    pub(crate) handle: Option<HandleId>,
}

/// Something to be answered without the API.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A token request.
    Token,
    /// A request to end the token in its form.
    Revocation,
    /// A request to end the handle that it carries, if it carries one.
    End(Option<HeaderValue>),
    /// A request with a handle that is not known here.
    UnknownHandle,
}

impl Broker {
    /// The broker of a site, if it has one. A site that takes another's place keeps that one's broker with its handles,
    /// unless another credential or another file is behind it now.
    pub(crate) fn for_site(
        before: Option<&Arc<Self>>,
        config: Option<&BrokerConfig>,
        site: &str,
        source: &TokenSource,
        metrics: &Arc<Metrics>,
    ) -> Option<Arc<Self>> {
        let config = config?;
        let scope = format!("{}/{site}", source.key().as_str());
        if let Some(before) = before.filter(|before| before.scope == scope && before.config == *config) {
            return Some(Arc::clone(before));
        }
        let shelf = Shelf::new(config.handles_file.as_ref().map(PrivateFile::new), scope.clone());
        let table = HandleTable::new(MOST_HANDLES, shelf.known());
        let (paths, metrics) = (Paths::of(source.profile()), Arc::clone(metrics));
        Some(Arc::new(Self { config: config.clone(), scope, paths, table, shelf, tries: Tries::new(), metrics }))
    }

    /// Looks at a request's head: is it for the API or for the broker? A caller's prefix is taken off the target.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>) -> Admitted {
        let place = self.paths.place(request.method(), request.uri().path());
        match place {
            Place::Token => return Admitted::Here(Errand::Token),
            Place::Revocation => return Admitted::Here(Errand::Revocation),
            Place::Logout | Place::OwnToken | Place::Api(_) | Place::Elsewhere => {}
        }
        let carried = carried_handle(request.headers());
        if matches!(place, Place::Logout | Place::OwnToken) {
            match (carried, CallerAuth::of(request.headers())) {
                (Some(_), _) => return Admitted::Here(Errand::End(request.headers().get(AUTHORIZATION).cloned())),
                (None, CallerAuth::Absent) => return Admitted::Here(Errand::End(None)),
                (None, CallerAuth::Own | CallerAuth::Doubled) => {}
            }
        }
        let caller = match carried.map(|text| self.table.look_up(text, boot())) {
            None => Caller::default(),
            Some(Some(Handle { id, subject: Subject::Own })) => Caller { handle: Some(id) },
            Some(Some(_) | None) => return Admitted::Here(Errand::UnknownHandle),
        };
        if carried.is_some() {
            // Our own token takes its place; until then the request carries none.
            request.headers_mut().remove(AUTHORIZATION);
        }
        if let Place::Api(at @ 1..) = place {
            *request.uri_mut() = without_prefix(request.uri(), at);
        }
        Admitted::Call(caller)
    }

    /// Answers what is not for the API.
    pub(crate) async fn answer(
        &self,
        errand: Errand,
        source: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Response<Bytes> {
        let profile = source.profile();
        let result = match errand {
            Errand::Token => self.log_in(source, peer, request).await,
            Errand::Revocation => self.revoke(source, peer, request).await,
            Errand::End(field) => Ok(self.end(source, field.as_ref().and_then(handle_of), &request).await),
            Errand::UnknownHandle => Ok(self.unknown_handle(source, &request)),
        };
        result.unwrap_or_else(|refusal| {
            self.metrics.logins_refused.add();
            refusal.into_response(profile)
        })
    }

    async fn log_in(
        &self,
        source: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Bytes>, Refusal> {
        let login = read(request).await?;
        let who = self.identify(&login, source, peer)?;
        match (login.form().text("grant_type"), who) {
            (Some("client_credentials"), Who::Client) => Ok(self.give_own_handle(source).await),
            (Some("client_credentials"), Who::Public) => Err(Refusal::wrong_client()),
            (Some(_), _) => Err(Refusal::grant_type()),
            (None, _) => Err(Refusal::request("grant_type is missing")),
        }
    }

    /// Who sends this token request? Wrong secrets are counted.
    fn identify(&self, login: &Login, source: &TokenSource, peer: &Peer) -> Result<Who, Refusal> {
        let peer = peer_name(peer);
        let now = boot();
        self.tries.admit(&peer, now).map_err(Refusal::too_many)?;
        if let Some(who) = login.check(source) {
            return Ok(who);
        }
        let is_new = login.presented().is_some_and(|(id, secret)| self.tries.note_failure(&peer, id, secret, now));
        if is_new {
            tracing::warn!(%peer, "a caller's login was refused: its client id or secret is not this gateway's");
        }
        Err(Refusal::wrong_client())
    }

    async fn give_own_handle(&self, source: &TokenSource) -> Response<Bytes> {
        let access = self.issue(Subject::Own);
        self.shelf.settle().await;
        refusal::answer(StatusCode::OK, &token_answer(source.profile(), access.expose()))
    }

    /// A new handle, noted for the shelf.
    fn issue(&self, subject: Subject) -> evergrant_core::Secret {
        let issued = self.table.issue(subject, boot());
        tracing::debug!(handle = %issued.known.handle.id, "handle issued");
        if let Some(evicted) = &issued.evicted {
            tracing::info!(handle = %evicted.handle.id, "handle ended: there are too many, and it was unused for longest");
        }
        self.metrics.handles_issued.add();
        let evicted = issued.evicted.map(|known| Change::Ended(known.hash));
        self.shelf.note([Change::Made(issued.known)].into_iter().chain(evicted));
        issued.text
    }

    /// RFC 7009: whatever the token is, the answer is that it is no more.
    async fn revoke(
        &self,
        source: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Bytes>, Refusal> {
        let login = read(request).await?;
        self.identify(&login, source, peer)?;
        match login.form().text("token") {
            Some(token) if handles::is_handle(token) => {
                self.end_handle(token).await;
                Ok(nothing())
            }
            Some(_) => Err(Refusal::request("this gateway ends its own handles only, and this is none")),
            None => Err(Refusal::request("token is missing")),
        }
    }

    async fn end(&self, source: &TokenSource, text: Option<&str>, request: &Request<Incoming>) -> Response<Bytes> {
        match text {
            Some(text) if self.end_handle(text).await => nothing(),
            Some(_) => self.unknown_handle(source, request),
            None => nothing(),
        }
    }

    async fn end_handle(&self, text: &str) -> bool {
        let Some(ended) = self.table.end(text) else { return false };
        tracing::debug!(handle = %ended.handle.id, "handle ended by its caller");
        self.metrics.handles_ended.add();
        self.shelf.note([Change::Ended(ended.hash)]);
        self.shelf.settle().await;
        true
    }

    fn unknown_handle<B>(&self, source: &TokenSource, request: &Request<B>) -> Response<Bytes> {
        self.metrics.handles_refused.add();
        let route = Route::new("", request.method().as_str(), request.uri().path());
        let verdict = source.verdict_on_unknown_handle(route);
        self.metrics.visible_401(verdict.cause.name());
        let mut response = refusal::unknown_handle(source.profile(), verdict.remedy, &verdict.id);
        if let Ok(value) = HeaderValue::try_from(verdict.header()) {
            response.headers_mut().insert(VERDICT, value);
        }
        response
    }
}

/// The handle in a request's one `Authorization`.
fn carried_handle(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let field = fields.next()?;
    // Two of them are refused by whoever reads the field next.
    if fields.next().is_some() { None } else { handle_of(field) }
}

fn handle_of(field: &HeaderValue) -> Option<&str> {
    let text = field.to_str().ok()?.trim();
    let (scheme, credentials) = text.split_once([' ', '\t'])?;
    let credentials = credentials.trim();
    (scheme.eq_ignore_ascii_case("bearer") && handles::is_handle(credentials)).then_some(credentials)
}

/// The same target without the first bytes of its path.
fn without_prefix(uri: &Uri, at: usize) -> Uri {
    let mut parts = uri.clone().into_parts();
    let whole = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str);
    let rest = whole.get(at..).and_then(|rest| rest.parse().ok());
    parts.path_and_query = rest.or(parts.path_and_query);
    // A part of a valid path, begun at a slash, is valid.
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Reads a token request, bounded in size and time.
async fn read(request: Request<Incoming>) -> Result<Login, Refusal> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(FORM_PATIENCE, Limited::new(body, FORM_LIMIT).collect()).await;
    match body {
        Ok(Ok(body)) => Login::read(&parts.headers, &body.to_bytes()),
        Ok(Err(_)) => Err(Refusal::request("the form broke off or is too long")),
        Err(_) => Err(Refusal::request("the form did not arrive in time")),
    }
}

/// What a token endpoint answers (RFC 6749 section 5.1).
fn token_answer(profile: &Profile, access: &str) -> Value {
    let token_type = profile.sdk.map_or("Bearer", |sdk| sdk.token_type);
    json!({"access_token": access, "token_type": token_type, "expires_in": EXPIRES_IN_SECS})
}

fn nothing() -> Response<Bytes> {
    refusal::answer(StatusCode::OK, &json!({}))
}

/// Peers that share this name share their wrong tries.
fn peer_name(peer: &Peer) -> String {
    peer.addr.map_or_else(|| "unix socket".to_owned(), |addr| addr.ip().to_string())
}

/// Far more than a machine has programs; each is a hundred bytes.
const MOST_HANDLES: usize = 4_096;
/// What callers are told of a handle's life. It has no end, and libraries want a number.
const EXPIRES_IN_SECS: u32 = 86_400;
const FORM_LIMIT: usize = 64 << 10;
const FORM_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_found_in_a_bearer_authorization_alone() {
        let carried = |fields: &[&str]| {
            let fields = fields.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
            carried_handle(&HeaderMap::from_iter(fields)).map(str::to_owned)
        };
        for value in ["Bearer eg1_x", "bearer  eg1_x ", "BEARER\teg1_x"] {
            assert_eq!(carried(&[value]).as_deref(), Some("eg1_x"), "{value}");
        }
        for value in ["eg1_x", "Basic eg1_x", "Bearer", "Bearer xeg1_x", "Bearer EG1_x", ""] {
            assert_eq!(carried(&[value]), None, "{value}");
        }
    }

    #[test]
    fn a_prefix_goes_and_the_query_stays() {
        for (target, at, wanted) in [
            ("/gw/api/v2/users?q=/gw/api/v2", 3, "/api/v2/users?q=/gw/api/v2"),
            ("//api/v2/users", 1, "/api/v2/users"),
            ("/x/api/v2?", 2, "/api/v2?"),
        ] {
            let uri: Uri = target.parse().unwrap();
            assert_eq!(without_prefix(&uri, at), wanted.parse::<Uri>().unwrap(), "{target}");
        }
    }
}
