//! Where tokens are kept: the store, its key, and how it is reached.
//!
//! These settings stand alone: `evergrant store` looks at a store without knowing whose tokens lie in it.

use evergrant::core::time::Span;
use evergrant::store::{SealKey, Store, StoreOptions, StoreUrl};

use super::{Findings, Network, network};
use crate::args::MoveArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch::store_failure;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::Origin;
use crate::settings::values;

/// Where tokens are kept.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// The store.
    pub(crate) url: StoreUrl,
    /// The key of a sealed one.
    pub(crate) key: Option<SealKey>,
    /// How long a lease on a shared store outlives its holder.
    lease_ttl: Span,
    /// Whom a server's certificate is checked against, and whether it may be reached without.
    network: Network,
}

impl StoreSettings {
    /// These settings alone.
    pub(crate) fn resolve(layers: &Layers) -> Result<Self, Failures> {
        let mut findings = Findings::default();
        let network = network(layers, &mut findings);
        let settings = resolve(layers, &network, &mut findings);
        match settings {
            Some(settings) if findings.errors.is_empty() => Ok(settings),
            _ => Err(Failures(findings.errors)),
        }
    }

    /// The store that `store move` names, which has the same settings otherwise.
    pub(crate) fn destination(layers: &Layers, args: &MoveArgs) -> Result<Self, Failures> {
        Self::resolve(&layers.with_store(args.to.as_deref(), args.to_file.as_deref(), args.to_key_file.as_deref())?)
    }

    /// The store itself. Nothing is touched yet.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        let options = StoreOptions {
            key: self.key.clone(),
            lease_ttl: self.lease_ttl,
            ca_file: self.network.ca_file.clone(),
            allow_insecure: self.network.allow_insecure_http,
        };
        Store::open_with(&self.url, options).map_err(|error| store_failure(&error))
    }
}

/// The store's settings, if they can be used.
pub(super) fn resolve(layers: &Layers, network: &Network, findings: &mut Findings) -> Option<StoreSettings> {
    let url = url(layers, network.allow_insecure_http, findings);
    let key = store_key(layers, findings);
    let lease_ttl = lease_ttl(layers, findings);
    Some(StoreSettings { url: url?, key, lease_ttl: lease_ttl?, network: network.clone() })
}

fn url(layers: &Layers, allow_insecure: bool, findings: &mut Findings) -> Option<StoreUrl> {
    let Some(found) = layers.plain(Setting::Store) else { return Some(StoreUrl::Memory) };
    let has_user = found.value.contains("://") && found.value.contains('@');
    if has_user && matches!(found.origin, Origin::Flag(_)) {
        findings.errors.push(
            Failure::new(exit::USAGE, "the store URL holds a user name or password")
                .at(&found.origin)
                .because("every user of this machine can read the command lines of all programs")
                .hint("set EVERGRANT_STORE instead"),
        );
        return None;
    }
    let store = findings.keep(StoreUrl::parse(&found.value).map_err(|error| {
        let hint = "write memory, file:PATH, file+plain:PATH, redis://HOST:PORT or rediss://HOST:PORT";
        values::bad_value(Setting::Store, &found.origin, error).hint(hint)
    }))?;
    if let StoreUrl::Redis(url) = &store
        && !(url.is_tls() || url.is_loopback() || allow_insecure)
    {
        findings.errors.push(
            Failure::new(exit::CONFIG, "the store URL is not safe to use")
                .at(&found.origin)
                .because(format!("redis://{} would send the password unprotected", url.place()))
                .hint("use rediss://, or allow this with --allow-insecure-http"),
        );
        return None;
    }
    Some(store)
}

fn store_key(layers: &Layers, findings: &mut Findings) -> Option<SealKey> {
    let found = findings.keep(layers.secret(Setting::StoreKey)).flatten()?;
    let key = SealKey::from_base64(&found.value).map_err(|error| {
        Failure::new(exit::CONFIG, "cannot use the store key")
            .at(&found.origin)
            .because(error)
            .hint("make one with `head -c 32 /dev/urandom | base64`")
    });
    findings.keep(key)
}

fn lease_ttl(layers: &Layers, findings: &mut Findings) -> Option<Span> {
    let Some(found) = layers.plain(Setting::LeaseTtl) else { return Some(StoreOptions::default().lease_ttl) };
    let ttl = findings.keep(values::positive_duration(Setting::LeaseTtl, &found))?;
    if !(SHORTEST_LEASE..=LONGEST_LEASE).contains(&ttl) {
        let why = format!("a lease of {ttl} cannot be kept or outlives every grace");
        let failure = values::bad_value(Setting::LeaseTtl, &found.origin, why);
        findings.errors.push(failure.hint(format!("choose between {SHORTEST_LEASE} and {LONGEST_LEASE}")));
        return None;
    }
    Some(ttl)
}

/// Below, a heartbeat every third of it does not fit over a network; above, no provider's grace is that long.
const SHORTEST_LEASE: Span = Span::from_millis(600);
const LONGEST_LEASE: Span = Span::from_secs(300);
