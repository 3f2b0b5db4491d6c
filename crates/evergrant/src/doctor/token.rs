//! The token itself: what kind it is, what it says, and how long it lives.

use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::Span;
use evergrant_core::token::{Generation, Issued, Token};
use evergrant_core::wire::JwtClaims;

use super::mint::Minted;
use super::report::{Check, Name, TokenLine};
use super::setup::Identity;
use super::visit::Visit;
use super::words::{long, utc_of};
use crate::clock;

/// The token as a keeper would plan its life.
pub(super) fn planned(visit: &Visit<'_>, minted: &Minted) -> Token {
    let issued = Issued { sent: minted.sent, received: minted.received };
    let answer = &minted.answer;
    let refresh = minted.received - minted.sent;
    let policy = &visit.setup.policy;
    let token = Token::new(Generation(1), answer.access_token.clone(), issued, answer.expires_in, policy, refresh, 0);
    if let Some(claims) = &token.claims
        && let Some(iat) = claims.iat
    {
        let sample = Sample::of_mint(iat, claims.exp, answer.expires_in, minted.sent, minted.received);
        visit.note_sample(Source::JwtMint, sample);
    }
    token
}

/// The token's life as a line, seen from now.
pub(super) fn line(token: &Token) -> TokenLine {
    let sent = token.issued.sent;
    let since = |at: evergrant_core::time::Boot| (at - sent).as_secs_f64();
    let known = |at| token.instants.is_end_known().then(|| since(at));
    TokenLine {
        now_s: since(clock::boot()),
        soft_s: since(token.instants.soft),
        hard_s: known(token.instants.hard),
        dead_s: known(token.instants.dead),
        gone_s: known(token.instants.gone),
    }
}

/// What kind of token came, and whether what it says fits the settings and the server's clock.
pub(super) fn check(visit: &Visit<'_>, token: &Token, token_type: Option<&str>) -> Check {
    let check = Check::ok(Name::Token);
    let length = token.access_token.expose().len();
    let check = match token_type {
        Some(other) if !other.eq_ignore_ascii_case("bearer") => check
            .saw(format!("its type is {other}, not Bearer"))
            .warning("Evergrant sends tokens as Bearer; have the provider issue that type to this client"),
        Some(_) | None => check,
    };
    let Some(claims) = &token.claims else {
        return check.saw(format!(
            "opaque, {length} characters: nothing in it can be read, so no clock of this machine can make it fail"
        ));
    };
    let check = check.saw(format!("a JWT of {length} characters: {}", shown(claims)));
    let check = issuer(check, visit, claims);
    let check = audience(check, visit, claims);
    dates(check, visit, claims)
}

fn shown(claims: &JwtClaims) -> String {
    let date = |name: &str, at: Option<evergrant_core::time::Server>| at.map(|at| format!("{name} {}", utc_of(at)));
    let parts = [
        claims.iss.as_ref().map(|iss| format!("issuer {iss}")),
        (!claims.aud.is_empty()).then(|| format!("audience {}", claims.aud.join(" "))),
        date("issued", claims.iat),
        date("valid from", claims.nbf),
        date("until", claims.exp),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn issuer(check: Check, visit: &Visit<'_>, claims: &JwtClaims) -> Check {
    match (&visit.setup.profile.issuer, &claims.iss) {
        (Some(expected), Some(found)) if expected != found => check
            .saw(format!("it names the issuer {found}, the settings name {expected}"))
            .fault("set EVERGRANT_ISSUER to the issuer of this client's tokens, character by character"),
        _ => check,
    }
}

fn audience(check: Check, visit: &Visit<'_>, claims: &JwtClaims) -> Check {
    let Identity::Client(credential) = &visit.setup.identity else { return check };
    let wanted = credential.audience.as_ref().or(credential.resource.as_ref());
    match wanted {
        Some(wanted) if !claims.aud.is_empty() && !claims.aud.contains(wanted) => check
            .saw(format!("it is meant for {}, asked for was {wanted}", claims.aud.join(" ")))
            .warning("wrong audience: allow the client this audience at the provider, or correct EVERGRANT_AUDIENCE or EVERGRANT_RESOURCE"),
        _ => check,
    }
}

/// The claims against the server's clock, never against this machine's.
fn dates(check: Check, visit: &Visit<'_>, claims: &JwtClaims) -> Check {
    let now = clock::now();
    let Some(theta) = visit.notes().clocks.theta(now) else {
        return check.saw("no date of the server is known, so its dates were not compared");
    };
    let (earliest, latest) = (now.boot + theta.lo, now.boot + theta.hi);
    if let Some(exp) = claims.exp.filter(|exp| *exp < earliest) {
        return check.saw(format!("it ended {} ago by the server's own clock", long(earliest - exp))).fault(
            "the provider issues tokens that are over: its token endpoint's clock and its dates disagree; tell it",
        );
    }
    if let Some(from) = claims.nbf.or(claims.iat).filter(|from| *from > latest) {
        return check
            .saw(format!("it begins in {} by the server's own clock", long(from - latest)))
            .warning("the provider dates tokens into the future: strict APIs refuse them until then; tell it");
    }
    check.saw("its dates hold now by the server's own clock")
}

/// Is the lifetime one that can be lived with, and do the two places that name it agree?
pub(super) fn lifetime(token: &Token, note: Option<String>) -> Check {
    let check = Check::ok(Name::Lifetime);
    let by_claims = token.claims.as_ref().and_then(|claims| claims.exp.zip(claims.iat)).map(|(exp, iat)| exp - iat);
    let Some(lifetime) = token.lifetime else {
        let check = check.saw(note.unwrap_or_else(|| "expires_in is missing".to_owned()));
        let check = match by_claims {
            Some(span) => check.saw(format!("by its claims it lives {}", long(span))),
            None => check,
        };
        return check.warning(
            "have the provider send expires_in: without it a token is renewed every 4 minutes and its end is found by a refusal",
        );
    };
    let mut check = check.saw(format!("expires_in says {}", long(lifetime))).saw(format!(
        "refreshed in the background after {}, callers wait for that in the last {}",
        long(token.instants.soft - token.issued.sent),
        long(token.instants.dead - token.instants.hard),
    ));
    if let Some(span) = by_claims
        && (span - lifetime).abs() > CLAIMS_TOLERANCE
    {
        check = check
            .saw(format!("exp minus iat says {}", long(span)))
            .warning("expires_in and the token's own dates disagree: the shorter one counts here; tell the provider");
    }
    if lifetime < SHORT {
        check = check.warning(
            "such a short life costs a token request every few seconds: raise the client's token duration at the provider (Genesys Cloud: 300 s to 48 h)",
        );
    }
    check
}

/// A shorter life than this spends more on refreshing than it protects.
const SHORT: Span = Span::from_secs(60);
/// Servers round.
const CLAIMS_TOLERANCE: Span = Span::from_secs(5);
