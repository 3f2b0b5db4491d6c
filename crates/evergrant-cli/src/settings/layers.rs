//! The layers, strongest first: flags, environment, the profile of the settings file, defaults.
//!
//! Nothing is interpreted here. A lookup answers what somebody wrote and where, so that whoever finds it wrong can say
//! which of the layers to change.
//!
//! Reading is done again for a reload. Standard input cannot be: a secret that came from there is remembered.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use evergrant::settings::without_line_break;
use evergrant_core::Secret;
use evergrant_gateway::Address;

use super::catalog::{Kind, SPECS, Setting};
use super::env_names::Environment;
use super::file::{SettingsFile, Values};
use super::flags::Flags;
use super::origin::{Found, Origin};
use crate::exit;
use crate::failure::Failure;

const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What flags, environment and file say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    flags: Flags,
    environment: Environment,
    file: Values,
    /// Where the service manager listens for the gateway and for its status pages: stronger than any setting.
    sockets: BTreeMap<Setting, Found<Vec<Address>>>,
    /// The settings file that was read, if there is one.
    pub(crate) file_path: Option<PathBuf>,
    /// The profile that was asked for.
    pub(crate) profile: Option<String>,
}

impl Layers {
    /// Reads the env file and the settings file that flags and environment name, for one profile.
    pub(crate) fn read(flags: Flags, environment: Environment) -> Result<Self, Failure> {
        let mut all = Self::read_all(&flags, &environment)?;
        match (all.pop(), all.len()) {
            (Some(layers), 0) => Ok(layers),
            (_, others) => Err(Failure::new(exit::USAGE, "this command takes one profile")
                .at(asked_profiles(&flags, &environment).map_or(Origin::Default, |found| found.origin))
                .because(format!("{} are asked for", others + 1))
                .hint("`evergrant gateway` serves several profiles at once")),
        }
    }

    /// Reads the same for each of the profiles that are asked for.
    pub(crate) fn read_all(flags: &Flags, environment: &Environment) -> Result<Vec<Self>, Failure> {
        let mut environment = environment.clone();
        if let Some(path) = &flags.env_file {
            environment.add_env_file(path)?;
        }
        let profiles = profile_names(asked_profiles(flags, &environment))?;
        let file = match settings_file(flags, &environment) {
            Some((path, asked)) => read_file(path, asked)?,
            None => None,
        };
        let layers = |profile: Option<Found<String>>| {
            let (flags, environment) = (flags.clone(), environment.clone());
            let Some((path, file)) = &file else { return without_file(flags, environment, profile) };
            let values = file.profile(profile.as_ref())?;
            let profile = profile.map(|found| found.value);
            Ok(Self { flags, environment, file: values, file_path: Some(path.clone()), profile, ..Self::default() })
        };
        profiles.into_iter().map(layers).collect()
    }

    /// The profile's name.
    pub(crate) fn profile_name(&self) -> &str {
        self.profile.as_deref().unwrap_or(super::file::DEFAULT_PROFILE)
    }

    /// Says that somebody listens for a listener of the gateway already.
    pub(crate) fn set_sockets(&mut self, key: Setting, found: Found<Vec<Address>>) {
        self.sockets.insert(key, found);
    }

    /// The sockets that are listened on for a listener of the gateway already.
    pub(crate) fn sockets(&self, key: Setting) -> Option<&Found<Vec<Address>>> {
        self.sockets.get(&key)
    }

    /// Every file that settings come from, those of secrets and certificates included. Assertions that others write are
    /// read for each token request anyway.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let read_often = [Setting::Assertion, Setting::ClientAssertion];
        let secrets =
            SPECS.iter().map(|spec| spec.key).filter(|key| key.spec().is_secret() && !read_often.contains(key));
        let certificates = [Setting::CaFile, Setting::ClientCert, Setting::ClientKey];
        let certificates = certificates.into_iter().filter_map(|key| self.plain(key));
        let mut files: Vec<PathBuf> =
            settings_file(&self.flags, &self.environment).map(|(path, _)| path).into_iter().collect();
        files.extend(self.flags.env_file.clone());
        files.extend(certificates.map(|found| PathBuf::from(found.value)));
        files.extend(secrets.filter_map(|key| self.secret_file(key)));
        files
    }

    /// Flags alone.
    pub(crate) fn of_flags(flags: Flags) -> Self {
        Self { flags, ..Self::default() }
    }

    /// The same layers for a login: whatever the grant is, what a login leaves behind is renewed with a refresh token.
    pub(crate) fn with_grant_of_a_login(&self) -> Self {
        let mut layers = self.clone();
        let value = "refresh_token".to_owned();
        layers.flags.values.insert((Setting::Grant, false), Found { value, origin: Origin::Default });
        layers
    }

    /// The same layers with other values as flags, and without what would stand beside them.
    pub(crate) fn with(
        &self,
        flags: impl IntoIterator<Item = ((Setting, bool), Found<String>)>,
        without: &[Setting],
    ) -> Self {
        let mut layers = self.clone();
        for key in without {
            for is_file in [false, true] {
                layers.flags.values.remove(&(*key, is_file));
                layers.file.remove(&(*key, is_file));
            }
            key.spec().variables().iter().for_each(|name| layers.environment.remove(name));
        }
        layers.flags.values.extend(flags);
        layers
    }

    /// What a settings file would hold for a setting: its value, or the path of the secret's file.
    pub(crate) fn given(&self, key: Setting) -> Option<String> {
        match key.spec().kind {
            Kind::Text | Kind::List => self.plain(key).map(|found| found.value),
            Kind::Switch => self.plain(key).map(|found| matches!(found.value.as_str(), "1" | "true").to_string()),
            Kind::Secret => self.flags.values.get(&(key, true)).map(|found| found.value.clone()),
            Kind::ForeignSecret => None,
        }
    }

    /// What was written for a setting that is no secret.
    pub(crate) fn plain(&self, key: Setting) -> Option<Found<String>> {
        let from_environment = || key.spec().variables().iter().find_map(|name| self.environment.plain(name));
        self.flags
            .values
            .get(&(key, false))
            .cloned()
            .or_else(from_environment)
            .or_else(|| self.file.get(&(key, false)).cloned())
    }

    /// A secret, from the environment or from the file that a flag, a variable or the settings file names.
    pub(crate) fn secret(&self, key: Setting) -> Result<Option<Found<Secret>>, Failure> {
        if let Some(file) = self.flags.values.get(&(key, true)) {
            return read_secret(file).map(Some);
        }
        for name in key.spec().variables() {
            if let Some(found) = self.environment.get(&name) {
                return Ok(Some(found.clone()));
            }
            if let Some(file) = self.environment.plain(&format!("{name}_FILE")) {
                return read_secret(&file).map(Some);
            }
        }
        self.file.get(&(key, true)).map(read_secret).transpose()
    }

    /// Where a secret would come from, without reading a file or standard input.
    pub(crate) fn secret_origin(&self, key: Setting) -> Option<Origin> {
        let named = |found: &Found<String>| Origin::SecretFile {
            path: PathBuf::from(&found.value),
            named_by: Box::new(found.origin.clone()),
        };
        let in_environment = || {
            key.spec().variables().iter().find_map(|name| {
                let own = self.environment.get(name).map(|found| found.origin.clone());
                own.or_else(|| self.environment.plain(&format!("{name}_FILE")).as_ref().map(named))
            })
        };
        let flag = self.flags.values.get(&(key, true)).map(named);
        flag.or_else(in_environment).or_else(|| self.file.get(&(key, true)).map(named))
    }

    /// The file that a secret comes from and that can be read again, which standard input cannot.
    pub(crate) fn secret_file(&self, key: Setting) -> Option<PathBuf> {
        let Some(Origin::SecretFile { path, .. }) = self.secret_origin(key) else { return None };
        (path.as_os_str() != "-").then_some(path)
    }

    /// Where a setting comes from, secret or not.
    pub(crate) fn origin(&self, key: Setting) -> Option<Origin> {
        match key.spec().kind {
            Kind::Text | Kind::List | Kind::Switch => {
                let socket = self.sockets(key).map(|found| found.origin.clone());
                socket.or_else(|| self.plain(key).map(|found| found.origin))
            }
            Kind::Secret | Kind::ForeignSecret => self.secret_origin(key),
        }
    }

    /// Variables that look like ours and are not.
    pub(crate) fn unknown_variables(&self) -> Vec<(Origin, Option<String>)> {
        self.environment.unknown()
    }
}

/// What somebody wrote for the profile, or for several.
fn asked_profiles(flags: &Flags, environment: &Environment) -> Option<Found<String>> {
    let of_flag = flags.profile.as_ref();
    let of_flag = of_flag.map(|name| Found { value: name.clone(), origin: Origin::Flag("--profile".to_owned()) });
    of_flag.or_else(|| environment.plain("EVERGRANT_PROFILE"))
}

/// The profiles that are asked for, each once; nobody asking means the default one.
fn profile_names(asked: Option<Found<String>>) -> Result<Vec<Option<Found<String>>>, Failure> {
    let Some(asked) = asked else { return Ok(vec![None]) };
    let mut names = Vec::new();
    for name in asked.value.split(',').map(str::trim) {
        let slip = |what: String| Failure::new(exit::USAGE, what).at(&asked.origin).hint("write NAME or NAME,NAME");
        if name.is_empty() {
            return Err(slip("a profile has no name".to_owned()));
        }
        if names.contains(&name) {
            return Err(slip(format!("the profile `{name}` is asked for twice")));
        }
        names.push(name);
    }
    let found = |name: &&str| Some(Found { value: (*name).to_owned(), origin: asked.origin.clone() });
    Ok(names.iter().map(found).collect())
}

/// The settings file, if it is there; one that was asked for must be.
fn read_file(path: PathBuf, asked: Option<Origin>) -> Result<Option<(PathBuf, SettingsFile)>, Failure> {
    match (SettingsFile::read(&path)?, asked) {
        (Some(file), _) => Ok(Some((path, file))),
        (None, None) => Ok(None),
        (None, Some(origin)) => Err(Failure::new(exit::CONFIG, "cannot read the settings file")
            .at(path.display())
            .because(format!("there is no such file ({origin})"))
            .hint(format!("`evergrant config init --config {}` writes one", path.display()))),
    }
}

/// The settings file to read, and who asked for it; nobody asks for the user's own.
fn settings_file(flags: &Flags, environment: &Environment) -> Option<(PathBuf, Option<Origin>)> {
    if let Some(path) = &flags.config {
        return Some((path.clone(), Some(Origin::Flag("--config".to_owned()))));
    }
    if let Some(found) = environment.plain("EVERGRANT_CONFIG") {
        return Some((PathBuf::from(found.value), Some(found.origin)));
    }
    Some((default_file(environment)?, None))
}

/// `evergrant/config.toml` in the user's configuration folder (XDG Base Directory Specification).
fn default_file(environment: &Environment) -> Option<PathBuf> {
    let folder =
        |name| environment.plain(name).map(|found| PathBuf::from(found.value)).filter(|path| path.is_absolute());
    let configuration = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(configuration.join("evergrant").join("config.toml"))
}

/// The settings file that `config init` writes.
pub(crate) fn file_to_write(flags: &Flags, environment: &Environment) -> Result<PathBuf, Failure> {
    settings_file(flags, environment).map(|(path, _)| path).ok_or_else(|| {
        Failure::new(exit::CONFIG, "there is no place for a settings file")
            .because("neither XDG_CONFIG_HOME nor HOME is an absolute path")
            .hint("name a file with `--config FILE`")
    })
}

fn without_file(flags: Flags, environment: Environment, profile: Option<Found<String>>) -> Result<Layers, Failure> {
    match profile {
        Some(found) if found.value != super::file::DEFAULT_PROFILE => {
            Err(Failure::new(exit::CONFIG, format!("there is no profile `{}`", found.value))
                .at(&found.origin)
                .because("there is no settings file")
                .hint("`evergrant config init` writes one"))
        }
        _ => Ok(Layers { flags, environment, ..Layers::default() }),
    }
}

/// The content of a secret's file without its trailing line break; `-` is standard input.
pub(crate) fn read_secret(file: &Found<String>) -> Result<Found<Secret>, Failure> {
    let path = PathBuf::from(&file.value);
    let origin = Origin::SecretFile { path: path.clone(), named_by: Box::new(file.origin.clone()) };
    let is_input = path.as_os_str() == "-";
    let mut input = STANDARD_INPUT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(secret) = input.as_ref().filter(|_| is_input) {
        return Ok(Found { value: secret.clone(), origin });
    }
    let fail = |cause: &dyn std::fmt::Display| {
        Failure::new(exit::CONFIG, "cannot read the file of a secret").at(&origin).because(cause)
    };
    let mut bytes = Vec::new();
    open(&path)
        .and_then(|reader| reader.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(&error).hint("check the path and its permissions"))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(fail(&"it is larger than 64 KiB").hint("name a file that holds the secret and nothing else"));
    }
    let text = String::from_utf8(bytes).map_err(|_not_utf8| fail(&"it is not UTF-8 text"))?;
    let secret = without_line_break(&text);
    if secret.is_empty() {
        return Err(fail(&"it is empty").hint("write the secret into it, and nothing else"));
    }
    let secret = Secret::from(secret);
    if is_input {
        *input = Some(secret.clone());
    }
    Ok(Found { value: secret, origin })
}

/// The secret that standard input held.
static STANDARD_INPUT: Mutex<Option<Secret>> = Mutex::new(None);

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" { Ok(Box::new(std::io::stdin())) } else { Ok(Box::new(std::fs::File::open(path)?)) }
}
