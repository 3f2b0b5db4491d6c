//! From what somebody wrote to what can be used.
//!
//! Every setting is looked at before anything is done, and everything that is wrong is reported in one run. Three kinds
//! of findings exist: errors (a value that cannot be used), gaps (a setting that the command needs and nobody gave) and
//! warnings. `config check` shows gaps without failing: a settings file without its secrets is complete in its way.

mod access;
mod assertion;
pub(crate) mod client_secret;
mod clocks;
mod identity;
mod pace;
mod provider;
mod store;

use std::path::PathBuf;

use evergrant::grant::Grant;
use evergrant::tls::ClientIdentity;
use evergrant_core::pace::PaceRules;
use evergrant_core::profile::Profile;
use evergrant_core::time::Span;
use evergrant_gateway::Address;
use url::Url;

use super::catalog::Setting;
use super::layers::Layers;
use super::origin::{Found, Origin};
use super::values;
use crate::exit;
use crate::failure::{Failure, Failures};
pub(crate) use access::Access;
pub(crate) use clocks::ClockSettings;
pub(crate) use identity::{Client, Identity};
pub(crate) use store::StoreSettings;

/// Settings that can be used.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The provider with every URL that is known.
    pub(crate) profile: Profile,
    /// The API behind the gateway, if it is known.
    pub(crate) upstream: Option<Url>,
    /// Who asks for tokens.
    pub(crate) identity: Identity,
    /// Where tokens are kept.
    pub(crate) store: StoreSettings,
    /// Where connections may go and whom they trust.
    pub(crate) network: Network,
    /// How long things may take.
    pub(crate) timing: Timing,
    /// Where the gateway listens.
    pub(crate) listen: Listen,
    /// Who may call the gateway.
    pub(crate) access: Access,
    /// Does the gateway answer logins of its callers? If nobody says so, the provider decides.
    pub(crate) broker: Option<bool>,
    /// How the gateway shares out a rate limit.
    pub(crate) pace: PaceRules,
}

/// Where connections may go and whom they trust.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Additional root certificates.
    pub(crate) ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub(crate) identity: Option<ClientIdentity>,
    /// May `http://` leave this machine?
    pub(crate) allow_insecure_http: bool,
}

/// How long things may take, and how early they happen.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    /// The bound of one operation.
    pub(crate) timeout: Span,
    /// The bound of one token request.
    pub(crate) token_timeout: Span,
    /// How long the upstream may take to answer the gateway.
    pub(crate) upstream_timeout: Span,
    /// How early a token is refreshed, if it is not measured.
    pub(crate) slack: Option<Span>,
    /// How long a new token rests, if it is not learned.
    pub(crate) settle: Option<Span>,
    /// From which clock offset on a warning is due.
    pub(crate) skew_warn: Span,
    /// How many tokens may be requested in 10 minutes, if it is not derived.
    pub(crate) mint_budget: Option<u32>,
}

/// Where the gateway listens.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// The gateway.
    pub(crate) gateway: Vec<Address>,
    /// Its status pages.
    pub(crate) admin: Vec<Address>,
}

/// What was noticed while reading settings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Values that cannot be used.
    pub(crate) errors: Vec<Failure>,
    /// Settings that are needed and missing.
    pub(crate) gaps: Vec<Failure>,
    /// Things that work and are probably not meant.
    pub(crate) warnings: Vec<Failure>,
}

impl Findings {
    /// The value, or nothing and one error more.
    fn keep<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.errors.push(failure)).ok()
    }

    fn gap(&mut self, failure: Failure) {
        self.gaps.push(failure);
    }

    fn warn(&mut self, failure: Failure) {
        self.warnings.push(failure);
    }
}

impl Settings {
    /// Settings for a command that needs a token; warnings are printed.
    pub(crate) fn for_tokens(layers: &Layers) -> Result<Self, Failures> {
        let (settings, findings) = Self::resolve(layers);
        for warning in &findings.warnings {
            warning.print_warning();
        }
        let failures: Vec<Failure> = findings.errors.into_iter().chain(findings.gaps).collect();
        match settings {
            Some(settings) if failures.is_empty() => Ok(settings),
            _ => Err(Failures(failures)),
        }
    }

    /// What tells this credential apart from others of the same client: whom its assertions are about.
    pub(crate) fn label(&self) -> &str {
        match &self.identity {
            Identity::Client(client) => client.label.as_deref().unwrap_or_default(),
            Identity::ReadyToken(_) => "",
        }
    }

    /// Does a token request spend something that only its answer replaces?
    pub(crate) fn spends_refresh_tokens(&self) -> bool {
        matches!(&self.identity, Identity::Client(client) if client.credential.grant == Grant::RefreshToken)
    }

    /// Where tokens come from: the URL of the token endpoint, or of the issuer that names it.
    pub(crate) fn token_place(&self) -> &str {
        self.profile.token_url.as_deref().or(self.profile.issuer.as_deref()).unwrap_or_default()
    }

    /// The API, for commands that talk to it.
    pub(crate) fn upstream(&self) -> Result<&Url, Failure> {
        self.upstream.as_ref().ok_or_else(|| {
            Failure::new(exit::CONFIG, "there is no upstream")
                .because("nothing says which API the requests are for")
                .hint("set EVERGRANT_UPSTREAM or --upstream, or for Genesys Cloud EVERGRANT_REGION")
        })
    }

    /// The settings as far as they can be used, and what was noticed. No settings without an error or a gap.
    pub(crate) fn resolve(layers: &Layers) -> (Option<Self>, Findings) {
        let mut findings = Findings::default();
        let network = network(layers, &mut findings);
        let endpoint = provider::resolve(layers, network.allow_insecure_http, &mut findings);
        let store = store::resolve(layers, &network, &mut findings);
        let url = store.as_ref().map(|store| &store.url);
        let identity = identity::resolve(layers, url, &mut findings);
        let timing = timing(layers, &mut findings);
        let listen = listen(layers, &mut findings);
        let access = access::resolve(layers, listen.as_ref(), &mut findings);
        let broker = layers.plain(Setting::Broker).map(|found| values::on_or_off(Setting::Broker, &found));
        let broker = findings.keep(broker.transpose()).flatten();
        let pace = pace::resolve(layers, &mut findings);
        check_the_rest(layers, &mut findings);
        let settings = || {
            let (profile, upstream) = endpoint?;
            let (identity, store, timing, listen, access) = (identity?, store?, timing?, listen?, access?);
            let pace = pace?;
            Some(Self { profile, upstream, identity, store, network, timing, listen, access, broker, pace })
        };
        (settings(), findings)
    }
}

fn network(layers: &Layers, findings: &mut Findings) -> Network {
    let allow_insecure_http = switch(layers, Setting::AllowInsecureHttp, findings);
    let ca_file = layers.plain(Setting::CaFile).map(|found| PathBuf::from(found.value));
    let path = |key| layers.plain(key).map(|found| PathBuf::from(found.value));
    let identity = match (path(Setting::ClientCert), path(Setting::ClientKey)) {
        (Some(cert_file), Some(key_file)) => Some(ClientIdentity { cert_file, key_file }),
        (None, None) => None,
        (cert, _) => {
            let (there, missing) = match cert {
                Some(_) => (Setting::ClientCert, Setting::ClientKey),
                None => (Setting::ClientKey, Setting::ClientCert),
            };
            findings.errors.push(
                Failure::new(exit::CONFIG, format!("there is no {}", missing.spec().words()))
                    .at(layers.origin(there).unwrap_or(Origin::Default))
                    .because(format!("a {} is used together with one", there.spec().words()))
                    .hint(format!("set {} or {}", missing.spec().env(), missing.spec().flag())),
            );
            None
        }
    };
    Network { ca_file, identity, allow_insecure_http }
}

fn timing(layers: &Layers, findings: &mut Findings) -> Option<Timing> {
    let mut positive = |key, default| match layers.plain(key) {
        Some(found) => findings.keep(values::positive_duration(key, &found)),
        None => Some(default),
    };
    let timeout = positive(Setting::Timeout, Span::from_secs(30));
    let token_timeout = positive(Setting::TokenTimeout, Span::from_secs(10));
    let upstream_timeout = positive(Setting::UpstreamTimeout, Span::from_secs(300));
    let skew_warn = positive(Setting::SkewWarn, Span::from_secs(10));
    let slack = layers.plain(Setting::Slack).map(|found| values::any_duration(Setting::Slack, &found));
    let settle = layers.plain(Setting::Settle).map(|found| values::any_duration(Setting::Settle, &found));
    let budget = layers.plain(Setting::MintBudget).map(|found| values::mint_budget(Setting::MintBudget, &found));
    let slack = findings.keep(slack.transpose());
    let settle = findings.keep(settle.transpose());
    let mint_budget = findings.keep(budget.transpose());
    Some(Timing {
        timeout: timeout?,
        token_timeout: token_timeout?,
        upstream_timeout: upstream_timeout?,
        slack: slack?,
        settle: settle?,
        skew_warn: skew_warn?,
        mint_budget: mint_budget?,
    })
}

fn listen(layers: &Layers, findings: &mut Findings) -> Option<Listen> {
    let mut addresses = |key: Setting| {
        if let Some(found) = layers.sockets(key) {
            return Some(found.value.clone());
        }
        let default = || Found { value: key.spec().default.unwrap_or_default().to_owned(), origin: Origin::Default };
        let found = layers.plain(key).unwrap_or_else(default);
        findings.keep(values::listen_addresses(key, &found))
    };
    let (gateway, admin) = (addresses(Setting::Listen), addresses(Setting::AdminListen));
    Some(Listen { gateway: gateway?, admin: admin? })
}

/// Settings that other commands use: checked all the same, so that a slip does not wait for its day.
fn check_the_rest(layers: &Layers, findings: &mut Findings) {
    for (origin, meant) in layers.unknown_variables() {
        let warning = Failure::new(exit::CONFIG, "a variable that looks like a setting is none").at(origin);
        findings.warn(match meant {
            Some(name) => warning.hint(format!("did you mean {name}?")),
            None => warning.hint("`evergrant config check` lists the settings"),
        });
    }
}

fn switch(layers: &Layers, key: Setting, findings: &mut Findings) -> bool {
    let found = layers.plain(key).map(|found| values::switch(key, &found));
    findings.keep(found.transpose()).flatten().unwrap_or(false)
}

#[cfg(test)]
mod tests;
