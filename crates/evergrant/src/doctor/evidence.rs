//! From what was seen here to the evidence that verdicts are reached from.

use evergrant_core::attempt::{Refusal, Route};
use evergrant_core::evidence::{Audience, Carried, Evidence, Regions};
use evergrant_core::profile::Profile;
use evergrant_core::time::{Boot, Now, OffsetInterval, Span};
use evergrant_core::token::{Generation, Token};
use evergrant_core::wire::{TokenFailure, TokenShape, parse_challenges};
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use super::setup::{Identity, Setup};
use crate::transport::ProbeAnswer;

/// A token endpoint that gives no token.
pub(super) fn of_token_failure(profile: &Profile, failure: &TokenFailure) -> Evidence {
    Evidence { regions: regions(profile), ..Evidence::of_token_request(failure) }
}

/// What the probes before and after a refusal showed.
#[derive(Clone, Copy, Default)]
pub(super) struct Around {
    /// Had an earlier probe been accepted?
    pub(super) worked_before: bool,
    /// Was a later one?
    pub(super) works_since: bool,
    /// Refusals since the last acceptance.
    pub(super) refusals: u32,
    /// For how long a token counts as new.
    pub(super) settle: Span,
}

/// A refusal of a probe with this token, received at this moment; `None` if the answer refuses nothing.
pub(super) fn of_probe(
    setup: &Setup,
    path: &str,
    (answer, received): (&ProbeAnswer, Boot),
    token: &Token,
    (theta, now): (Option<OffsetInterval>, Now),
    around: Around,
) -> Option<Evidence> {
    let profile = &setup.profile;
    let challenges = parse_challenges(answer.head.headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes));
    let host = profile.api_url.as_deref().and_then(|url| Some(Url::parse(url).ok()?.host_str()?.to_owned()));
    let host = host.unwrap_or_default();
    let route = Route::new(&host, "GET", path);
    let refusal = Refusal::read(profile, answer.head.status, &challenges, &answer.body, route, received)?;
    let evidence = Evidence {
        generation: Some(Generation(1)),
        newest: Some(Generation(1)),
        newest_age: Some(token.age(received)),
        age: Some(token.age(received)),
        to_dead: token.remaining(received),
        to_gone: token.instants.is_end_known().then(|| token.instants.gone - received),
        regions: regions(profile),
        worked_before: around.worked_before,
        works_since: around.works_since,
        refusals: around.refusals,
        settle: around.settle,
        recent_mints: 1,
        local_minus_server: theta.map(|theta| now.skew(theta)).map(|skew| (skew.lo, skew.hi)),
        ..Evidence::of_refusal(&refusal, Carried::Ours)
    };
    let evidence = match TokenShape::of_token(token.access_token.expose()) {
        Some(shape) => evidence.with_shape(shape),
        None => evidence,
    };
    let Some(claims) = &token.claims else { return Some(evidence) };
    let server = theta.map(|theta| (received + theta.lo, received + theta.hi));
    let mut evidence = evidence.with_claims(claims, Some(host.as_str()), server);
    if let (Some(audience), Identity::Client(credential)) = (&mut evidence.audience, &setup.identity) {
        let wanted = credential.audience.as_ref().or(credential.resource.as_ref());
        *audience = Audience { wanted: wanted.cloned(), ..audience.clone() };
    }
    Some(evidence)
}

fn regions(profile: &Profile) -> Regions {
    Regions::of(profile.token_url.as_deref(), profile.api_url.as_deref())
}
