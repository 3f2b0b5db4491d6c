//! From settings to a running source of tokens, and from its failures to words.
//!
//! A command waits for its first token here. The wait is bounded by the timeout setting; on a terminal a spinner says
//! what is being waited for. The store is looked at before anything is sent: a store that cannot be used is found out
//! when nothing has been spent yet.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evergrant::core::keeper::{AcquireError, AcquireErrorKind};
use evergrant::core::policy::Policy;
use evergrant::core::time::Span;
use evergrant::core::wire::{TokenFailure, TokenFailureKind};
use evergrant::store::{CredentialKey, KeyringFault, KeyringSecret, RedisFault, Store, StoreError, StoreUrl};
use evergrant::{BuildError, Credential, HttpOptions, SecretPlace, SecretPlaces, TokenGuard, TokenSource};
use evergrant_core::Secret;
use evergrant_gateway::BrokerConfig;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use url::Url;

use crate::exit;
use crate::failure::Failure;
use crate::settings::catalog::Setting;
use crate::settings::resolve::client_secret::check_white_space;
use crate::settings::resolve::{Client, Findings, Identity, Settings};
use crate::settings::values;

/// A wait shorter than this shows no spinner, and no word about it.
pub(crate) const SPINNER_AFTER: Duration = Duration::from_millis(400);
/// After a signal something may wait in a system call that cannot be called off, such as the look-up of a name. A second
/// is what open requests get as well.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(1);

/// The runtime for a command that does one thing.
pub(crate) fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    runtime(&mut tokio::runtime::Builder::new_current_thread())
}

/// Finishes a runtime's description.
pub(crate) fn runtime(builder: &mut tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Failure> {
    builder.enable_all().build().map_err(|error| {
        Failure::new(exit::INTERNAL, "cannot start the asynchronous runtime")
            .because(error)
            .hint("check the limits on threads and open files")
    })
}

/// What a command has to work with.
pub(crate) enum Started {
    /// A source that keeps a token.
    Source(TokenSource),
    /// A token that somebody else keeps.
    ReadyToken(Secret),
}

/// Starts what the settings describe.
pub(crate) async fn start(settings: &Settings) -> Result<Started, Failure> {
    let client = match &settings.identity {
        Identity::ReadyToken(token) => return Ok(Started::ReadyToken(token.clone())),
        Identity::Client(client) => client,
    };
    let credential = credential(client, settings).await?;
    let seed = client.seed.clone();
    let profile = settings.profile.clone();
    let store = open_store(settings).await?;
    let place = settings.token_place();
    // Read once to find out whether it can be; the source reads it again under its lease. A server may be down for a
    // while: what that means depends on the grant, and the source sees to it.
    let label = settings.label();
    match store.load(&CredentialKey::new(place, &credential, label)).await {
        Err(StoreError::Redis { fault: RedisFault::Unreachable(_) | RedisFault::TimedOut, .. }) | Ok(_) => {}
        Err(error) => return Err(store_failure(&error)),
    }
    let mut builder = TokenSource::builder(profile, credential)
        .label(label)
        .store(store)
        .policy(policy(settings))
        .http(http(settings));
    if let Some(seed) = seed {
        builder = builder.refresh_token(seed);
    }
    builder.build().map(Started::Source).map_err(|error| build_failure(&error))
}

/// The client of these settings, with the secrets that the keyring holds of it.
pub(crate) async fn credential(client: &Client, settings: &Settings) -> Result<Credential, Failure> {
    let mut credential = client.credential.clone();
    let SecretPlaces { current, next } = credential.secret_places.clone();
    if let Some(item) = current.as_ref().and_then(SecretPlace::keyring) {
        credential.client_secret = Some(keyring_secret(item, Setting::ClientSecret, settings).await?);
    }
    if let Some(item) = next.as_ref().and_then(SecretPlace::keyring) {
        credential.next_client_secret = Some(keyring_secret(item, Setting::ClientSecretNext, settings).await?);
    }
    Ok(credential)
}

async fn keyring_secret(item: &KeyringSecret, key: Setting, settings: &Settings) -> Result<Secret, Failure> {
    let wanted = item.clone();
    let fetched = with_keyring(settings, move || wanted.fetch()).await.flatten();
    let secret = fetched.map_err(|fault| keyring_secret_failure(item, &fault))?;
    let words = key.spec().words();
    let secret = secret.ok_or_else(|| {
        let next = if key == Setting::ClientSecretNext { " --next" } else { "" };
        Failure::new(exit::CONFIG, format!("there is no {words} in the keyring"))
            .at(item.name())
            .because(format!("it holds none of client {}", item.client_id()))
            .hint(format!("`evergrant secret set{next} --client-id {}` puts it there", item.client_id()))
    })?;
    let mut findings = Findings::default();
    check_white_space(key, &secret, item.name(), &mut findings);
    for warning in findings.warnings {
        warning.print_warning();
    }
    findings.errors.pop().map_or(Ok(secret), Err)
}

/// Why the secret of a client cannot be taken from the keyring, for a person.
pub(crate) fn keyring_secret_failure(item: &KeyringSecret, fault: &KeyringFault) -> Failure {
    Failure::new(exit::CONFIG, format!("the secret of client {} cannot be had from the keyring", item.client_id()))
        .at(item.name())
        .because(fault)
        .hint(fault.secret_hint())
}

/// Opens the store.
async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let store = settings.store.clone();
    if !store.key_in_keyring {
        return store.open();
    }
    let opened = with_keyring(settings, move || store.open()).await;
    opened.unwrap_or_else(|fault| Err(store_failure(&StoreError::Keyring { fault })))
}

/// Does what needs the keyring: a person may have to be waited for, and a gateway serves meanwhile.
async fn with_keyring<T: Send + 'static>(
    settings: &Settings,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, KeyringFault> {
    let (tell, told) = oneshot::channel();
    // No thread of the runtime: one that ends would wait for it.
    let work = move || {
        // Whoever asked may have stopped waiting.
        let _ = tell.send(work());
    };
    let started = std::thread::Builder::new().name("keyring".to_owned()).spawn(work);
    started.map_err(|error| KeyringFault::Said(error.to_string()))?;
    match tokio::time::timeout(settings.timing.timeout.to_duration(), told).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(KeyringFault::TimedOut),
    }
}

/// A source, for commands that cannot do with a token that somebody else keeps.
pub(crate) async fn start_source(settings: &Settings, command: &str) -> Result<TokenSource, Failure> {
    match start(settings).await? {
        Started::Source(source) => Ok(source),
        Started::ReadyToken(_) => Err(needs_client(command)),
    }
}

/// Why a command cannot do with a token that somebody else keeps.
pub(crate) fn needs_client(command: &str) -> Failure {
    Failure::new(exit::CONFIG, format!("`{command}` needs a client id"))
        .at("GENESYSCLOUD_ACCESS_TOKEN")
        .because("a ready access token cannot be renewed when it ends")
        .hint("set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET")
}

/// Waits for a token, with a spinner if it takes long and somebody is looking.
pub(crate) async fn token(
    source: &TokenSource,
    settings: &Settings,
    min_remaining: Option<Span>,
) -> Result<TokenGuard, Failure> {
    let least = min_remaining.unwrap_or(Span::ZERO);
    let acquire = async {
        match min_remaining {
            Some(least) => source.token_lasting(least, None).await,
            None => source.token().await,
        }
    };
    let guard = with_spinner("waiting for the token endpoint", acquire).await;
    let guard = guard.map_err(|error| acquire_failure(&error, settings))?;
    match guard.remaining() {
        Some(left) if left < least => Err(Failure::new(exit::BAD_ANSWER, "no token lasts as long as asked for")
            .at("--min-remaining")
            .because(format!("the newest token has {left} left, less than {least}"))
            .hint("ask for less, or have the provider issue longer tokens")),
        _ => Ok(guard),
    }
}

/// Shows a spinner with this message while something takes long and somebody is looking.
pub(crate) async fn with_spinner<T>(message: &'static str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    if let Ok(done) = tokio::time::timeout(SPINNER_AFTER, &mut work).await {
        return done;
    }
    let spinner = ProgressBar::new_spinner().with_message(message);
    // A template without placeholders for numbers cannot be wrong; the default would do as well.
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(120));
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// Ends at the first SIGINT or SIGTERM, and says which it was.
pub(crate) fn interrupted() -> Result<impl Future<Output = Signal>, Failure> {
    let catch =
        |kind| signal(kind).map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error));
    let (mut int, mut term) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = int.recv() => Signal::INT,
            _ = term.recv() => Signal::TERM,
        }
    })
}

fn policy(settings: &Settings) -> Policy {
    let timing = &settings.timing;
    let default = Policy::default();
    Policy {
        slack: timing.slack,
        settle: timing.settle,
        skew_warn: timing.skew_warn,
        mint_budget: timing.mint_budget,
        patience: timing.timeout,
        cold_patience: default.cold_patience.min(timing.timeout),
        ..default
    }
}

/// How the settings say that the network is reached.
pub(crate) fn http(settings: &Settings) -> HttpOptions {
    HttpOptions {
        ca_file: settings.network.ca_file.clone(),
        identity: settings.network.identity.clone(),
        allow_insecure_http: settings.network.allow_insecure_http,
        token_timeout: settings.timing.token_timeout.to_duration(),
    }
}

/// How a gateway with these settings handles logins of its callers.
pub(crate) fn broker(settings: &Settings) -> Option<BrokerConfig> {
    let by_default = settings.profile.sdk.is_some();
    let handles_file = match &settings.store.url {
        // A handle is known to the gateway that gave it out, and so far to none of its replicas.
        StoreUrl::Memory | StoreUrl::Redis(_) => None,
        StoreUrl::File(path) | StoreUrl::PlainFile(path) => Some(handles_beside(path)),
        StoreUrl::Keyring(name) => name.place().as_deref().map(handles_beside),
    };
    settings.broker.unwrap_or(by_default).then_some(BrokerConfig { handles_file, ..BrokerConfig::default() })
}

fn handles_beside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".handles");
    path.into()
}

/// Why the store cannot be used, for a person.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    Failure::new(exit::STORE, "cannot use the token store").because(error).hint(error.hint())
}

fn build_failure(error: &BuildError) -> Failure {
    let failure = Failure::new(exit::CONFIG, "the settings do not make a working client").because(error);
    failure.hint("`evergrant config check` shows where each setting comes from")
}

/// Why there is no token, for a person.
pub(crate) fn acquire_failure(error: &AcquireError, settings: &Settings) -> Failure {
    let (code, what) = match error.kind {
        AcquireErrorKind::Rejected if is_grant_over(error) => (exit::LOGIN_REQUIRED, "the grant cannot be renewed"),
        AcquireErrorKind::Rejected => (exit::REJECTED, "the token endpoint refuses the credentials"),
        AcquireErrorKind::Unreachable => (exit::UNREACHABLE, "the token endpoint cannot be reached"),
        AcquireErrorKind::TimedOut => (exit::UNREACHABLE, "no token arrived in time"),
        AcquireErrorKind::Unavailable => (exit::BAD_ANSWER, "the token endpoint gives no token"),
        AcquireErrorKind::BudgetExhausted => (exit::FAILED, "the mint budget is used up"),
        AcquireErrorKind::LoginRequired => (exit::LOGIN_REQUIRED, "the grant cannot be renewed"),
    };
    let mut failure = Failure::new(code, what);
    let place = settings.profile.token_url.as_deref().or(settings.profile.issuer.as_deref());
    failure.place = place.and_then(|text| Url::parse(text).ok()).map(|url| values::shown(&url));
    failure = failure.because(acquire_cause(error, settings));
    if let Some(wait) =
        error.retry_after.filter(|_| error.failure.as_ref().is_some_and(|said| said.retry_after.is_some()))
    {
        failure = failure.because(format!("it asks to wait {wait}"));
    }
    failure.hint(acquire_hint(error))
}

/// What was said or happened, in one line that names the RFC 6749 code or the connection's fate.
fn acquire_cause(error: &AcquireError, settings: &Settings) -> String {
    let verdict = match error.kind {
        // The failure names itself.
        AcquireErrorKind::Rejected if is_rotation_lost(error) => "",
        AcquireErrorKind::Rejected if is_grant_over(error) => "login_required: ",
        AcquireErrorKind::Rejected => "client_rejected: ",
        AcquireErrorKind::LoginRequired => "login_required: ",
        AcquireErrorKind::Unreachable
        | AcquireErrorKind::TimedOut
        | AcquireErrorKind::Unavailable
        | AcquireErrorKind::BudgetExhausted => "",
    };
    match (&error.failure, error.kind) {
        (Some(TokenFailure { status: None, description: Some(text), .. }), _) => text.clone(),
        (Some(failure), _) => format!("{verdict}{failure}"),
        (None, AcquireErrorKind::LoginRequired) => format!("{verdict}there is no refresh token"),
        (None, _) => format!("nothing came within {}", settings.timing.timeout),
    }
}

/// Was the grant refused, and not the client?
fn is_grant_over(error: &AcquireError) -> bool {
    error
        .failure
        .as_ref()
        .is_some_and(|failure| matches!(failure.kind, TokenFailureKind::InvalidGrant | TokenFailureKind::RotationLost))
}

fn is_rotation_lost(error: &AcquireError) -> bool {
    error.failure.as_ref().is_some_and(|failure| failure.kind == TokenFailureKind::RotationLost)
}

fn acquire_hint(error: &AcquireError) -> &'static str {
    let said = error.failure.as_ref().map(|failure| failure.kind);
    match (error.kind, said) {
        (AcquireErrorKind::LoginRequired, _)
        | (_, Some(TokenFailureKind::InvalidGrant | TokenFailureKind::RotationLost)) => {
            "log in again: `evergrant login`, or set EVERGRANT_REFRESH_TOKEN to a new refresh token"
        }
        (_, Some(TokenFailureKind::UnauthorizedClient | TokenFailureKind::UnsupportedGrantType)) => {
            "allow this grant for the client in the provider's settings, or choose another with --grant"
        }
        (_, Some(TokenFailureKind::InvalidScope)) => "ask for scopes that the client may have with --scope",
        (AcquireErrorKind::Rejected, _) => {
            "check the client id and secret, and --client-auth; `evergrant config check` shows where they come from"
        }
        (AcquireErrorKind::Unreachable, _) => "check the token URL or region, the network, and HTTPS_PROXY",
        (AcquireErrorKind::TimedOut, _) => "try again, or wait longer with --timeout and --token-timeout",
        (AcquireErrorKind::Unavailable, Some(TokenFailureKind::Redirected)) => "set the token URL that it redirects to",
        (AcquireErrorKind::Unavailable, Some(TokenFailureKind::RateLimited)) => {
            "wait, and share one token: --store file:PATH, or one gateway for all callers"
        }
        (AcquireErrorKind::Unavailable, Some(TokenFailureKind::ServerError)) => {
            "try again later; if it stays like this, check the provider's status page"
        }
        (AcquireErrorKind::Unavailable, _) => "check the token URL: it must be the token endpoint of the provider",
        (AcquireErrorKind::BudgetExhausted, _) => {
            "something asks for tokens in a loop; find it, or allow more with --mint-budget"
        }
    }
}
