//! Facts about Genesys Cloud CX, each with its source.
//!
//! Access tokens are opaque and die early for four reasons the API does not tell apart: too many newer tokens of the
//! same client, an organisation's idle timeout, revocation, and expiry. All of them answer `bad.credentials`.

use super::{ErrorMeaning, MintLimit, SdkFacts};
use crate::time::Span;

/// `HEAD` on it verifies a token; `DELETE` would revoke it. (API operation "Verify user token".)
pub(super) const PROBE_PATH: &str = "/api/v2/tokens/me";

/// Answers with `currentDate`, an ISO 8601 date with milliseconds. Needs a token.
pub(super) const DATE_PATH: &str = "/api/v2/date";

/// The shortest idle timeout that an organisation can set (`idleTokenTimeout`: 5 minutes to 8 hours). Whether one is
/// set cannot be known without a permission; a probe after a pause costs less than a refused request.
pub(super) const IDLE_LIMIT: Span = Span::from_secs(5 * 60);

/// The token endpoint's limit is a 400, not a 429; the Terraform provider matches on the same words.
pub(super) const MINT_LIMIT: MintLimit =
    MintLimit { status: 400, code: "invalid_request", description_start: "rate limit exceeded" };

/// The codes that the API's description lists for 401, 403, 429 and 504.
pub(super) const ERROR_CODES: [(&str, ErrorMeaning); 10] = [
    ("authentication.required", ErrorMeaning::MissingToken),
    ("bad.credentials", ErrorMeaning::BadToken),
    ("credentials.expired", ErrorMeaning::ExpiredToken),
    ("ip.not.authorized", ErrorMeaning::IpNotAllowed),
    ("not.authorized", ErrorMeaning::MissingPermission),
    ("missing.permissions", ErrorMeaning::MissingPermission),
    ("missing.any.permissions", ErrorMeaning::MissingPermission),
    ("too.many.requests", ErrorMeaning::RateLimited),
    ("too.many.requests.retry.after", ErrorMeaning::RateLimited),
    ("authentication.request.timeout", ErrorMeaning::AuthTimeout),
];

/// Every SDK joins `{path_params_login}/oauth/token`, `{path_params_login}/logout` and `{path_params_api}/api/v2/...`.
pub(super) const SDK: SdkFacts = SdkFacts {
    api_root: "/api/v2",
    own_token_path: "/api/v2/tokens/me",
    logout_path: "/logout",
    token_type: "bearer",
    unknown_token: ("bad.credentials", "Invalid login credentials."),
};
