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
//! not reach the provider, where it would end the token that this gateway adds. That is so without logins too.
//!
//! A caller that logs a person in brings a code or a refresh token of its own. That is redeemed here in the same way and
//! kept apart from the gateway's own tokens ([`grants`]).
//!
//! A handle that is not known here goes nowhere. Any other Authorization is the caller's own and passes unchanged.
//!
//! Whoever runs a gateway for one program need not tell it the client secret: a [`Welcome`] has a handle, and a local
//! secret with which the program can log in at this gateway and nowhere else. Everything that the program starts shares
//! that handle, so a logout with it is answered and ends nothing.
//!
//! Source: RFC 6749 sections 2.3.1, 4 and 5; RFC 7009.

mod desk;
mod grants;
mod handles;
mod login;
mod paths;
mod refusal;
mod shelf;
mod tries;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use evergrant::TokenSource;
use evergrant::clock::boot;
use evergrant::store::PrivateFile;
use evergrant_core::Secret;
use evergrant_core::attempt::Route;
use evergrant_core::keeper::AcquireError;
use evergrant_core::verdict::Verdict;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};

use grants::Grants;
pub(crate) use handles::HandleId;
use handles::{Handle, HandleTable, Subject};
use paths::{Paths, Place};
use shelf::{Change, Shelf};
use tries::Tries;

use crate::headers::{CallerAuth, VERDICT};
use crate::metrics::Metrics;

/// How callers' logins are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The file that keeps handles over a restart; without it they end with the process.
    pub handles_file: Option<PathBuf>,
    /// Are logins answered here? Without it they go to the upstream like any other request, and the only handles are
    /// those of a [`Welcome`]. What would end the gateway's own token is answered here all the same.
    pub answers_logins: bool,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self { handles_file: None, answers_logins: true }
    }
}

/// What a program needs to call a gateway that was started for it.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// An access token for this gateway, which ends with it and by no logout before.
    pub handle: Secret,
    /// Id and local secret for a program that wants to log in; nothing where logins are not answered.
    pub login: Option<(String, Secret)>,
}

/// The logins at one site, and the logouts also where there are no logins.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Nothing if no handle is known here.
    config: Option<BrokerConfig>,
    /// The credential and the site that its handles belong to.
    scope: String,
    paths: Paths,
    table: HandleTable,
    shelf: Shelf,
    tries: Tries,
    grants: Grants,
    /// What a caller may show at a login in place of the client's secret, once somebody was told.
    local_secret: OnceLock<Secret>,
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
    pub(crate) handle: Option<HandleId>,
    /// The tokens of its own grant; without one the gateway's are used.
    pub(crate) grant: Option<TokenSource>,
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
    /// The broker of a site. A site that takes another's place keeps that one's broker with its handles, unless another
    /// credential or another file is behind it now.
    pub(crate) fn for_site(
        before: Option<&Arc<Self>>,
        config: Option<&BrokerConfig>,
        site: &str,
        source: &TokenSource,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let scope = format!("{}/{site}", source.key().as_str());
        if let Some(before) = before.filter(|before| before.scope == scope && before.config.as_ref() == config) {
            return Arc::clone(before);
        }
        let handles_file = config.and_then(|config| config.handles_file.as_ref());
        let shelf = Shelf::new(handles_file.map(PrivateFile::new), scope.clone());
        let table = HandleTable::new(MOST_HANDLES, shelf.known());
        let (paths, metrics) = (Paths::of(source.profile()), Arc::clone(metrics));
        Arc::new(Self {
            config: config.cloned(),
            scope,
            paths,
            table,
            shelf,
            tries: Tries::new(),
            grants: Grants::default(),
            local_secret: OnceLock::new(),
            metrics,
        })
    }

    /// Looks at a request's head: is it for the API or for the broker? A caller's prefix is taken off the target.
    pub(crate) fn admit<B>(&self, own: &TokenSource, request: &mut Request<B>) -> Admitted {
        let meant = self.paths.place(request.method(), request.uri().path());
        let ends_a_token = matches!(meant, Place::Logout | Place::OwnToken);
        let place = if ends_a_token || self.answers_logins() { meant } else { Place::Elsewhere };
        match place {
            Place::Token => return Admitted::Here(Errand::Token),
            Place::Revocation => return Admitted::Here(Errand::Revocation),
            Place::Logout | Place::OwnToken | Place::Api(_) | Place::Elsewhere => {}
        }
        let knows_handles = self.config.is_some();
        let carried = carried_handle(request.headers()).filter(|_| knows_handles);
        if knows_handles && carried.is_none() && has_misplaced_handle(request.headers()) {
            return Admitted::Here(Errand::UnknownHandle);
        }
        if matches!(place, Place::Logout | Place::OwnToken) {
            match (carried, CallerAuth::of(request.headers())) {
                (Some(_), _) => return Admitted::Here(Errand::End(request.headers().get(AUTHORIZATION).cloned())),
                (None, CallerAuth::Absent) => return Admitted::Here(Errand::End(None)),
                (None, CallerAuth::Own | CallerAuth::Doubled) => {}
            }
        }
        let caller = match carried.map(|text| self.table.look_up(text, boot())) {
            None => Caller::default(),
            Some(Some(Handle { id, subject: Subject::Own | Subject::Welcome })) => {
                Caller { handle: Some(id), grant: None }
            }
            Some(Some(Handle { id, subject: Subject::Access(grant) })) => match self.grants.source(&grant, own) {
                Some(source) => Caller { handle: Some(id), grant: Some(source) },
                None => return Admitted::Here(Errand::UnknownHandle),
            },
            Some(Some(Handle { subject: Subject::Refresh(_), .. }) | None) => {
                return Admitted::Here(Errand::UnknownHandle);
            }
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

    fn answers_logins(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.answers_logins)
    }

    /// A new handle, and what its bearer can log in with; nothing where no handle is known.
    pub(crate) fn welcome(&self, own: &TokenSource) -> Option<Welcome> {
        let local_secret = || self.local_secret.get_or_init(handles::random_local_secret).clone();
        let login = self.config.as_ref()?.answers_logins.then(|| (own.client_id(), local_secret()));
        Some(Welcome { handle: self.issue(Subject::Welcome), login })
    }

    /// A new handle, noted for the shelf.
    fn issue(&self, subject: Subject) -> Secret {
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

    /// Ends a handle, and with it the grant that it stands for; `false` if there is none. That of a welcome stays: one
    /// program is done with it, and others may not be.
    async fn end_handle(&self, text: &str, own: &TokenSource) -> bool {
        if self.table.look_up(text, boot()).is_some_and(|handle| handle.subject == Subject::Welcome) {
            return true;
        }
        let Some(ended) = self.table.end(text) else { return false };
        tracing::debug!(handle = %ended.handle.id, "handle ended by its caller");
        self.metrics.handles_ended.add();
        self.shelf.note([Change::Ended(ended.hash)]);
        if let Some(grant) = ended.handle.subject.grant() {
            self.end_grant(grant, own).await;
        }
        self.shelf.settle().await;
        true
    }

    /// Ends a caller's grant with all its handles.
    async fn end_grant(&self, grant: &Arc<str>, own: &TokenSource) {
        let ended = self.table.end_grant(grant);
        self.shelf.note(ended.into_iter().map(|known| Change::Ended(known.hash)));
        self.grants.remove(grant);
        own.forget_grant(grants::redeemed_as(grant), grant).await;
    }

    /// The answer to a caller whose grant gives no token any more, if that is what `error` says.
    pub(crate) fn grant_over(
        &self,
        source: &TokenSource,
        error: &AcquireError,
        verdict: &Verdict,
    ) -> Option<Response<Bytes>> {
        grants::is_over(error).then(|| {
            self.metrics.visible_401(verdict.cause.name());
            let detail = "the login behind this handle is over; log in again";
            self.refuse_handle(source, detail, verdict)
        })
    }

    fn unknown_handle<B>(&self, source: &TokenSource, request: &Request<B>) -> Response<Bytes> {
        self.metrics.handles_refused.add();
        let route = Route::new("", request.method().as_str(), request.uri().path());
        let verdict = source.verdict_on_unknown_handle(route);
        self.metrics.visible_401(verdict.cause.name());
        self.refuse_handle(source, verdict.remedy, &verdict)
    }

    fn refuse_handle(&self, source: &TokenSource, detail: &str, verdict: &Verdict) -> Response<Bytes> {
        let mut response = refusal::unknown_handle(source.profile(), detail, &verdict.id);
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

/// Is a handle where no handle belongs, behind another scheme? It goes nowhere: to the upstream it means nothing, and it
/// is ours to keep.
fn has_misplaced_handle(headers: &HeaderMap) -> bool {
    let is_separator =
        |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~' | b'+' | b'/'));
    let field = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    field.split(is_separator).any(|word| word.starts_with(handles::PREFIX.as_bytes()))
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

/// Far more than a machine has programs; each is a hundred bytes.
const MOST_HANDLES: usize = 4_096;
/// People who log in through callers of one gateway.
const MOST_GRANTS: usize = 256;

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
    fn a_handle_behind_any_other_scheme_is_seen() {
        let is_misplaced = |value: &str| {
            has_misplaced_handle(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]))
        };
        for value in ["eg1_x", "Basic eg1_x", "Token token=\"eg1_x\"", "Bearer a,eg1_x"] {
            assert!(is_misplaced(value), "{value}");
        }
        for value in ["Bearer xeg1_x", "Basic ZWcxX3g=", ""] {
            assert!(!is_misplaced(value), "{value}");
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
