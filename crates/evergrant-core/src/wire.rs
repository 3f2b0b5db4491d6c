//! Reading what other people's servers send: token answers, errors, challenges, dates, claims.
//!
//! Everything here arrives from outside and may be torn, wrong, huge or hostile. Each reader is a pure function from
//! bytes to a type that cannot be wrong, parses once at the edge, and never panics. Three rules hold in all of them:
//!
//! - **Bounded.** Input beyond a fixed length is refused or ignored, and what is kept for people is cut short.
//! - **Lenient on form, strict on meaning.** A lifetime written as `"3600"` is read; a token that cannot be sent in a
//!   header is a failure, because every later request would break instead.
//! - **Server text is not trusted.** Some servers quote the rejected token in their error text, so text kept for
//!   people loses control characters and everything that looks like a secret.
//!
//! One file per thing on the wire:
//!
//! - [`token_answer`](parse_token_answer) and [`TokenFailure`]: RFC 6749 sections 5.1 and 5.2;
//! - [`Challenge`]: `WWW-Authenticate`, RFC 9110 section 11.6.1 and RFC 6750 section 3;
//! - [`ApiError`]: bodies of API errors in the shapes of Genesys Cloud, RFC 6749 and RFC 9457;
//! - [`parse_http_date`], [`parse_age`], [`RetryAfter`]: RFC 9110 sections 5.6.7 and 10.2.3, RFC 9111 section 5.1;
//! - [`RateSample`]: the `inin-ratelimit-*` fields of Genesys Cloud;
//! - [`JwtClaims`]: RFC 7519 section 4.1, unverified and therefore only hints;
//! - [`TokenShape`]: what a token's text looks like, without the text;
//! - [`Complaint`]: what a server's free words state;
//! - [`parse_server_date`]: the body of an endpoint that tells the time, RFC 3339;
//! - [`NtpAnswer`]: RFC 5905 section 7.3.

mod api_error;
mod challenge;
mod complaint;
mod date;
mod jwt;
mod ntp;
mod rate_limit;
mod retry_after;
mod text;
mod timestamp;
mod token_answer;
mod token_failure;
mod token_shape;

pub use api_error::{ApiError, is_web_page, parse_api_error};
pub use challenge::{Challenge, bearer_error, parse_challenges};
pub use complaint::Complaint;
pub use date::{parse_age, parse_http_date};
pub use jwt::{JwtClaims, read_claims};
pub use ntp::{NTP_PACKET, NtpAnswer, NtpFault, ntp_request, parse_ntp_answer};
pub use rate_limit::{RateSample, parse_rate_sample};
pub use retry_after::{RetryAfter, parse_retry_after};
pub use timestamp::{ServerDate, parse_server_date, parse_timestamp};
pub use token_answer::{ExpiresInNote, TokenAnswer, parse_token_answer};
pub use token_failure::{Defect, TokenFailure, TokenFailureKind};
pub use token_shape::{TokenDefect, TokenForm, TokenShape};
