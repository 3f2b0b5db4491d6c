//! Where tokens are kept: the store, its key, and how it is reached.
//!
//! These settings stand alone: `evergrant store` looks at a store without knowing whose tokens lie in it.

use std::path::Path;

use evergrant::core::time::Span;
use evergrant::store::{SealKey, Store, StoreOptions, StoreUrl};
use evergrant_core::Secret;

use super::{Findings, Network, network};
use crate::args::MoveArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch::store_failure;
use crate::settings::catalog::Setting;
use crate::settings::layers::{Layers, read_secret};
use crate::settings::origin::{Found, Origin};
use crate::settings::values;

/// Where tokens are kept.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// The store.
    pub(crate) url: StoreUrl,
    /// The key of a sealed one.
    key: Option<SealKey>,
    /// The passphrase that a file's key is made from.
    passphrase: Option<Secret>,
    /// Does the keyring keep the key?
    pub(crate) key_in_keyring: bool,
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

    /// The store that `store move` names, with the same settings but for a key of its own, if it has one.
    pub(crate) fn destination(layers: &Layers, args: &MoveArgs) -> Result<Self, Failures> {
        let of_flag = |value: String, flag: &str| Found { value, origin: Origin::Flag(flag.to_owned()) };
        let named = |file: &Path, flag| of_flag(file.to_string_lossy().into_owned(), flag);
        let store = match (&args.to, &args.to_file) {
            (Some(name), _) => Some(of_flag(name.clone(), DESTINATION)),
            (None, Some(file)) => {
                let found = read_secret(&named(file, "--to-file"))?;
                Some(Found { value: found.value.expose().to_owned(), origin: found.origin })
            }
            (None, None) => None,
        };
        let key = args.to_key_file.as_deref().map(|file| named(file, "--to-key-file"));
        let passphrase = args.to_passphrase_file.as_deref().map(|file| named(file, "--to-passphrase-file"));
        let place = args.to_key_in.clone().map(|place| of_flag(place, "--to-key-in"));
        let without: &[Setting] = if key.is_some() || passphrase.is_some() || place.is_some() { &KEYS } else { &[] };
        let flags = [
            ((Setting::Store, false), store),
            ((Setting::StoreKey, true), key),
            ((Setting::StorePassphrase, true), passphrase),
            ((Setting::StoreKeyIn, false), place),
        ];
        let flags = flags.into_iter().filter_map(|(key, found)| Some((key, found?)));
        Self::resolve(&layers.with(flags, without))
    }

    /// The store itself. Nothing is touched yet.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Store::open_with(&self.url, self.options()).map_err(|error| store_failure(&error))
    }

    /// What the store needs beside its name.
    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            key: self.key.clone(),
            passphrase: self.passphrase.clone(),
            key_in_keyring: self.key_in_keyring,
            lease_ttl: self.lease_ttl,
            ca_file: self.network.ca_file.clone(),
            allow_insecure: self.network.allow_insecure_http,
        }
    }
}

/// The store's settings, if they can be used.
pub(super) fn resolve(layers: &Layers, network: &Network, findings: &mut Findings) -> Option<StoreSettings> {
    let url = url(layers, network.allow_insecure_http, findings);
    let key = store_key(layers, findings);
    let passphrase = passphrase(layers, findings);
    let key_in_keyring = key_in_keyring(layers, findings);
    let given: Vec<String> =
        KEYS.iter().filter_map(|key| layers.origin(*key)).map(|origin| origin.to_string()).collect();
    if given.len() > 1 {
        findings.errors.push(
            Failure::new(exit::CONFIG, "there are several keys for the store")
                .at(given.join(", "))
                .because("a store is sealed with one key, be it given, made from a passphrase, or in the keyring")
                .hint("keep the one that sealed it, and unset the others"),
        );
    }
    let lease_ttl = lease_ttl(layers, findings);
    Some(StoreSettings { url: url?, key, passphrase, key_in_keyring, lease_ttl: lease_ttl?, network: network.clone() })
}

fn url(layers: &Layers, allow_insecure: bool, findings: &mut Findings) -> Option<StoreUrl> {
    let Some(found) = layers.plain(Setting::Store) else { return Some(StoreUrl::Memory) };
    let has_user = found.value.contains("://") && found.value.contains('@');
    if let Origin::Flag(flag) = &found.origin
        && has_user
    {
        let hint = match flag.as_str() {
            DESTINATION => "write it into a file that only you can read, and name that with --to-file",
            _ => "set EVERGRANT_STORE instead",
        };
        findings.errors.push(
            Failure::new(exit::USAGE, "the store URL holds a user name or password")
                .at(&found.origin)
                .because("every user of this machine can read the command lines of all programs")
                .hint(hint),
        );
        return None;
    }
    let store = findings.keep(StoreUrl::parse(&found.value).map_err(|error| {
        let hint = "write memory, file:PATH, file+plain:PATH, keyring, redis://HOST:PORT or rediss://HOST:PORT";
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

fn key_in_keyring(layers: &Layers, findings: &mut Findings) -> bool {
    let Some(found) = layers.plain(Setting::StoreKeyIn) else { return false };
    if found.value.trim() == "keyring" {
        return true;
    }
    let cause = format!("`{}` is no place for a key", found.value);
    findings.errors.push(values::bad_value(Setting::StoreKeyIn, &found.origin, cause).hint("write keyring"));
    false
}

fn passphrase(layers: &Layers, findings: &mut Findings) -> Option<Secret> {
    let found = findings.keep(layers.secret(Setting::StorePassphrase)).flatten()?;
    if found.value.expose().chars().count() >= SHORTEST_PASSPHRASE {
        return Some(found.value);
    }
    findings.errors.push(
        Failure::new(exit::CONFIG, "cannot use the store passphrase")
            .at(&found.origin)
            .because(format!("it has fewer than {SHORTEST_PASSPHRASE} characters, which is soon guessed"))
            .hint("take four words or more, or a key: `head -c 32 /dev/urandom | base64`"),
    );
    None
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

/// The flag that names the store of a move's destination.
const DESTINATION: &str = "--to";

/// Where a store's key may come from: from one of these.
const KEYS: [Setting; 3] = [Setting::StoreKey, Setting::StorePassphrase, Setting::StoreKeyIn];

const SHORTEST_PASSPHRASE: usize = 8;

/// Below, a heartbeat every third of it does not fit over a network; above, no provider's grace is that long.
const SHORTEST_LEASE: Span = Span::from_millis(600);
const LONGEST_LEASE: Span = Span::from_secs(300);
