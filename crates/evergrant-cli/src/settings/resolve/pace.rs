//! How the gateway shares out a rate limit.

use std::collections::BTreeMap;

use evergrant_core::pace::{PaceRules, RateLimit, WhenLimited};
use evergrant_core::time::Span;
use evergrant_core::wire::RetryAfter;

use super::Findings;
use crate::failure::Failure;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::values::bad_value;
use evergrant::settings::duration;

/// The rules of the gateway's pace.
pub(super) fn resolve(layers: &Layers, findings: &mut Findings) -> Option<PaceRules> {
    let when_limited = findings.keep(when_limited(layers));
    let fixed = findings.keep(fixed(layers));
    let weights = findings.keep(weights(layers));
    Some(PaceRules { when_limited: when_limited?, fixed: fixed?, weights: weights?, ..PaceRules::default() })
}

fn when_limited(layers: &Layers) -> Result<WhenLimited, Failure> {
    let Some(found) = layers.plain(Setting::RateLimited) else { return Ok(WhenLimited::Wait) };
    match found.value.trim() {
        "wait" => Ok(WhenLimited::Wait),
        "answer" => Ok(WhenLimited::Answer),
        other => Err(bad_value(Setting::RateLimited, &found.origin, format!("`{other}` is neither wait nor answer"))
            .hint("write wait, or answer for a 429 at once")),
    }
}

/// `N/60s`: so many requests in each window.
fn fixed(layers: &Layers) -> Result<Option<RateLimit>, Failure> {
    let Some(found) = layers.plain(Setting::RateLimit) else { return Ok(None) };
    let text = found.value.trim();
    let bad = |cause: &str| {
        bad_value(Setting::RateLimit, &found.origin, format!("`{text}` is no rate limit: {cause}"))
            .hint("write N/60s, as 300/60s")
    };
    let (count, window) = text.split_once('/').ok_or_else(|| bad("it has no `/`"))?;
    let allowed = match count.trim().parse() {
        Ok(0) => return Err(bad("a limit of 0 lets no request through")),
        Ok(count) => count,
        Err(_no_number) => return Err(bad("what stands before `/` is no whole number")),
    };
    let window = duration::parse(window).map_err(|error| bad(&format!("of its window, {error}")))?;
    if window < Span::from_secs(1) || window > RetryAfter::CAP {
        return Err(bad("its window is not between 1s and 1h"));
    }
    Ok(Some(RateLimit { allowed, window }))
}

/// `NAME=WEIGHT`, several with commas.
fn weights(layers: &Layers) -> Result<BTreeMap<String, u32>, Failure> {
    let Some(found) = layers.plain(Setting::CallerWeights) else { return Ok(BTreeMap::new()) };
    let mut weights = BTreeMap::new();
    for part in found.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let bad = |cause: &str| {
            bad_value(Setting::CallerWeights, &found.origin, format!("`{part}` {cause}"))
                .hint(format!("write {}", Setting::CallerWeights.spec().example))
        };
        let (name, weight) = part.split_once('=').ok_or_else(|| bad("has no `=`"))?;
        let (name, weight) = (name.trim(), weight.trim().parse().ok());
        let Some(weight) = weight.filter(|weight| (1..=PaceRules::MOST_WEIGHT).contains(weight)) else {
            return Err(bad("has a weight that is no whole number from 1 to 1000"));
        };
        if name.is_empty() || name.len() > PaceRules::LONGEST_NAME || !name.bytes().all(|byte| matches!(byte, 32..127))
        {
            return Err(bad("has a name that is empty, longer than 64 characters or not ASCII"));
        }
        if weights.insert(name.to_owned(), weight).is_some() {
            return Err(bad("names a caller that has a weight already"));
        }
    }
    Ok(weights)
}
