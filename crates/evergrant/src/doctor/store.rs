//! The token store: who can read it, who holds it, and what lies in it.
//!
//! It is only read. What would be moved aside by a program that uses the store, a damaged file, is left where it is.

use evergrant_core::Secret;
use evergrant_core::time::Span;

use super::report::{Check, Name};
use super::setup::Identity;
use super::visit::Visit;
use super::words::counted;
use crate::grant::Grant;
use crate::store::{CredentialKey, Inspection, RedisSafety, Store, StoreError, StoreUrl};

/// Looks at the store; also gives the access token that it holds for this credential.
pub(super) async fn check(visit: &Visit<'_>) -> (Check, Option<Secret>) {
    let setup = visit.setup;
    let check = Check::ok(Name::Store);
    let Identity::Client(credential) = &setup.identity else {
        return (Check::skipped(Name::Store, "a ready access token is kept by somebody else"), None);
    };
    if setup.store == StoreUrl::Memory {
        let check = check.saw("memory: every program and every run asks for a token of its own");
        return (match credential.grant {
            Grant::RefreshToken => check.warning(
                "a refresh token that rotates is lost when the program ends: use --store file:PATH with EVERGRANT_STORE_KEY",
            ),
            Grant::ClientCredentials | Grant::JwtBearer | Grant::Saml2Bearer => check,
        }, None);
    }
    let store = match Store::open_with(&setup.store, setup.store_options.clone()) {
        Ok(store) => store,
        Err(error) => return (failed(check, &error), None),
    };
    let place = setup.profile.token_url.as_deref().or(setup.profile.issuer.as_deref()).unwrap_or_default();
    match store.inspect(&CredentialKey::new(place, credential, &setup.label), HELD_TOO_LONG).await {
        Ok(found) => {
            let token = found.record.as_ref().and_then(|record| record.access_token.clone());
            let rotates = credential.grant == Grant::RefreshToken;
            (judge(check, &setup.store, &found, rotates), token)
        }
        Err(error) => (failed(check, &error), None),
    }
}

fn failed(check: Check, error: &StoreError) -> Check {
    check.saw(error.to_string()).fault(error.hint())
}

fn judge(check: Check, url: &StoreUrl, found: &Inspection, rotates: bool) -> Check {
    let check = if matches!(url, StoreUrl::Redis(_) | StoreUrl::Keyring(_)) {
        check.saw(format!("{url} can be reached and read"))
    } else if found.exists {
        check.saw(format!("{url}: {}, readable by its owner only", counted(found.credentials, "credential")))
    } else {
        check.saw(format!("{url} does not exist yet; its folder can be written to"))
    };
    let check = match (&found.record, found.exists) {
        (Some(record), _) => check.saw(format!("it holds generation {} of this credential", record.generation)),
        (None, true) => check.saw("it holds nothing of this credential yet"),
        (None, false) => check,
    };
    let check = match url {
        StoreUrl::PlainFile(_) => {
            check.saw("in plain text: protected from other users, not from backups or a stolen disk")
        }
        StoreUrl::Keyring(_) => check.saw("sealed by the keyring, and open while its user is logged in"),
        StoreUrl::Memory | StoreUrl::File(_) | StoreUrl::Redis(_) => check.saw("sealed: worthless without its key"),
    };
    let check = match &found.redis {
        Some(Ok(safety)) => judge_redis(check, safety, rotates),
        Some(Err(why)) => check.saw(format!("what it keeps on disk cannot be read: {why}")),
        None => check,
    };
    match &found.busy {
        Some(busy) => check.saw(busy.to_string()).warning(busy.hint()),
        None => check,
    }
}

/// A server that forgets costs a token request, or a rotating grant.
fn judge_redis(check: Check, safety: &RedisSafety, rotates: bool) -> Check {
    let log = if safety.keeps_log { "logs every write" } else { "logs no writes" };
    let snapshots = match safety.keeps_snapshots {
        Some(true) => "writes snapshots",
        Some(false) => "writes no snapshots",
        None => "does not tell whether it writes snapshots",
    };
    let replicas = counted(usize::try_from(safety.replicas).unwrap_or(usize::MAX), "replica");
    let mut check = check.saw(format!("version {}, {log}, {snapshots}, {replicas}", safety.version));
    if safety.forgets() {
        check = check.saw("it keeps nothing on disk: a restart forgets every record");
        let remedy = "switch persistence on: `appendonly yes` in redis.conf, or `redis-cli CONFIG SET appendonly yes`";
        check = if rotates { check.fault(remedy) } else { check.warning(remedy) };
    }
    if let Some(policy) = &safety.evicts {
        check = check
            .saw(format!("when its memory is full it throws keys away ({policy})"))
            .warning("set maxmemory-policy to noeviction, or give Evergrant a server of its own");
    }
    check
}

/// A refresh takes milliseconds to seconds; who holds the store longer may hang.
const HELD_TOO_LONG: Span = Span::from_secs(1);
