//! What settings mean, whichever program reads them.
//!
//! The program `evergrant` reads flags, variables and files, the Python package keyword arguments and variables. Where a
//! value comes from and how a slip is reported is theirs; what follows from the values is the same for both and stands
//! here: which provider is meant when none is named, which grant, what a duration or a budget looks like, and which
//! variables of other tools hold the same.

pub mod duration;

use evergrant_core::profile::{Profile, ProfileKind, Region};
use evergrant_core::time::Span;

use crate::grant::Grant;

/// Variables of other tools that hold a region, strongest first.
pub const REGION_ELSEWHERE: &[&str] = &["GENESYSCLOUD_REGION", "GENESYS_CLOUD_REGION", "GENESYS_REGION", "GENESYS_ENV"];
/// Variables of other tools that hold a client id, strongest first.
pub const CLIENT_ID_ELSEWHERE: &[&str] =
    &["GENESYSCLOUD_OAUTHCLIENT_ID", "GENESYS_CLOUD_CLIENT_ID", "GENESYS_CLIENT_ID"];
/// Variables of other tools that hold a client secret, strongest first.
pub const CLIENT_SECRET_ELSEWHERE: &[&str] =
    &["GENESYSCLOUD_OAUTHCLIENT_SECRET", "GENESYS_CLOUD_CLIENT_SECRET", "GENESYS_CLIENT_SECRET"];

/// How a handle begins, which a gateway gives its callers in place of a token.
pub const HANDLE_PREFIX: &str = "eg1_";
/// How a secret begins that lets a caller log in at one gateway.
pub const LOCAL_SECRET_PREFIX: &str = "egs1_";

/// Is this text a handle or a local secret of some gateway? It is of use there only; `exec --gateway` puts such texts where
/// other tools look for a secret.
#[must_use]
pub fn is_of_a_gateway(text: &str) -> bool {
    text.starts_with(HANDLE_PREFIX) || text.starts_with(LOCAL_SECRET_PREFIX)
}

/// Has an `exec --gateway` around this process set, for other tools, variables that hold a client elsewhere? Those are then no
/// settings: no provider knows them. `get` reads a variable.
#[must_use]
pub fn is_under_a_gateway<S: AsRef<str>>(get: impl Fn(&str) -> Option<S>) -> bool {
    CLIENT_SECRET_ELSEWHERE.iter().filter_map(|name| get(name)).any(|secret| is_of_a_gateway(secret.as_ref()))
}

/// Which of the settings that can name a provider are given.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Given {
    /// A Genesys Cloud region.
    pub region: bool,
    /// A token endpoint.
    pub token_url: bool,
    /// An API.
    pub upstream: bool,
    /// An issuer.
    pub issuer: bool,
}

impl Given {
    /// The provider that is meant, if it follows.
    ///
    /// A region means Genesys Cloud, unless both URLs are given: then one that happens to be in the environment changes
    /// nothing.
    #[must_use]
    pub fn provider(self) -> Option<ProfileKind> {
        if self.region && !(self.token_url && self.upstream) {
            Some(ProfileKind::Genesys)
        } else if self.token_url {
            Some(ProfileKind::Oauth2)
        } else {
            self.issuer.then_some(ProfileKind::Oidc)
        }
    }
}

/// A secret as a file or a person gives it, without the one line break at its end that does not belong to it.
#[must_use]
pub fn without_line_break(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

/// White space in a secret, which probably came along when it was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WhiteSpace {
    /// Where it is: `begins with`, `ends with` or `contains`.
    pub place: &'static str,
    /// A space inside is unusual but allowed (RFC 6749 appendix A.2); at an end it is a slip, and a line break always.
    pub may_be_meant: bool,
}

impl WhiteSpace {
    /// That of this secret, if it has any. A secret is sent as it is or not at all: never trimmed.
    #[must_use]
    pub fn of(secret: &str) -> Option<Self> {
        let place = if secret.starts_with(char::is_whitespace) {
            "begins with"
        } else if secret.ends_with(char::is_whitespace) {
            "ends with"
        } else if secret.chars().any(|c| c.is_whitespace() || c.is_control()) {
            "contains"
        } else {
            return None;
        };
        Some(Self { place, may_be_meant: place == "contains" && !secret.chars().any(char::is_control) })
    }
}

/// What is known about a provider of this kind, before URLs that are given take the place of known ones.
#[must_use]
pub fn known(kind: ProfileKind, region: Option<Region>, issuer: Option<&str>) -> Profile {
    match (kind, region) {
        (ProfileKind::Genesys, Some(region)) => Profile::genesys(region),
        (ProfileKind::Genesys, None) => {
            // What remains without the URLs is the same for every region.
            Profile { token_url: None, authorize_url: None, api_url: None, ..Profile::genesys(Region::UsEast1) }
        }
        (ProfileKind::Oauth2, _) => Profile::oauth2(),
        (ProfileKind::Oidc, _) => match issuer {
            // Exactly as written: an issuer is compared character by character.
            Some(issuer) => Profile::oidc(issuer),
            None => Profile { kind, ..Profile::oauth2() },
        },
    }
}

/// The grant that a word names; what a login leaves behind is a refresh token, so that its grant is that one.
#[must_use]
pub fn grant(word: &str) -> Option<Grant> {
    const AFTER_LOGIN: &str = "authorization_code";
    if word == AFTER_LOGIN {
        return Some(Grant::RefreshToken);
    }
    Grant::ALL.into_iter().find(|grant| grant.as_str() == word)
}

/// The grant that is meant when none is named: a client that has only a refresh token uses that.
#[must_use]
pub fn implied_grant(has_secret: bool, has_refresh_token: bool) -> Grant {
    if has_refresh_token && !has_secret { Grant::RefreshToken } else { Grant::ClientCredentials }
}

/// A mint budget: so many tokens in 10 minutes, as `10/10m`.
///
/// # Errors
/// When it is none; says what is wrong.
pub fn mint_budget(text: &str) -> Result<u32, &'static str> {
    let (count, window) = text.split_once('/').ok_or("it has no `/`")?;
    if duration::parse(window) != Ok(Span::from_secs(600)) {
        return Err("its window is not 10m");
    }
    match count.trim().parse() {
        Ok(0) => Err("a budget of 0 allows no token at all"),
        Ok(count) => Ok(count),
        Err(_no_number) => Err("what stands before `/` is no whole number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_of_a_secret_is_not_its_own_and_other_white_space_is_told() {
        for (given, secret) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\r", "s\r"), ("s\n\n", "s\n"), ("\n", "")]
        {
            assert_eq!(without_line_break(given), secret, "{given:?}");
        }
        let told = |secret| WhiteSpace::of(secret).map(|WhiteSpace { place, may_be_meant }| (place, may_be_meant));
        assert_eq!(told("s3cr3t"), None);
        assert_eq!(told("pass phrase"), Some(("contains", true)));
        assert_eq!(told("two\nlines"), Some(("contains", false)));
        assert_eq!(told(" s"), Some(("begins with", false)));
        assert_eq!(told("s\t"), Some(("ends with", false)));
    }

    #[test]
    fn a_provider_follows_from_what_is_given() {
        let nothing = Given::default();
        assert_eq!(nothing.provider(), None);
        assert_eq!(Given { region: true, ..nothing }.provider(), Some(ProfileKind::Genesys));
        assert_eq!(Given { region: true, token_url: true, ..nothing }.provider(), Some(ProfileKind::Genesys));
        let both = Given { region: true, token_url: true, upstream: true, ..nothing };
        assert_eq!(both.provider(), Some(ProfileKind::Oauth2), "a region in the environment changes nothing");
        assert_eq!(Given { issuer: true, ..nothing }.provider(), Some(ProfileKind::Oidc));
        assert_eq!(Given { upstream: true, ..nothing }.provider(), None);
    }

    #[test]
    fn only_a_refresh_token_means_its_grant() {
        assert_eq!(implied_grant(false, true), Grant::RefreshToken);
        assert_eq!(implied_grant(true, true), Grant::ClientCredentials);
        assert_eq!(implied_grant(false, false), Grant::ClientCredentials);
        assert_eq!(grant("authorization_code"), Some(Grant::RefreshToken));
        assert_eq!(grant("password"), None);
    }
}
