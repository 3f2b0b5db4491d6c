//! What `clock` can ask: whatever is there. It needs no credentials and is content with a single URL.

use evergrant_core::profile::Profile;
use url::Url;

use super::{Findings, Network, Settings, Timing, network, provider, timing};
use crate::failure::{Failure, Failures};
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::values;

/// Settings for a command that asks servers for their clocks.
#[derive(Debug)]
pub(crate) struct ClockSettings {
    /// The provider, if anything names one.
    pub(crate) profile: Option<Profile>,
    /// The API, if it is known.
    pub(crate) upstream: Option<Url>,
    /// Where connections may go and whom they trust.
    pub(crate) network: Network,
    /// How long things may take.
    pub(crate) timing: Timing,
    /// Everything that it takes to get a token, if that is there.
    pub(crate) for_tokens: Option<Settings>,
}

impl ClockSettings {
    /// Reads what is there; only a value that cannot be used is a failure.
    pub(crate) fn read(layers: &Layers) -> Result<Self, Failures> {
        let (for_tokens, findings) = Settings::resolve(layers);
        for warning in &findings.warnings {
            warning.print_warning();
        }
        if !findings.errors.is_empty() {
            return Err(Failures(findings.errors));
        }
        let for_tokens = for_tokens.filter(|_| findings.gaps.is_empty());
        // The same values once more, without what only a token needs.
        let mut findings = Findings::default();
        let network = network(layers, &mut findings);
        let endpoint = provider::resolve(layers, network.allow_insecure_http, &mut findings);
        let (profile, known) = endpoint.map_or((None, None), |(profile, upstream)| (Some(profile), upstream));
        let given = || Self::upstream_alone(layers, &network);
        let upstream = match known {
            Some(url) => Some(url),
            None => given()?,
        };
        match timing(layers, &mut findings) {
            Some(timing) => Ok(Self { profile, upstream, network, timing, for_tokens }),
            None => Err(Failures(findings.errors)),
        }
    }

    /// An upstream from which no provider follows.
    fn upstream_alone(layers: &Layers, network: &Network) -> Result<Option<Url>, Failure> {
        let found = layers.plain(Setting::Upstream);
        found.map(|found| values::url(Setting::Upstream, &found, network.allow_insecure_http)).transpose()
    }
}
