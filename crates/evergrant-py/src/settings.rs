//! From keyword arguments and variables to what a source is made of.
//!
//! The names are those of the program's settings: `token_url` here is `--token-url` there, and `EVERGRANT_TOKEN_URL` in
//! the environment of both. Python gives numbers where the program reads text: a duration may be seconds. What follows
//! from the values, such as the provider that is meant, stands in [`evergrant::settings`].
//!
//! A value of a wrong type is a `TypeError`, a name that does not exist too; a value that cannot be used is a
//! `ConfigError`. Both name the argument.
//!
//! Limits: no settings file, no secret in the keyring, no further fields, no signed assertions, no client certificate, no
//! login; the program has those. A variable that asks for one of them is a `ConfigError` too, unless an argument makes up
//! for it.

use std::path::PathBuf;
use std::time::Duration;

use evergrant::grant::{ClientAuth, Credential, Grant};
use evergrant::settings::{self, Given, duration};
use evergrant::store::{SealKey, Store, StoreOptions, StoreUrl};
use evergrant::{BuildError, HttpOptions, Origins, SecretPlace, SecretPlaces, TokenSource};
use evergrant_core::Secret;
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Probe, ProbeMethod, Profile, ProfileKind, Region};
use evergrant_core::time::Span;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use url::Url;

use crate::errors::config;
use crate::live::StartError;

/// Every setting, and the variables of other tools that hold it too. A name with `_file` at its end is a file that holds
/// the secret before it.
const NAMES: [(&str, &[&str]); 33] = [
    ("provider", &[]),
    ("region", settings::REGION_ELSEWHERE),
    ("issuer", &[]),
    ("token_url", &[]),
    ("upstream", &[]),
    ("client_id", settings::CLIENT_ID_ELSEWHERE),
    ("client_secret", settings::CLIENT_SECRET_ELSEWHERE),
    ("client_secret_file", &[]),
    ("client_secret_next", &[]),
    ("client_secret_next_file", &[]),
    ("refresh_token", &[]),
    ("refresh_token_file", &[]),
    ("grant", &[]),
    ("client_auth", &[]),
    ("scope", &[]),
    ("audience", &[]),
    ("resource", &[]),
    ("store", &[]),
    ("store_key", &[]),
    ("store_key_file", &[]),
    ("store_passphrase", &[]),
    ("store_passphrase_file", &[]),
    ("lease_ttl", &[]),
    ("allow_volatile", &[]),
    ("slack", &[]),
    ("settle", &[]),
    ("skew_warn", &[]),
    ("probe_path", &[]),
    ("timeout", &[]),
    ("token_timeout", &[]),
    ("mint_budget", &[]),
    ("ca_file", &[]),
    ("allow_insecure_http", &[]),
];

/// Variables that change what tokens the program gets, and that only the program honours: why, and the arguments that
/// make up for each.
const PROGRAMS: [(&str, &str, &[&str]); 8] = [
    ("EVERGRANT_CONFIG", NO_FILE, &[]),
    ("EVERGRANT_PROFILE", NO_FILE, &[]),
    ("EVERGRANT_CLIENT_SECRET_IN", NO_KEYRING, &["client_secret", "client_secret_file"]),
    ("EVERGRANT_CLIENT_SECRET_NEXT_IN", NO_KEYRING, &["client_secret_next", "client_secret_next_file"]),
    (
        "EVERGRANT_STORE_KEY_IN",
        NO_KEYRING,
        &["store_key", "store_key_file", "store_passphrase", "store_passphrase_file"],
    ),
    ("EVERGRANT_TOKEN_FIELD", "further fields of a token request are", &[]),
    ("EVERGRANT_CLIENT_CERT", NO_CERTIFICATE, &[]),
    ("EVERGRANT_CLIENT_KEY", NO_CERTIFICATE, &[]),
];

/// The names of all settings.
#[pyfunction]
pub(crate) fn setting_names() -> Vec<&'static str> {
    NAMES.iter().map(|(name, _)| *name).collect()
}

/// What a source is made of; it can be started again after a fork.
pub(crate) struct Settings {
    profile: Profile,
    /// The API with its path, without a slash at its end.
    upstream: Option<String>,
    credential: Credential,
    seed: Option<Secret>,
    policy: Policy,
    store: StoreUrl,
    store_options: StoreOptions,
    http: HttpOptions,
}

impl Settings {
    /// Reads keyword arguments.
    pub(crate) fn read(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let values = Values(given);
        values.check_names()?;
        let http = http(&values)?;
        let (profile, upstream) = profile(&values, http.allow_insecure_http)?;
        let (credential, seed) = credential(&values)?;
        let (store, store_options) = store(&values, &http)?;
        let is_volatile = credential.grant == Grant::RefreshToken && store == StoreUrl::Memory;
        if is_volatile && !values.switch("allow_volatile")? {
            return Err(config(given.py(), "store", VOLATILE));
        }
        let policy = policy(&values)?;
        Ok(Self { profile, upstream, credential, seed, policy, store, store_options, http })
    }

    /// The arguments, completed by variables of an environment.
    pub(crate) fn with_environment<'py>(
        given: &Bound<'py, PyDict>,
        environment: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        refuse_what_is_the_programs(given, environment)?;
        let all = given.copy()?;
        let text = |variable: &str| environment.call_method1("get", (variable,)).ok()?.extract::<String>().ok();
        let is_under_a_gateway = settings::is_under_a_gateway(text);
        for (name, elsewhere) in NAMES {
            let is_ours = is_under_a_gateway && matches!(name, "client_id" | "client_secret");
            let elsewhere = if is_ours { &[] } else { elsewhere };
            let own = format!("EVERGRANT_{}", name.to_uppercase());
            for variable in std::iter::once(own.as_str()).chain(elsewhere.iter().copied()) {
                let value = environment.call_method1("get", (variable, ""))?;
                // A secret and the file that holds it are one setting: whoever gives one means it.
                let (secret, file) = (name.trim_end_matches("_file"), format!("{name}_file"));
                let is_given = all.contains(name)? || all.contains(secret)? || all.contains(file)?;
                if !value.is_empty()? && !is_given {
                    all.set_item(name, value)?;
                }
            }
        }
        let mut is_credential_given = false;
        for name in ["client_secret", "client_secret_file", "refresh_token", "refresh_token_file", "client_auth"] {
            is_credential_given |= all.contains(name)?;
        }
        if is_under_a_gateway && !is_credential_given {
            return Err(config(given.py(), "the environment", UNDER_A_GATEWAY));
        }
        Ok(all)
    }

    /// Builds the source. Inside a runtime; runs no Python.
    pub(crate) fn build(&self) -> Result<TokenSource, StartError> {
        let store = Store::open_with(&self.store, self.store_options.clone()).map_err(BuildError::Store)?;
        let mut builder = TokenSource::builder(self.profile.clone(), self.credential.clone())
            .policy(self.policy.clone())
            .store(store)
            .http(self.http.clone());
        if let Some(seed) = &self.seed {
            builder = builder.refresh_token(seed.clone());
        }
        Ok(builder.build()?)
    }

    /// The API, where the token may go if nothing else is said.
    pub(crate) fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    pub(crate) fn allows_insecure_http(&self) -> bool {
        self.http.allow_insecure_http
    }

    /// Would a refresh token be lost if its successor came and nobody stored it?
    pub(crate) fn spends_refresh_tokens(&self) -> bool {
        self.credential.grant == Grant::RefreshToken
    }
}

/// Left out of account, they would make a token of another kind, or of another client, than the program gets.
fn refuse_what_is_the_programs(given: &Bound<'_, PyDict>, environment: &Bound<'_, PyAny>) -> PyResult<()> {
    for (variable, what, instead) in PROGRAMS {
        let is_set = !environment.call_method1("get", (variable, ""))?.is_empty()?;
        let is_made_up_for = Values(given).is_any_given(instead)?;
        if is_set && !is_made_up_for {
            let instead = match instead {
                [] => "take it out of the environment".to_owned(),
                [name, ..] => format!("give {name} as an argument, or take it out of the environment"),
            };
            return Err(config(given.py(), variable, format!("{what} for the program `evergrant` alone; {instead}")));
        }
    }
    Ok(())
}

fn http(values: &Values<'_, '_>) -> PyResult<HttpOptions> {
    let default = HttpOptions::default();
    let token_timeout = values.positive("token_timeout")?.map_or(default.token_timeout, Span::to_duration);
    Ok(HttpOptions {
        ca_file: values.path("ca_file")?,
        allow_insecure_http: values.switch("allow_insecure_http")?,
        token_timeout,
        ..default
    })
}

/// The provider, and its API.
fn profile(values: &Values<'_, '_>, allow_insecure_http: bool) -> PyResult<(Profile, Option<String>)> {
    const KINDS: [ProfileKind; 3] = [ProfileKind::Genesys, ProfileKind::Oauth2, ProfileKind::Oidc];
    let py = values.py();
    let url = |name| {
        let url = values.text(name)?;
        let checked = Origins::parse(url.iter(), allow_insecure_http);
        checked.map(|_| url).map_err(|error| config(py, name, error))
    };
    let (issuer, token_url, upstream) = (url("issuer")?, url("token_url")?, url("upstream")?);
    let region = values.text("region")?.map(|text| Region::parse(&text)).transpose();
    let region = region.map_err(|error| config(py, "region", error))?;
    let given = Given {
        region: region.is_some(),
        token_url: token_url.is_some(),
        upstream: upstream.is_some(),
        issuer: issuer.is_some(),
    };
    let kind = match values.text("provider")? {
        Some(name) => KINDS
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| config(py, "provider", format!("`{name}` is none of genesys, oauth2 and oidc")))?,
        None => given.provider().ok_or_else(|| config(py, "provider", NO_PROVIDER))?,
    };
    let known = settings::known(kind, region, issuer.as_deref());
    let probe = values.text("probe_path")?.map(|path| Probe { method: ProbeMethod::Get, path });
    let upstream = upstream.or(known.api_url).map(|url| url.trim_end_matches('/').to_owned());
    let origin = |url: &str| Some(Url::parse(url).ok()?.origin().ascii_serialization());
    let profile = Profile {
        token_url: token_url.or(known.token_url),
        api_url: upstream.as_deref().and_then(origin),
        probe: probe.or(known.probe),
        ..known
    };
    match profile.token_url.is_none() && profile.issuer.is_none() {
        true => Err(config(py, "token_url", "there is none, and no region or issuer that it follows from")),
        false => Ok((profile, upstream)),
    }
}

fn credential(values: &Values<'_, '_>) -> PyResult<(Credential, Option<Secret>)> {
    let py = values.py();
    let client_id = values.text("client_id")?.ok_or_else(|| config(py, "client_id", "there is none"))?;
    let (secret, seed) = (values.secret("client_secret")?, values.secret("refresh_token")?);
    let next_secret = values.secret("client_secret_next")?;
    if next_secret.is_some() && secret.is_none() {
        return Err(config(py, "client_secret_next", "there is no client_secret that it follows"));
    }
    let client_auth = match values.text("client_auth")? {
        Some(word) => word.parse().map_err(|error| config(py, "client_auth", error))?,
        None => ClientAuth::default(),
    };
    if client_auth == ClientAuth::Tls {
        return Err(config(py, "client_auth", format!("{NO_CERTIFICATE} for the program `evergrant` alone")));
    }
    let grant = match values.text("grant")? {
        Some(word) => settings::grant(&word)
            .ok_or_else(|| config(py, "grant", format!("`{word}` is neither client_credentials nor refresh_token")))?,
        None => settings::implied_grant(secret.is_some(), seed.is_some()),
    };
    let credential = Credential {
        client_secret: secret,
        next_client_secret: next_secret,
        secret_places: SecretPlaces {
            current: values.path("client_secret_file")?.map(SecretPlace::File),
            next: values.path("client_secret_next_file")?.map(SecretPlace::File),
        },
        client_auth,
        grant,
        scope: values.text("scope")?,
        audience: values.text("audience")?,
        resource: values.text("resource")?,
        ..Credential::client_credentials(client_id, Secret::from(""))
    };
    credential.check().map_err(|error| config(py, "the client", error))?;
    Ok((credential, seed.filter(|_| grant == Grant::RefreshToken)))
}

fn store(values: &Values<'_, '_>, http: &HttpOptions) -> PyResult<(StoreUrl, StoreOptions)> {
    let py = values.py();
    let url = match values.text("store")? {
        Some(text) => StoreUrl::parse(&text).map_err(|error| config(py, "store", error))?,
        None => StoreUrl::Memory,
    };
    let key = values.secret("store_key")?.map(|text| SealKey::from_base64(&text)).transpose();
    let mut options = StoreOptions {
        key: key.map_err(|error| config(py, "store_key", error))?,
        passphrase: values.secret("store_passphrase")?,
        ca_file: http.ca_file.clone(),
        allow_insecure: http.allow_insecure_http,
        ..StoreOptions::default()
    };
    if let Some(ttl) = values.positive("lease_ttl")? {
        options.lease_ttl = ttl;
    }
    Store::open_with(&url, options.clone()).map_err(|error| config(py, "store", error))?;
    Ok((url, options))
}

fn policy(values: &Values<'_, '_>) -> PyResult<Policy> {
    let mut policy = Policy::default();
    policy.slack = values.span("slack")?;
    policy.settle = values.span("settle")?;
    policy.mint_budget = values.mint_budget()?;
    policy.skew_warn = values.positive("skew_warn")?.unwrap_or(policy.skew_warn);
    if let Some(patience) = values.positive("timeout")? {
        policy.patience = patience;
        policy.cold_patience = policy.cold_patience.min(patience);
    }
    Ok(policy)
}

/// Keyword arguments; `None` is as good as not given.
struct Values<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Values<'_, 'py> {
    fn py(&self) -> Python<'py> {
        self.0.py()
    }

    fn check_names(&self) -> PyResult<()> {
        for name in self.0.keys() {
            let name: String = name.extract()?;
            if NAMES.iter().all(|(known, _)| *known != name) {
                return Err(PyTypeError::new_err(format!("TokenSource has no setting `{name}`")));
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    fn is_any_given(&self, names: &[&str]) -> PyResult<bool> {
        for name in names {
            if self.get(name)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn text(&self, name: &str) -> PyResult<Option<String>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let text: String = value.extract().map_err(|_| wrong_type(name, "a str", &value))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// The secret itself, or what its file holds without the line break at the end.
    fn secret(&self, name: &str) -> PyResult<Option<Secret>> {
        let file = format!("{name}_file");
        let (given, path) = (self.get(name)?, self.path(&file)?);
        match (given, path) {
            (Some(_), Some(_)) => Err(config(self.py(), name, format!("both {name} and {file} are given"))),
            (Some(value), None) => {
                let text: String = value.extract().map_err(|_| wrong_type(name, "a str", &value))?;
                self.sound(name, Secret::new(text)).map(Some)
            }
            (None, Some(path)) => {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| config(self.py(), &file, format!("{}: {error}", path.display())))?;
                self.sound(&file, Secret::from(settings::without_line_break(&text))).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// Not empty, and without the white space that comes along when a secret is copied.
    fn sound(&self, name: &str, secret: Secret) -> PyResult<Secret> {
        let text = secret.expose();
        if text.is_empty() {
            return Err(config(self.py(), name, "it is empty"));
        }
        if let Some(settings::WhiteSpace { place, may_be_meant: false }) = settings::WhiteSpace::of(text) {
            return Err(config(
                self.py(),
                name,
                format!("it {place} white space, which probably came along with a copy"),
            ));
        }
        Ok(secret)
    }

    fn path(&self, name: &str) -> PyResult<Option<PathBuf>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        value.extract().map(Some).map_err(|_| wrong_type(name, "a path", &value))
    }

    fn switch(&self, name: &str) -> PyResult<bool> {
        let Some(value) = self.get(name)? else { return Ok(false) };
        if let Ok(value) = value.cast::<PyBool>() {
            return Ok(value.is_true());
        }
        match value.extract::<String>().map_err(|_| wrong_type(name, "a bool", &value))?.trim() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(config(self.py(), name, "it is neither true nor false")),
        }
    }

    /// Seconds as a number, or text such as `5m`.
    fn span(&self, name: &str) -> PyResult<Option<Span>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        if let Ok(text) = value.extract::<String>() {
            return duration::parse(&text).map(Some).map_err(|error| config(self.py(), name, error));
        }
        seconds(name, &value).map(Some)
    }

    fn positive(&self, name: &str) -> PyResult<Option<Span>> {
        let span = self.span(name)?;
        match span {
            Some(Span::ZERO) => Err(config(self.py(), name, "it must be longer than nothing")),
            _ => Ok(span),
        }
    }

    fn mint_budget(&self) -> PyResult<Option<u32>> {
        let name = "mint_budget";
        let Some(text) = self.text(name)? else { return Ok(None) };
        settings::mint_budget(&text).map(Some).map_err(|cause| config(self.py(), name, cause))
    }
}

/// Seconds as a number, none of them negative.
pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Span> {
    let is_number = !value.is_instance_of::<PyBool>();
    let seconds = value.extract::<f64>().ok().filter(|_| is_number);
    let seconds = seconds.ok_or_else(|| wrong_type(name, "a number of seconds", value))?;
    Duration::try_from_secs_f64(seconds)
        .map(Span::from_duration)
        .map_err(|_| PyValueError::new_err(format!("{name} must be a number of seconds, none of them negative")))
}

fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} must be {wanted}, not {found}"))
}

const NO_FILE: &str = "settings files are";
const NO_KEYRING: &str = "secrets in the keyring are";
const NO_CERTIFICATE: &str = "client certificates are";
const NO_PROVIDER: &str = "give a region for Genesys Cloud, a token_url for any other OAuth server, or an issuer";
const UNDER_A_GATEWAY: &str = "this program runs under `evergrant exec --gateway` and has no secret of its own; send its \
                                requests to the URL in EVERGRANT_GATEWAY_URL, without a source, or leave --gateway out";
const VOLATILE: &str = "a refresh token that changes with every use would be lost with this process; give a store that \
                        lasts, such as file:PATH with a store_key, or allow_volatile=True";
