//! Which provider, and its URLs.
//!
//! The provider follows from what is given, unless it is named: a region means `genesys` (unless both URLs are given,
//! then a region that happens to be in the environment changes nothing), a token URL `oauth2`, an issuer `oidc`.
//!
//! A Genesys Cloud token endpoint is on the login host; asked on the API host it answers 404, which looks like anything
//! but a wrong URL. An AWS name glued to a domain resolves to nothing. Both are found here, by name.

use evergrant::settings::{self, Given};
use evergrant_core::profile::{Probe, ProbeMethod, Profile, ProfileKind, Region, RegionSlip, UnknownRegion};
use url::Url;

use super::Findings;
use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values::{self, bad_value};

const KINDS: [ProfileKind; 3] = [ProfileKind::Genesys, ProfileKind::Oauth2, ProfileKind::Oidc];

/// The provider with its URLs, and the API.
pub(super) fn resolve(
    layers: &Layers,
    allow_insecure_http: bool,
    findings: &mut Findings,
) -> Option<(Profile, Option<Url>)> {
    let mut url = |key| {
        let found = layers.plain(key)?;
        let url = findings.keep(values::url(key, &found, allow_insecure_http))?;
        findings.keep(find_slips(key, &found.origin, &url))?;
        Some(url)
    };
    let (token_url, upstream) = (url(Setting::TokenUrl), url(Setting::Upstream));
    let authorize_url = url(Setting::AuthorizeUrl);
    // These are used as they are written, so only their errors count here.
    url(Setting::Issuer);
    url(Setting::DeviceUrl);
    let probe = layers.plain(Setting::ProbePath).and_then(|found| findings.keep(probe(&found)));
    let region = layers.plain(Setting::Region).map(|found| region(&found));
    let region = findings.keep(region.transpose()).flatten();

    let kind = findings.keep(kind(layers))?;
    let Some(kind) = kind else {
        // A URL that is wrong has been reported; that no provider follows from it needs no word of its own.
        if findings.errors.is_empty() {
            findings.gap(no_provider());
        }
        return None;
    };
    let issuer = layers.plain(Setting::Issuer);
    let known = settings::known(kind, region, issuer.as_ref().map(|found| found.value.trim()));
    let upstream = upstream.or_else(|| known.api_url.as_deref().and_then(|text| Url::parse(text).ok()));
    let profile = Profile {
        token_url: token_url.map(String::from).or(known.token_url),
        authorize_url: authorize_url.map(String::from).or(known.authorize_url),
        api_url: upstream.as_ref().map(origin),
        probe: probe.or(known.probe),
        ..known
    };
    if profile.token_url.is_none() && profile.issuer.is_none() {
        if findings.errors.is_empty() {
            findings.gap(no_token_url(kind));
        }
        return None;
    }
    Some((profile, upstream))
}

/// The provider that is named, or that follows from what is given.
fn kind(layers: &Layers) -> Result<Option<ProfileKind>, Failure> {
    if let Some(found) = layers.plain(Setting::Provider) {
        let name = found.value.trim().to_lowercase();
        let known = KINDS.into_iter().find(|kind| kind.name() == name);
        return known.map(Some).ok_or_else(|| unknown_provider(&found));
    }
    let given = |key| layers.plain(key).is_some();
    let given = Given {
        region: given(Setting::Region),
        token_url: given(Setting::TokenUrl),
        upstream: given(Setting::Upstream),
        issuer: given(Setting::Issuer),
    };
    Ok(given.provider())
}

fn unknown_provider(found: &Found<String>) -> Failure {
    let failure = bad_value(Setting::Provider, &found.origin, format!("`{}` is no provider", found.value));
    match nearest(&found.value.to_lowercase(), KINDS.map(ProfileKind::name)) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint("write genesys, oauth2 or oidc; oauth2 works with any token endpoint"),
    }
}

fn region(found: &Found<String>) -> Result<Region, Failure> {
    Region::parse(&found.value).map_err(|error| unknown_region(Setting::Region, &found.origin, &error))
}

fn unknown_region(key: Setting, origin: &Origin, error: &UnknownRegion) -> Failure {
    let cause = match error.slip {
        Some(RegionSlip::NameGluedToDomain(_) | RegionSlip::Empty) => error.to_string(),
        None => format!("`{}` is none of the Genesys Cloud regions, nor one of their domains", error.given),
    };
    let failure = bad_value(key, origin, cause);
    match (error.slip, error.suggestion) {
        (Some(RegionSlip::NameGluedToDomain(region)), _) => failure.hint(if key == Setting::TokenUrl {
            format!("write {}", region.token_url())
        } else if key == Setting::Upstream {
            format!("write {}", region.api_url())
        } else {
            format!("write {} or {}", region.aws_name(), region.domain())
        }),
        (_, Some(suggestion)) => failure.hint(format!("did you mean {suggestion}?")),
        (_, None) => failure.hint(format!("write one of: {}", Region::ALL.map(Region::aws_name).join(", "))),
    }
}

/// Slips in URLs of Genesys Cloud, whatever the provider is called.
fn find_slips(key: Setting, origin: &Origin, url: &Url) -> Result<(), Failure> {
    let Some(host) = url.host_str() else { return Ok(()) };
    match Region::parse(host) {
        Ok(region) if key == Setting::TokenUrl && Some(host) == region.api_url().strip_prefix("https://") => {
            Err(bad_value(key, origin, format!("{host} is the API host; tokens come from the login host"))
                .hint(format!("write {}, or leave it out and set the region {region}", region.token_url())))
        }
        Err(error) if matches!(error.slip, Some(RegionSlip::NameGluedToDomain(_))) => {
            Err(unknown_region(key, origin, &error))
        }
        _ => Ok(()),
    }
}

fn probe(found: &Found<String>) -> Result<Probe, Failure> {
    let path = found.value.trim();
    if path.starts_with('/') && !path.contains(char::is_whitespace) {
        return Ok(Probe { method: ProbeMethod::Get, path: path.to_owned() });
    }
    Err(bad_value(Setting::ProbePath, &found.origin, "it is no path: it does not begin with `/`, or holds white space")
        .hint(format!("write {}", Setting::ProbePath.spec().example)))
}

fn no_provider() -> Failure {
    Failure::new(exit::CONFIG, "there is no provider")
        .because("neither a region, nor a token URL, nor an issuer is set")
        .hint("for Genesys Cloud set EVERGRANT_REGION, for any other OAuth server EVERGRANT_TOKEN_URL")
        .hint("`evergrant demo` needs neither")
}

fn no_token_url(kind: ProfileKind) -> Failure {
    let failure = Failure::new(exit::CONFIG, format!("the provider {} has no token endpoint", kind.name()));
    match kind {
        ProfileKind::Genesys => failure
            .because("no region is set, and no token URL")
            .hint("set EVERGRANT_REGION, as eu-central-1 or mypurecloud.de"),
        ProfileKind::Oauth2 => failure.because("no token URL is set").hint("set EVERGRANT_TOKEN_URL"),
        ProfileKind::Oidc => failure
            .because("no issuer is set, and no token URL")
            .hint("set EVERGRANT_ISSUER, as https://id.example.com"),
    }
}

/// Scheme and authority, as the profile wants its API.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
