//! What is known about a provider, as data.
//!
//! The rules of this crate speak OAuth 2.0 only. Where providers differ, the difference is a field of [`Profile`]: a
//! URL, a probe, a limit, a table of error codes. Code never asks "is this Genesys Cloud?"; it asks the profile.
//!
//! Three profiles exist: `genesys` (one [`Region`] fills in every URL), `oauth2` (nothing is known but what the
//! configuration says) and `oidc` (a discovery document names the token endpoint).
//!
//! A fact that no source confirms is left out rather than guessed. For Genesys Cloud that is: whether a refresh
//! token may be used twice, how many live tokens a client may have, and the numbers of the token endpoint's limit.
//!
//! Source: the Genesys Cloud platform SDKs and the API's published error codes; OpenID Connect Discovery 1.0.

mod discovery;
mod genesys;
mod region;

use crate::time::Span;
use crate::wire::{ApiError, TokenFailure, TokenFailureKind};

pub use discovery::{Discovery, DiscoveryError, discovery_url, parse_discovery};
pub use region::{Region, RegionSlip, UnknownRegion};

/// What is known about one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Which family of facts this is.
    pub kind: ProfileKind,
    /// The token endpoint. Unknown for `oidc` until the discovery document was read.
    pub token_url: Option<String>,
    /// Where a person logs in. Unknown for `oidc` until the discovery document was read.
    pub authorize_url: Option<String>,
    /// The API's origin, without a trailing slash.
    pub api_url: Option<String>,
    /// The issuer identifier, exactly as configured.
    pub issuer: Option<String>,
    /// What the API calls itself, as the audience or resource that tokens are asked for.
    pub audience: Option<String>,
    /// The cheapest request that proves a token.
    pub probe: Option<Probe>,
    /// A path on the API host that answers with the server's time in milliseconds.
    pub date_path: Option<&'static str>,
    /// After this long without use a token may have been ended by the server, so it is probed before it is relied on.
    pub idle_limit: Option<Span>,
    /// How long a spent refresh token is accepted once more.
    pub reuse_grace: Option<Span>,
    /// How the token endpoint says "too many requests" if not by status 429.
    pub mint_limit: Option<MintLimit>,
    /// The API's error codes that have a known meaning.
    pub error_codes: &'static [(&'static str, ErrorMeaning)],
    /// What the provider's own client libraries expect of a gateway, if they have a setting for one.
    pub sdk: Option<SdkFacts>,
}

impl Profile {
    /// Genesys Cloud in one region.
    #[must_use]
    pub fn genesys(region: Region) -> Self {
        Self {
            token_url: Some(region.token_url()),
            authorize_url: Some(region.authorize_url()),
            api_url: Some(region.api_url()),
            probe: Some(Probe { method: ProbeMethod::Head, path: genesys::PROBE_PATH.to_owned() }),
            date_path: Some(genesys::DATE_PATH),
            idle_limit: Some(genesys::IDLE_LIMIT),
            mint_limit: Some(genesys::MINT_LIMIT),
            error_codes: &genesys::ERROR_CODES,
            sdk: Some(genesys::SDK),
            ..Self::nothing_known(ProfileKind::Genesys)
        }
    }

    /// Any OAuth 2.0 server; the configuration fills in the URLs.
    #[must_use]
    pub fn oauth2() -> Self {
        Self::nothing_known(ProfileKind::Oauth2)
    }

    /// An OpenID provider; its discovery document names the token endpoint.
    #[must_use]
    pub fn oidc(issuer: impl Into<String>) -> Self {
        Self { issuer: Some(issuer.into()), ..Self::nothing_known(ProfileKind::Oidc) }
    }

    /// The same profile with the token endpoint of a discovery document, unless one is configured.
    #[must_use]
    pub fn with_discovery(self, discovery: &Discovery) -> Self {
        Self { token_url: self.token_url.or_else(|| Some(discovery.token_endpoint.clone())), ..self }
    }

    /// Turns the provider's own way to say "too many requests" into [`TokenFailureKind::RateLimited`].
    pub fn classify_token_failure(&self, failure: &mut TokenFailure) {
        if self.mint_limit.is_some_and(|limit| limit.is_meant_by(failure)) {
            failure.kind = TokenFailureKind::RateLimited;
        }
    }

    /// What the provider means by an API error's code.
    #[must_use]
    pub fn meaning(&self, error: &ApiError) -> Option<ErrorMeaning> {
        let code = error.code.as_deref()?;
        self.error_codes.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
    }

    /// Does a 401 with this body prove that the request was refused before anything was done?
    ///
    /// Then even a POST may be sent again with another token.
    #[must_use]
    pub fn is_exact_auth_error(&self, error: &ApiError) -> bool {
        self.meaning(error).is_some_and(ErrorMeaning::is_token_refusal)
    }

    fn nothing_known(kind: ProfileKind) -> Self {
        Self {
            kind,
            token_url: None,
            authorize_url: None,
            api_url: None,
            issuer: None,
            audience: None,
            probe: None,
            date_path: None,
            idle_limit: None,
            reuse_grace: None,
            mint_limit: None,
            error_codes: &[],
            sdk: None,
        }
    }
}

/// What a provider's client libraries send to a gateway that stands in for login host and API, and expect of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdkFacts {
    /// How every path of the API begins. What stands before it in a request is a prefix that the caller configured.
    pub api_root: &'static str,
    /// A DELETE of this path ends the token that it is sent with.
    pub own_token_path: &'static str,
    /// The login host's path that ends a session.
    pub logout_path: &'static str,
    /// The `token_type` of token answers, spelled as the provider does.
    pub token_type: &'static str,
    /// The API's error code and message for a token that it does not know.
    pub unknown_token: (&'static str, &'static str),
}

/// The families of provider facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileKind {
    /// Genesys Cloud CX.
    Genesys,
    /// Any OAuth 2.0 authorization server.
    Oauth2,
    /// An OpenID provider with a discovery document.
    Oidc,
}

impl ProfileKind {
    /// The name used in settings and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Genesys => "genesys",
            Self::Oauth2 => "oauth2",
            Self::Oidc => "oidc",
        }
    }
}

/// A request that proves a token and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The method.
    pub method: ProbeMethod,
    /// The path on the API host.
    pub path: String,
}

/// The methods a probe may use: both are safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    /// HEAD.
    Head,
    /// GET.
    Get,
}

impl ProbeMethod {
    /// The method's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Get => "GET",
        }
    }
}

/// How a token endpoint says "too many requests" in an error that looks like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintLimit {
    /// The HTTP status.
    pub status: u16,
    /// The `error` code.
    pub code: &'static str,
    /// How the description begins, in lower case.
    pub description_start: &'static str,
}

impl MintLimit {
    fn is_meant_by(self, failure: &TokenFailure) -> bool {
        let description = failure.description.as_deref().unwrap_or_default();
        failure.status == Some(self.status)
            && failure.code.as_deref() == Some(self.code)
            && description.to_ascii_lowercase().starts_with(self.description_start)
    }
}

/// What a provider means by an error code of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMeaning {
    /// The request carried no token.
    MissingToken,
    /// The token is not, or no longer, accepted.
    BadToken,
    /// The token's lifetime is over.
    ExpiredToken,
    /// The caller's address is not allowed. A new token does not help.
    IpNotAllowed,
    /// The token is good and may not do this. A new token does not help.
    MissingPermission,
    /// Too many requests.
    RateLimited,
    /// The server could not check the token in time. The token may be good.
    AuthTimeout,
}

impl ErrorMeaning {
    /// Was the token itself refused, before anything was done?
    #[must_use]
    pub fn is_token_refusal(self) -> bool {
        matches!(self, Self::MissingToken | Self::BadToken | Self::ExpiredToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parse_api_error, parse_token_answer};

    fn mint_failure(profile: &Profile, status: u16, body: &str) -> TokenFailure {
        let mut failure = parse_token_answer(status, body.as_bytes()).unwrap_err();
        profile.classify_token_failure(&mut failure);
        failure
    }

    #[test]
    fn a_region_fills_in_the_urls() {
        let profile = Profile::genesys(Region::EuCentral1);
        assert_eq!(profile.token_url.as_deref(), Some("https://login.mypurecloud.de/oauth/token"));
        assert_eq!(profile.api_url.as_deref(), Some("https://api.mypurecloud.de"));
        let probe = profile.probe.unwrap();
        assert_eq!((probe.method.as_str(), probe.path.as_str()), ("HEAD", "/api/v2/tokens/me"));
    }

    #[test]
    fn the_mint_limit_in_a_400_is_a_rate_limit_for_genesys_only() {
        let limited = r#"{"error":"invalid_request","error_description":"Rate limit exceeded; too many tokens"}"#;
        let other = r#"{"error":"invalid_request","error_description":"missing grant_type"}"#;
        let genesys = Profile::genesys(Region::UsEast1);
        assert_eq!(mint_failure(&genesys, 400, limited).kind, TokenFailureKind::RateLimited);
        assert_eq!(mint_failure(&genesys, 401, limited).kind, TokenFailureKind::Rejected);
        assert_eq!(mint_failure(&genesys, 400, other).kind, TokenFailureKind::Rejected);
        assert_eq!(mint_failure(&Profile::oauth2(), 400, limited).kind, TokenFailureKind::Rejected);
    }

    #[test]
    fn only_refusals_of_the_token_itself_let_a_post_be_replayed() {
        let genesys = Profile::genesys(Region::UsEast1);
        for (code, exact) in [
            ("bad.credentials", true),
            ("credentials.expired", true),
            ("authentication.required", true),
            ("ip.not.authorized", false),
            ("not.authorized", false),
            ("missing.permissions", false),
            ("authentication.request.timeout", false),
            ("too.many.requests.retry.after", false),
            ("BAD.CREDENTIALS", false),
            ("unheard.of", false),
        ] {
            let error =
                parse_api_error(format!(r#"{{"code":"{code}","message":"m","status":401}}"#).as_bytes()).unwrap();
            assert_eq!(genesys.is_exact_auth_error(&error), exact, "{code}");
            assert!(!Profile::oauth2().is_exact_auth_error(&error), "{code}");
        }
    }

    #[test]
    fn discovery_fills_the_token_url_but_never_overrides_one() {
        let discovery = parse_discovery(
            "https://idp.example",
            br#"{"issuer":"https://idp.example","token_endpoint":"https://idp.example/token"}"#,
        );
        let discovery = discovery.unwrap();
        let profile = Profile::oidc("https://idp.example").with_discovery(&discovery);
        assert_eq!(profile.token_url.as_deref(), Some("https://idp.example/token"));
        let configured =
            Profile { token_url: Some("https://other/token".to_owned()), ..Profile::oidc("https://idp.example") };
        assert_eq!(configured.with_discovery(&discovery).token_url.as_deref(), Some("https://other/token"));
    }
}
