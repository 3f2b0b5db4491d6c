//! Whose fault a cause is, and what to do about it.
//!
//! One row per cause, more where one cause has several culprits. A remedy names a command, a setting or a page of the
//! provider's console and fits on a line; it never asks to turn a check off.

use super::Cause;
use super::Fault::{self, Caller, ClientConfig, Network, Provider, ServerClock, ThisClock};
use crate::attempt::Subject;
use crate::evidence::{Carried, Evidence};
use crate::time::Span;
use crate::wire::{Complaint, TokenFailureKind};

/// The fault and the remedy of a cause; the evidence decides where one cause has several culprits.
pub(super) fn for_cause(cause: Cause, evidence: &Evidence) -> (Fault, &'static str) {
    match cause {
        Cause::MissingToken => (Caller, MISSING_TOKEN),
        Cause::TokenLostInTransit if evidence.is_redirected => (Caller, REDIRECTED),
        Cause::TokenLostInTransit => (Network, LOST_IN_TRANSIT),
        Cause::MalformedToken => (Caller, MALFORMED),
        Cause::CallerToken if evidence.carried == Carried::UnknownHandle => (Caller, UNKNOWN_HANDLE),
        Cause::CallerToken => (Caller, CALLERS_TOKEN),
        Cause::Expired => of_an_expired_token(evidence),
        Cause::NotYetValid => (ServerClock, NOT_YET_VALID),
        Cause::Propagating => (Provider, PROPAGATING),
        Cause::Superseded => (Provider, SUPERSEDED),
        Cause::RevokedByRefresh => (Provider, REVOKED_BY_REFRESH),
        Cause::Evicted => (ClientConfig, EVICTED),
        Cause::IdleTimeout => (Provider, IDLE_TIMEOUT),
        Cause::Revoked => (Fault::Unknown, REVOKED),
        Cause::RouteSpecific => (Provider, ROUTE_SPECIFIC),
        Cause::ClientRejected => (ClientConfig, of_a_rejected_client(evidence)),
        Cause::RefreshTokenReused => (ClientConfig, REFRESH_TOKEN_REUSED),
        Cause::RotationLost => (Network, ROTATION_LOST),
        Cause::LoginRequired if evidence.has_no_grant => (ClientConfig, NO_REFRESH_TOKEN),
        Cause::LoginRequired => (ClientConfig, REFRESH_TOKEN_OVER),
        Cause::AssertionOutOfTime if evidence.assertion.is_some_and(|assertion| !assertion.is_dated_here) => {
            (Caller, OTHERS_ASSERTION)
        }
        Cause::AssertionOutOfTime => (ThisClock, OWN_ASSERTION),
        Cause::WrongRegion if matches!(evidence.complaint, Some(Complaint::Issuer | Complaint::Key)) => {
            (ClientConfig, WRONG_ISSUER)
        }
        Cause::WrongRegion => (ClientConfig, WRONG_REGION),
        Cause::WrongAudience => (ClientConfig, WRONG_AUDIENCE),
        Cause::InsufficientScope if evidence.subject == Subject::Claims => (ClientConfig, STRONGER_LOGIN),
        Cause::InsufficientScope => (ClientConfig, MISSING_SCOPE),
        Cause::MissingPermission => (ClientConfig, MISSING_PERMISSION),
        Cause::IpNotAllowed => (ClientConfig, IP_NOT_ALLOWED),
        Cause::RateLimited if evidence.token_failure.is_some() => (Caller, TOO_MANY_TOKENS),
        Cause::RateLimited => (Caller, TOO_MANY_REQUESTS),
        Cause::ProxyAuth => (Network, PROXY_AUTH),
        Cause::Unknown => of_nothing_known(evidence),
    }
}

/// Whoever looked at the clock decides: the provider's own that jumped, this machine's, or nobody.
fn of_an_expired_token(evidence: &Evidence) -> (Fault, &'static str) {
    let is_kept_by_program = matches!(evidence.carried, Carried::Unmanaged | Carried::NotShown);
    if evidence.server_jump.is_some() {
        (ServerClock, SERVER_JUMPED)
    } else if is_kept_by_program && looks_alive_here(evidence) {
        (ThisClock, SLOW_CLOCK)
    } else if is_kept_by_program {
        (Caller, KEPT_TOO_LONG)
    } else {
        (Fault::Unknown, EXPIRED)
    }
}

/// Does the token still live by this machine's calendar clock?
fn looks_alive_here(evidence: &Evidence) -> bool {
    let Some((_, most_ahead)) = evidence.local_minus_server else { return false };
    let exp = evidence.claims.and_then(|claims| claims.to_exp);
    exp.is_some_and(|(earliest, _)| earliest - most_ahead > Span::ZERO)
}

fn of_a_rejected_client(evidence: &Evidence) -> &'static str {
    let failed = evidence.token_failure.as_ref();
    if failed.is_some_and(|failed| failed.complaint == Some(Complaint::DisabledClient)) {
        return CLIENT_DISABLED;
    }
    match failed.map(|failed| failed.kind) {
        Some(TokenFailureKind::UnauthorizedClient) => GRANT_NOT_ALLOWED,
        Some(TokenFailureKind::UnsupportedGrantType) => GRANT_NOT_OFFERED,
        Some(TokenFailureKind::InvalidGrant) => ASSERTION_REFUSED,
        _ => WRONG_CREDENTIALS,
    }
}

/// A cause is not known, but where to look may be.
fn of_nothing_known(evidence: &Evidence) -> (Fault, &'static str) {
    let is_about_token_endpoint = matches!(evidence.subject, Subject::NeverSent | Subject::TokenRequest);
    let kind = evidence.token_failure.as_ref().map(|failed| failed.kind).filter(|_| is_about_token_endpoint);
    match (kind, evidence.subject) {
        (Some(TokenFailureKind::Unreachable | TokenFailureKind::TimedOut | TokenFailureKind::Lost), _) => {
            (Network, UNREACHABLE)
        }
        (Some(TokenFailureKind::Redirected), _) => (ClientConfig, TOKEN_URL_REDIRECTS),
        (Some(TokenFailureKind::ServerError), _) => (Provider, TOKEN_ENDPOINT_FAILS),
        (Some(_), _) => (Fault::Unknown, NO_TOKEN_ENDPOINT),
        (None, Subject::NotChecked) => (Provider, NOT_CHECKED),
        (None, Subject::DpopNonce) => (ClientConfig, DPOP_WANTED),
        (None, Subject::Permission) => (Network, FIREWALL),
        (None, _) if evidence.works_here_since => (Provider, NODES_DISAGREE),
        (None, _) => (Fault::Unknown, ASK_SUPPORT),
    }
}

const MISSING_TOKEN: &str =
    "send the request through `evergrant gateway`, or with the Authorization header from `evergrant token`";
const REDIRECTED: &str =
    "send the request to the final address: EVERGRANT_UPSTREAM or the program's base URL points at a redirect";
const LOST_IN_TRANSIT: &str =
    "look with `evergrant doctor` for a proxy between here and the API that drops the Authorization header";
const MALFORMED: &str = "take the text from `evergrant token`: no quotes, blanks or line breaks, and one `Bearer`";
const UNKNOWN_HANDLE: &str =
    "log in at this `evergrant gateway` again: the handle was ended, or made room for newer ones, or is another's";
const CALLERS_TOKEN: &str =
    "the caller brought its own Authorization header: without one, `evergrant gateway` adds a token that works";

const SERVER_JUMPED: &str =
    "nothing to do here: the provider's clock jumped, and the next token counts from it; see `evergrant clock`";
const SLOW_CLOCK: &str =
    "this machine's clock is slow, so the program holds the token for alive: set it by NTP; see `evergrant clock`";
const KEPT_TOO_LONG: &str = "fetch a new token before the old one ends: `evergrant token`, or `evergrant gateway`";
const EXPIRED: &str = "nothing to do if it happens once: a new token is fetched; if often, raise EVERGRANT_SLACK";
const NOT_YET_VALID: &str =
    "the API host's clock is behind the issuer's: show the provider `evergrant clock`; waiting until then helps";

const PROPAGATING: &str =
    "nothing to do: the token becomes known everywhere within seconds; if not, raise EVERGRANT_SETTLE";
const SUPERSEDED: &str =
    "nothing to do: the request is repeated with the newer token; a program of your own takes `evergrant token`";
const REVOKED_BY_REFRESH: &str =
    "nothing to do here; make sure with `evergrant doctor` that no other program refreshes with this client id";
const EVICTED: &str =
    "too many tokens of one client: share one `evergrant gateway`, or give each integration its own OAuth client";
const IDLE_TIMEOUT: &str = "raise the token inactivity timeout (Genesys Cloud: Admin > Organization Settings)";
const REVOKED: &str =
    "look in the provider's audit log (Genesys Cloud: Admin > Audit Viewer) for who ended it, or who else mints";
const ROUTE_SPECIFIC: &str =
    "the token is good: compare the route's page in the API's documentation; `evergrant api` repeats the call";

const WRONG_CREDENTIALS: &str =
    "compare EVERGRANT_CLIENT_ID and _SECRET with the OAuth client (Genesys Cloud: Admin > Integrations > OAuth)";
const CLIENT_DISABLED: &str = "switch the OAuth client on again (Genesys Cloud: Admin > Integrations > OAuth)";
const GRANT_NOT_ALLOWED: &str =
    "allow this grant on the OAuth client (Genesys Cloud: Admin > Integrations > OAuth), or set EVERGRANT_GRANT";
const GRANT_NOT_OFFERED: &str =
    "set EVERGRANT_GRANT to a grant that this token endpoint offers; `evergrant config check` shows what is set";
const ASSERTION_REFUSED: &str =
    "the assertion's dates are good: compare its issuer, audience and signing key with `evergrant config check`";
const REFRESH_TOKEN_REUSED: &str =
    "programs share one refresh token: log in with `evergrant login` and give them one EVERGRANT_STORE";
const ROTATION_LOST: &str = "the successor was issued and never stored: `evergrant login` obtains a new refresh token";
const NO_REFRESH_TOKEN: &str = "log in with `evergrant login`, or set EVERGRANT_REFRESH_TOKEN";
const REFRESH_TOKEN_OVER: &str = "log in again with `evergrant login`: the refresh token is over";
const OTHERS_ASSERTION: &str =
    "ask the assertion's issuer for one dated now; `evergrant clock` shows the time by the provider";
const OWN_ASSERTION: &str = "let this machine's clock be set by NTP: `evergrant clock` shows how far it is off";

const WRONG_ISSUER: &str =
    "take the token from this API's own issuer: set EVERGRANT_TOKEN_URL and EVERGRANT_UPSTREAM to one environment";
const WRONG_REGION: &str = "set EVERGRANT_REGION to the organisation's region, the one in its login page's address";
const WRONG_AUDIENCE: &str = "set EVERGRANT_AUDIENCE or EVERGRANT_RESOURCE to what this API expects";
const STRONGER_LOGIN: &str =
    "the API asks for a stronger login: run `evergrant login` with what its challenge asks for";
const MISSING_SCOPE: &str = "add the scope to the OAuth client and to EVERGRANT_SCOPE";
const MISSING_PERMISSION: &str =
    "add a role with this permission to the OAuth client (Genesys Cloud: Admin > Integrations > OAuth > Roles)";
const IP_NOT_ALLOWED: &str =
    "add this machine's public address to the allow list (Genesys Cloud: Admin > Integrations > OAuth)";
const TOO_MANY_TOKENS: &str =
    "ask for fewer tokens: share one `evergrant gateway` or one EVERGRANT_STORE, and wait as long as it says";
const TOO_MANY_REQUESTS: &str =
    "send fewer requests and wait as long as Retry-After says; `evergrant gateway` spreads them over the limit";
const PROXY_AUTH: &str = "give the proxy's credentials in HTTPS_PROXY; `evergrant doctor` shows which proxy is used";

const UNREACHABLE: &str =
    "run `evergrant doctor`: it tries name, connection, TLS and proxy of the token endpoint in turn";
const TOKEN_URL_REDIRECTS: &str = "set EVERGRANT_TOKEN_URL to the final address: token requests follow no redirect";
const TOKEN_ENDPOINT_FAILS: &str = "nothing to do: it is tried again; `evergrant doctor` shows whether it still fails";
const NO_TOKEN_ENDPOINT: &str =
    "run `evergrant doctor`: what answers at EVERGRANT_TOKEN_URL is not a token endpoint's answer";
const NOT_CHECKED: &str =
    "send it again later: the provider was too slow, and no new token is needed; `evergrant doctor` measures it";
const DPOP_WANTED: &str =
    "the API wants tokens bound by DPoP, which `evergrant` does not send: allow Bearer tokens for the OAuth client";
const FIREWALL: &str =
    "find out with `evergrant doctor` what stands before the API: the page is a firewall's or a proxy's";
const NODES_DISAGREE: &str =
    "one of the provider's servers refuses what another accepts: give its support what `evergrant explain` says";
const ASK_SUPPORT: &str =
    "run `evergrant doctor`, and give this verdict and its correlation id to the provider's support";
