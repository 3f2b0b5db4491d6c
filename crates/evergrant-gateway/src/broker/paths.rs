//! Which place of the provider a request path means, whatever a caller's configuration put before it.
//!
//! A client library with a gateway setting joins three strings: the gateway's address, a prefix of the user's choice,
//! and the provider's own path. The libraries differ in what they do with slashes, so that a prefix of `/login/` gives
//! `/login/oauth/token` in one language and `/login//oauth/token` in another. Here the prefix is whatever stands before
//! a path that is known, from nothing to any number of slashes; it must end where a segment ends.
//!
//! The path of an API request is cut at the first occurrence of the API's root and kept byte for byte from there. A
//! token endpoint is known by its end. It wins over an API root in its prefix, because `/api/v2` may be somebody's
//! prefix and is the beginning of no token endpoint otherwise.
//!
//! Limits: paths are compared as they were sent. Percent-encoded letters and dot segments are the upstream's to read;
//! a path that needs decoding to be known is an unknown one and goes on unchanged.

use evergrant_core::profile::{Profile, SdkFacts};
use http::Method;

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The token endpoint.
    Token,
    /// The revocation endpoint (RFC 7009).
    Revocation,
    /// The end of a session at the login host.
    Logout,
    /// The end of the token that the request carries.
    OwnToken,
    /// The API, whose own path begins at this byte.
    Api(usize),
    /// None of these.
    Elsewhere,
}

/// The paths of one provider.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    sdk: Option<SdkFacts>,
    /// The path of the configured token URL, for providers whose token endpoint has a name of its own.
    token_path: Option<String>,
}

impl Paths {
    pub(crate) fn of(profile: &Profile) -> Self {
        let token_path = profile.token_url.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
        let token_path = token_path.map(|url| url.path().to_owned()).filter(|path| path.len() > 1);
        Self { sdk: profile.sdk, token_path }
    }

    /// The place that a request for `path` means.
    pub(crate) fn place(&self, method: &Method, path: &str) -> Place {
        let is_token = || ends_with(path, TOKEN) || self.token_path.as_deref().is_some_and(|own| ends_with(path, own));
        if *method == Method::POST && is_token() {
            return Place::Token;
        }
        if *method == Method::POST && ends_with(path, REVOCATION) {
            return Place::Revocation;
        }
        let Some(sdk) = self.sdk else { return Place::Elsewhere };
        match root_at(path, sdk.api_root) {
            Some(at) if *method == Method::DELETE && path[at..].trim_end_matches('/') == sdk.own_token_path => {
                Place::OwnToken
            }
            Some(at) => Place::Api(at),
            None if ends_with(path, sdk.logout_path) => Place::Logout,
            None => Place::Elsewhere,
        }
    }
}

/// The byte at which `root` begins in `path`, as whole segments.
fn root_at(path: &str, root: &str) -> Option<usize> {
    path.match_indices(root).map(|(at, _)| at).find(|at| {
        let after = &path[at + root.len()..];
        after.is_empty() || after.starts_with('/')
    })
}

/// Are the last segments of `path` those of `wanted`? Empty segments count in neither.
fn ends_with(path: &str, wanted: &str) -> bool {
    let mut theirs = segments_from_the_end(path);
    segments_from_the_end(wanted).all(|segment| theirs.next() == Some(segment))
}

fn segments_from_the_end(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit('/').filter(|segment| !segment.is_empty())
}

const TOKEN: &str = "/oauth/token";
const REVOCATION: &str = "/oauth/revoke";

#[cfg(test)]
mod tests {
    use evergrant_core::profile::Region;

    use super::*;

    fn genesys() -> Paths {
        Paths::of(&Profile::genesys(Region::UsEast1))
    }

    fn post(path: &str) -> Place {
        genesys().place(&Method::POST, path)
    }

    #[test]
    fn a_token_endpoint_may_have_any_prefix() {
        for path in [
            "/oauth/token",
            "//oauth/token",
            "/login/oauth/token",
            "/login//oauth/token",
            "//login///oauth/token",
            "/a/b/c/oauth/token",
            "/api/v2/oauth/token",
            "/oauth/token/oauth/token",
            "/login/oauth/token/",
        ] {
            assert_eq!(post(path), Place::Token, "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_a_token_endpoint_is_none() {
        for path in
            ["/oauth/tokens", "/xoauth/token", "/oauth/token/x", "/oauth%2Ftoken", "/OAUTH/TOKEN", "/token", "/"]
        {
            assert_eq!(post(path), Place::Elsewhere, "{path}");
        }
        assert_eq!(genesys().place(&Method::GET, "/oauth/token"), Place::Elsewhere);
    }

    #[test]
    fn an_api_path_is_kept_from_its_root_on() {
        for (path, kept) in [
            ("/api/v2/users/me", "/api/v2/users/me"),
            ("/api-gw/api/v2/users/me", "/api/v2/users/me"),
            ("//api/v2/users//me/", "/api/v2/users//me/"),
            ("/x//api/v2/users", "/api/v2/users"),
            ("/genesys/api/api/v2/users", "/api/v2/users"),
            ("/api/v2", "/api/v2"),
            ("/api/v2/x/api/v2/y", "/api/v2/x/api/v2/y"),
            ("/api/v2x/api/v2/users", "/api/v2/users"),
            ("/%C3%BC/api/v2/users", "/api/v2/users"),
        ] {
            let Place::Api(at) = post(path) else { panic!("{path} is {:?}", post(path)) };
            assert_eq!(&path[at..], kept, "{path}");
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in ["/", "/health", "/api/v1/users", "/api/v20/users", "/api//v2/users", "/xapi/v2", "/API/V2/users"] {
            assert_eq!(post(path), Place::Elsewhere, "{path}");
        }
    }

    #[test]
    fn only_a_delete_of_the_own_token_ends_it() {
        let place = |method: Method, path: &str| genesys().place(&method, path);
        for path in ["/api/v2/tokens/me", "/gw/api/v2/tokens/me", "/api/v2/tokens/me/"] {
            assert_eq!(place(Method::DELETE, path), Place::OwnToken, "{path}");
        }
        assert!(matches!(place(Method::GET, "/api/v2/tokens/me"), Place::Api(0)));
        assert!(matches!(place(Method::HEAD, "/api/v2/tokens/me"), Place::Api(0)));
        assert!(matches!(place(Method::DELETE, "/api/v2/tokens/me2"), Place::Api(0)));
        assert!(matches!(place(Method::DELETE, "/api/v2/tokens/6f1c"), Place::Api(0)));
    }

    #[test]
    fn a_logout_may_have_any_prefix_but_is_no_api_path() {
        for path in ["/logout", "/login/logout", "//login//logout/"] {
            assert_eq!(genesys().place(&Method::GET, path), Place::Logout, "{path}");
        }
        assert!(matches!(genesys().place(&Method::POST, "/api/v2/logout"), Place::Api(0)));
    }

    #[test]
    fn without_facts_about_sdks_only_the_endpoints_of_oauth_are_known() {
        let mut profile = Profile::oauth2();
        profile.token_url = Some("https://idp.example/realms/x/protocol/openid-connect/token".to_owned());
        let paths = Paths::of(&profile);
        let post = |path: &str| paths.place(&Method::POST, path);
        assert_eq!(post("/oauth/token"), Place::Token);
        assert_eq!(post("/gw/realms/x/protocol/openid-connect/token"), Place::Token);
        assert_eq!(post("/protocol/openid-connect/token"), Place::Elsewhere);
        assert_eq!(post("/gw/oauth/revoke"), Place::Revocation);
        assert_eq!(post("/gw/api/v2/users"), Place::Elsewhere);
        assert_eq!(paths.place(&Method::DELETE, "/api/v2/tokens/me"), Place::Elsewhere);
    }
}
