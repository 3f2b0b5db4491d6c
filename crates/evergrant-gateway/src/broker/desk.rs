//! The desk: token requests, revocations and logouts, each with the answer that a provider would give.
//!
//! What takes long, redeeming what a caller brought, runs on a task of its own: a caller that hangs up in the middle must
//! not take the answer with it, because a code is good for one use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evergrant::clock::boot;
use evergrant::{Brought, Redeemed, TokenSource};
use evergrant_core::profile::Profile;
use evergrant_core::time::Span;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::handles::{Handle, Subject};
use super::login::{Form, Login, Who};
use super::refusal::{self, Refusal};
use super::shelf::Change;
use super::{Broker, Errand, MOST_GRANTS, grants, handle_of, handles};
use crate::peer::Peer;

impl Broker {
    /// Answers what is not for the API.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        errand: Errand,
        own: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Response<Bytes> {
        let result = match errand {
            Errand::Token => self.log_in(own, peer, request).await,
            Errand::Revocation => self.revoke(own, peer, request).await,
            Errand::End(field) => Ok(self.end(own, field.as_ref(), &request).await),
            Errand::UnknownHandle => Ok(self.unknown_handle(own, &request)),
        };
        result.unwrap_or_else(|refusal| {
            self.metrics.logins_refused.add();
            refusal.into_response(own.profile())
        })
    }

    async fn log_in(
        self: &Arc<Self>,
        own: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Bytes>, Refusal> {
        let login = read(request).await?;
        let who = self.identify(&login, own, peer)?;
        let form = login.form();
        match (form.text("grant_type"), who) {
            (Some("client_credentials"), Who::Client) => Ok(self.give_own_handle(own).await),
            (Some("client_credentials"), Who::Public) => Err(Refusal::wrong_client()),
            (Some("authorization_code"), _) => self.redeem(own, code_of(form, who)?, who).await,
            (Some("refresh_token"), _) => match form.secret("refresh_token").filter(|token| !token.is_empty()) {
                Some(token) if handles::is_handle(token.expose()) => self.refresh(own, token.expose(), who).await,
                Some(token) => self.redeem(own, Brought::RefreshToken(token.clone()), who).await,
                None => Err(Refusal::request("refresh_token is missing")),
            },
            (Some(_), _) => Err(Refusal::grant_type()),
            (None, _) => Err(Refusal::request("grant_type is missing")),
        }
    }

    /// Who sends this token request? Wrong secrets are counted.
    fn identify(&self, login: &Login, own: &TokenSource, peer: &Peer) -> Result<Who, Refusal> {
        let peer = peer_name(peer);
        let now = boot();
        self.tries.admit(&peer, now).map_err(Refusal::too_many)?;
        if let Some(who) = login.check(own, self.local_secret.get()) {
            return Ok(who);
        }
        let is_new = login.presented().is_some_and(|(id, secret)| self.tries.note_failure(&peer, id, secret, now));
        if is_new {
            tracing::warn!(%peer, "a caller's login was refused: its client id or secret is not this gateway's");
        }
        Err(Refusal::wrong_client())
    }

    async fn give_own_handle(&self, own: &TokenSource) -> Response<Bytes> {
        let access = self.issue(Subject::Own);
        self.shelf.settle().await;
        refusal::answer(StatusCode::OK, &token_answer(own.profile(), access.expose()))
    }

    /// Redeems what a caller brought and gives handles for it.
    async fn redeem(
        self: &Arc<Self>,
        own: &TokenSource,
        brought: Brought,
        who: Who,
    ) -> Result<Response<Bytes>, Refusal> {
        let (broker, own) = (Arc::clone(self), own.clone());
        let redeeming = tokio::spawn(async move {
            let name = grants::new_name(who);
            let redeemed = own.redeem(&brought, grants::redeemed_as(&name), &name).await;
            match redeemed {
                Ok(redeemed) => Ok(broker.take_in(&own, name, redeemed).await),
                Err(failure) => {
                    tracing::info!(%failure, "what a caller brought could not be redeemed");
                    Err(Refusal::of_provider(&failure))
                }
            }
        });
        // It can only fail by a panic, which this task shares.
        redeeming.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn take_in(&self, own: &TokenSource, name: Arc<str>, redeemed: Redeemed) -> Response<Bytes> {
        let Redeemed { source, has_refresh_token, expires_in, scope } = redeemed;
        if self.table.grants().len() >= MOST_GRANTS
            && let Some(oldest) = self.table.idlest_grant()
        {
            tracing::info!("a caller's grant ended: there are too many, and it was unused for longest");
            self.end_grant(&oldest, own).await;
        }
        self.grants.add(Arc::clone(&name), source);
        let access = self.issue(Subject::Access(Arc::clone(&name)));
        let mut answer = token_answer(own.profile(), access.expose());
        if has_refresh_token {
            answer["refresh_token"] = json!(self.issue(Subject::Refresh(name)).expose());
        } else {
            // What cannot be renewed ends with its token.
            answer["expires_in"] = json!(expires_in.map(Span::as_secs));
        }
        if let Some(scope) = scope {
            answer["scope"] = json!(scope);
        }
        self.shelf.settle().await;
        refusal::answer(StatusCode::OK, &answer)
    }

    /// A new access handle for a refresh handle. The refresh handle stays good: it is ours, and cannot be lost with an
    /// answer that its caller never got.
    async fn refresh(&self, own: &TokenSource, text: &str, who: Who) -> Result<Response<Bytes>, Refusal> {
        let unknown = || {
            Refusal::grant("this refresh handle is unknown here: it was ended, or is another gateway's; log in again")
        };
        let Some(Handle { subject: Subject::Refresh(grant), .. }) = self.table.look_up(text, boot()) else {
            return Err(unknown());
        };
        if who == Who::Public && grants::redeemed_as(&grant) != evergrant::RedeemAs::Public {
            return Err(Refusal::wrong_client());
        }
        let source = self.grants.source(&grant, own).ok_or_else(unknown)?;
        // A caller that is told to go on with a grant that is over would ask for ever.
        if let Err(error) = source.token().await {
            return Err(match grants::is_over(&error) {
                true => Refusal::grant("the login behind this refresh handle is over; log in again"),
                false => Refusal::unavailable(error.to_string()),
            });
        }
        let access = self.issue(Subject::Access(Arc::clone(&grant)));
        let replaced = self.table.trim_grant(&grant, ACCESS_HANDLES_PER_GRANT);
        self.shelf.note(replaced.into_iter().map(|known| Change::Ended(known.hash)));
        self.shelf.settle().await;
        let mut answer = token_answer(own.profile(), access.expose());
        answer["refresh_token"] = json!(text);
        Ok(refusal::answer(StatusCode::OK, &answer))
    }

    /// RFC 7009: whatever the token is, the answer is that it is no more.
    async fn revoke(
        &self,
        own: &TokenSource,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<Bytes>, Refusal> {
        let login = read(request).await?;
        self.identify(&login, own, peer)?;
        match login.form().text("token") {
            Some(token) if handles::is_handle(token) => {
                self.end_handle(token, own).await;
                Ok(nothing())
            }
            Some(_) => Err(Refusal::request("this gateway ends its own handles only, and this is none")),
            None => Err(Refusal::request("token is missing")),
        }
    }

    async fn end(
        &self,
        own: &TokenSource,
        field: Option<&HeaderValue>,
        request: &Request<Incoming>,
    ) -> Response<Bytes> {
        match field.and_then(handle_of) {
            Some(text) if self.end_handle(text, own).await => nothing(),
            Some(_) => self.unknown_handle(own, request),
            None => nothing(),
        }
    }
}

/// The code in a token request. Without a client secret it must come with its verifier.
fn code_of(form: &Form, who: Who) -> Result<Brought, Refusal> {
    let code_verifier = form.secret("code_verifier").cloned();
    if who == Who::Public && code_verifier.is_none() {
        return Err(Refusal::wrong_client());
    }
    let code = form.secret("code").filter(|code| !code.is_empty()).cloned();
    let code = code.ok_or_else(|| Refusal::request("code is missing"))?;
    Ok(Brought::AuthorizationCode { code, redirect_uri: form.text("redirect_uri").map(str::to_owned), code_verifier })
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

/// What callers are told of a handle's life. It has no end, and libraries want a number.
const EXPIRES_IN_SECS: u32 = 86_400;
/// A caller uses one; others may be on their way, or with its threads.
const ACCESS_HANDLES_PER_GRANT: usize = 16;
const FORM_LIMIT: usize = 64 << 10;
const FORM_PATIENCE: Duration = Duration::from_secs(10);
