//! Whom to ask, from the settings and the command line.

use std::time::Duration;

use evergrant::offset::{Meter, Place, PlaceError, PlaceFailure, PlaceFailureKind};
use evergrant::tls::Tls;
use evergrant::transport::{self, TransportOptions};
use evergrant_core::Secret;
use evergrant_core::offset::{Assumptions, Source};
use evergrant_core::profile::Profile;
use rustix::process::Signal as Posix;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::args::ClockArgs;
use crate::ending::{self, Signals};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch::{self, Started};
use crate::settings::resolve::{ClockSettings, Settings};

/// A meter with every place that is known, and how long one measurement may still take; or the signal that ended the run
/// before.
pub(super) async fn prepare(
    args: &ClockArgs,
    settings: &ClockSettings,
    signals: &mut Option<&mut Signals>,
) -> Result<Result<(Meter, Duration), Posix>, Failures> {
    let started = Instant::now();
    let timeout = settings.timing.timeout.to_duration();
    let asker = Asker {
        tls: Tls::new(settings.network.ca_file.clone()).with_identity(settings.network.identity.clone()),
        options: TransportOptions {
            timeout: timeout.min(LONGEST_QUESTION),
            allow_insecure_http: settings.network.allow_insecure_http,
        },
    };
    let default = Assumptions::default();
    let mut meter = Meter::new(Assumptions {
        date_lag: args.date_lag.unwrap_or(default.date_lag),
        node_spread: args.node_spread.unwrap_or(default.node_spread),
        ..default
    });
    let mut count = 0;
    let mut add = |meter: &mut Meter, place: Place| {
        count += 1;
        meter.add(place);
    };
    // What is wrong on the command line is said before anything is sent.
    if let Some(address) = &args.ntp {
        add(&mut meter, Place::ntp(address).map_err(|error| bad_place("--ntp", &error))?);
    }
    if let Some(url) = &args.reference {
        // A stranger is not shown the client's certificate.
        let tls = Tls::new(settings.network.ca_file.clone());
        let place = Place::reference(url, &tls, asker.options);
        add(&mut meter, place.map_err(|error| bad_place("--reference", &error))?);
    }
    if let Some(profile) = &settings.profile
        && let Some(url) = asker.auth_url(profile).await
    {
        let place = Place::auth(&url, &asker.tls, asker.options);
        add(&mut meter, place.map_err(|error| bad_place("the token URL", &error))?);
    }
    if let Some(url) = &settings.upstream {
        let url = api_url(url, settings.profile.as_ref());
        let place = Place::api(url.as_str(), &asker.tls, asker.options);
        add(&mut meter, place.map_err(|error| bad_place("the upstream", &error))?);
    }
    if count == 0 {
        return Err(nobody_to_ask().into());
    }
    if let Some((settings, url)) = date_url(settings) {
        let at_most = timeout.saturating_sub(started.elapsed()).min(timeout / 2);
        if let Err(signal) = asker.add_milliseconds(&mut meter, settings, &url, at_most, signals).await {
            return Ok(Err(signal));
        }
    }
    Ok(Ok((meter, timeout.saturating_sub(started.elapsed()).max(timeout / 4))))
}

struct Asker {
    tls: Tls,
    options: TransportOptions,
}

impl Asker {
    /// The token endpoint: as configured, as the issuer's document names it, or else the issuer itself.
    async fn auth_url(&self, profile: &Profile) -> Option<String> {
        if profile.token_url.is_some() {
            return profile.token_url.clone();
        }
        let issuer = profile.issuer.clone()?;
        let found = transport::discover(&issuer, &self.tls, self.options).await;
        Some(found.map_or(issuer, |found| found.token_endpoint))
    }

    /// Adds the millisecond endpoint, if a token can be had for it, and what minting that token showed.
    async fn add_milliseconds(
        &self,
        meter: &mut Meter,
        settings: &Settings,
        url: &Url,
        at_most: Duration,
        signals: &mut Option<&mut Signals>,
    ) -> Result<(), Posix> {
        match self.milliseconds(meter, settings, url, at_most, signals).await? {
            Ok(place) => meter.add(place),
            Err(why) => {
                meter.note(Source::MsEndpoint, host_of(url), Err(PlaceFailure::new(PlaceFailureKind::NoTime, why)));
            }
        }
        Ok(())
    }

    /// The millisecond endpoint with a token for it, or why there is none.
    async fn milliseconds(
        &self,
        meter: &mut Meter,
        settings: &Settings,
        url: &Url,
        at_most: Duration,
        signals: &mut Option<&mut Signals>,
    ) -> Result<Result<Place, String>, Posix> {
        let deadline = Instant::now() + at_most;
        let late = |_elapsed| Failure::new(exit::UNREACHABLE, "none came in time");
        let starting = async { timeout_at(deadline, launch::start(settings)).await.map_err(late)? };
        let text = match ending::unless_ended(signals, starting).await? {
            Ok(Started::ReadyToken(text)) => Ok(text),
            Ok(Started::Source(source)) => {
                // The source outlives a request that comes too late: it may have spent a refresh token.
                let minting = async {
                    let minted = timeout_at(deadline, launch::token(&source, settings, None)).await;
                    Ok(Secret::from(minted.map_err(late)??.expose()))
                };
                let minted = match ending::keeping(source.clone(), signals, deadline, minting).await {
                    Ok(minted) => Ok(minted?),
                    Err(failures) => Err(failures),
                };
                let reading = source.clock_reading(Source::JwtMint);
                if minted.is_ok() && reading.at_least.is_some() {
                    meter.note(
                        Source::JwtMint,
                        host_of_token_url(settings).unwrap_or_else(|| host_of(url)),
                        Ok(reading),
                    );
                }
                minted
            }
            Err(failure) => Err(failure.into()),
        };
        Ok(match text {
            Ok(text) => {
                Place::ms_endpoint(url.as_str(), text, &self.tls, self.options).map_err(|error| error.to_string())
            }
            Err(failures) => Err(format!("no token to ask with: {}", why(&failures))),
        })
    }
}

/// The first reason of a failure.
fn why(failures: &Failures) -> &str {
    failures.0.first().map_or("", |failure| failure.causes.first().unwrap_or(&failure.what))
}

/// The API's URL with the path that an API answers to anybody: with a refusal, which no cache keeps.
fn api_url(upstream: &Url, profile: Option<&Profile>) -> Url {
    let mut url = upstream.clone();
    if let Some(probe) = profile.and_then(|profile| profile.probe.as_ref()) {
        let base = url.path().trim_end_matches('/').to_owned();
        let path = probe.path.split('?').next().unwrap_or_default();
        url.set_path(&format!("{base}{path}"));
    }
    url
}

/// The provider's millisecond endpoint, and the settings for a token to ask it with.
fn date_url(settings: &ClockSettings) -> Option<(&Settings, Url)> {
    let for_tokens = settings.for_tokens.as_ref()?;
    let path = for_tokens.profile.date_path?;
    let mut url = for_tokens.upstream.clone()?;
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    Some((for_tokens, url))
}

fn host_of_token_url(settings: &Settings) -> Option<String> {
    let url = Url::parse(settings.profile.token_url.as_deref()?).ok()?;
    Some(host_of(&url))
}

fn host_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn bad_place(place: &str, error: &PlaceError) -> Failure {
    let code = if place.starts_with("--") { exit::USAGE } else { exit::CONFIG };
    Failure::new(code, "there is no clock to ask").at(place).because(error)
}

fn nobody_to_ask() -> Failure {
    Failure::new(exit::CONFIG, "there is no clock to ask")
        .because("neither a region, nor a token URL, an upstream or an issuer is set")
        .hint("for Genesys Cloud set EVERGRANT_REGION, for any other API EVERGRANT_UPSTREAM")
        .hint("or name a server with --reference https://HOST or --ntp HOST")
}

/// A question that takes longer says nothing about a clock.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);
