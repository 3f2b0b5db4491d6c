//! Whose fault a cause is, and what to do about it.
//!
//! One row per cause. A remedy names a command or a page of the provider's console and fits on a line; it never asks to
//! turn a check off.

use super::{Cause, Fault};
use crate::evidence::{Carried, Evidence};

/// The fault and the remedy of a cause; the evidence decides where one cause has several culprits.
pub(super) fn for_cause(cause: Cause, evidence: &Evidence) -> (Fault, &'static str) {
    match cause {
        Cause::MissingToken => (Fault::Caller, "send the request through the gateway or add the Authorization header"),
        Cause::TokenLostInTransit => (
            Fault::Network,
            "look for a proxy or redirect that drops the Authorization header between here and the API",
        ),
        Cause::MalformedToken => {
            (Fault::Caller, "take the token from `evergrant token`; it must have no spaces or quotes")
        }
        Cause::Expired if evidence.server_jump.is_some() => (
            Fault::ServerClock,
            "nothing to do here: the provider's clock jumped and the next token counts from its new time",
        ),
        Cause::Expired => (
            Fault::Unknown,
            "nothing to do if it happens once: a new token is fetched; if often, raise EVERGRANT_SLACK",
        ),
        Cause::NotYetValid => (
            Fault::ServerClock,
            "the API host's clock is behind the issuer's: tell the provider; the request is repeated until it is valid",
        ),
        Cause::Propagating => (Fault::Provider, "nothing to do: the token becomes known everywhere within seconds"),
        Cause::Superseded => (Fault::Provider, "nothing to do: the request is repeated with the newer token"),
        Cause::RevokedByRefresh => {
            (Fault::Provider, "nothing to do here; make sure that no other program uses the same client id")
        }
        Cause::Evicted => (
            Fault::ClientConfig,
            "too many tokens of one client: give each integration its own OAuth client, or share one gateway",
        ),
        Cause::IdleTimeout => {
            (Fault::Provider, "raise the token inactivity timeout in the provider's security settings")
        }
        Cause::Revoked => (
            Fault::Unknown,
            "look in the provider's audit log for who revoked it; other programs on the same client may have",
        ),
        Cause::ClientRejected => (
            Fault::ClientConfig,
            "check EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET against the provider's OAuth client page",
        ),
        Cause::RefreshTokenReused => (Fault::ClientConfig, "two programs share one refresh token: give them one store"),
        Cause::RotationLost => (Fault::Network, "obtain a new refresh token and put it into the store"),
        Cause::LoginRequired => (Fault::ClientConfig, "log in again to obtain a new refresh token"),
        Cause::WrongRegion => (Fault::ClientConfig, "set EVERGRANT_REGION to the region of the organisation"),
        Cause::WrongAudience => {
            (Fault::ClientConfig, "set EVERGRANT_AUDIENCE or EVERGRANT_RESOURCE to what this API expects")
        }
        Cause::InsufficientScope => (Fault::ClientConfig, "add the scope to the OAuth client and to EVERGRANT_SCOPE"),
        Cause::MissingPermission => {
            (Fault::ClientConfig, "add a role with this permission to the OAuth client; a new token does not help")
        }
        Cause::IpNotAllowed => (Fault::ClientConfig, "add this machine's public address to the provider's allow list"),
        Cause::RouteSpecific => (Fault::Provider, "the token is good: ask the provider what else this route requires"),
        Cause::CallerToken if evidence.carried == Carried::UnknownHandle => (
            Fault::Caller,
            "log in at this gateway again: the handle was ended, or made room for newer ones, or is another gateway's",
        ),
        Cause::CallerToken => {
            (Fault::Caller, "the caller brought its own Authorization header: drop it to use the gateway's token")
        }
        Cause::AssertionOutOfTime => (Fault::ThisClock, "let this machine's clock be set by NTP"),
        Cause::RateLimited => (Fault::Caller, "send fewer requests, and wait as long as Retry-After says"),
        Cause::ProxyAuth => (Fault::Network, "give the proxy's credentials in HTTPS_PROXY"),
        Cause::Unknown => {
            (Fault::Unknown, "keep this verdict and the provider's correlation id, and ask the provider's support")
        }
    }
}
