//! The layers, strongest first: flags, environment, the profile of the settings file, defaults.
//!
//! Nothing is interpreted here. A lookup answers what somebody wrote and where, so that whoever finds it wrong can say
//! which of the layers to change.

use std::io::Read;
use std::path::{Path, PathBuf};

use evergrant_core::Secret;

use super::catalog::{Kind, Setting};
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
    /// The settings file that was read, if there is one.
    pub(crate) file_path: Option<PathBuf>,
    /// The profile that was asked for.
    pub(crate) profile: Option<String>,
}

impl Layers {
    /// Reads the env file and the settings file that flags and environment name.
    pub(crate) fn read(flags: Flags, mut environment: Environment) -> Result<Self, Failure> {
        if let Some(path) = &flags.env_file {
            environment.add_env_file(path)?;
        }
        let profile = match &flags.profile {
            Some(name) => Some(Found { value: name.clone(), origin: Origin::Flag("--profile".to_owned()) }),
            None => environment.plain("EVERGRANT_PROFILE"),
        };
        let Some((path, asked)) = settings_file(&flags, &environment) else {
            return without_file(flags, environment, profile);
        };
        match SettingsFile::read(&path)? {
            Some(file) => {
                let values = file.profile(profile.as_ref())?;
                let profile = profile.map(|found| found.value);
                Ok(Self { flags, environment, file: values, file_path: Some(path), profile })
            }
            None => match asked {
                Some(origin) => Err(Failure::new(exit::CONFIG, "cannot read the settings file")
                    .at(path.display())
                    .because(format!("there is no such file ({origin})"))
                    .hint(format!("`evergrant config init --config {}` writes one", path.display()))),
                None => without_file(flags, environment, profile),
            },
        }
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

    /// Where a setting comes from, secret or not.
    pub(crate) fn origin(&self, key: Setting) -> Option<Origin> {
        match key.spec().kind {
            Kind::Text | Kind::List | Kind::Switch => self.plain(key).map(|found| found.origin),
            Kind::Secret | Kind::ForeignSecret => self.secret_origin(key),
        }
    }

    /// Variables that look like ours and are not.
    pub(crate) fn unknown_variables(&self) -> Vec<(Origin, Option<String>)> {
        self.environment.unknown()
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
fn read_secret(file: &Found<String>) -> Result<Found<Secret>, Failure> {
    let path = PathBuf::from(&file.value);
    let origin = Origin::SecretFile { path: path.clone(), named_by: Box::new(file.origin.clone()) };
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
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if secret.is_empty() {
        return Err(fail(&"it is empty").hint("write the secret into it, and nothing else"));
    }
    Ok(Found { value: Secret::from(secret), origin })
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" { Ok(Box::new(std::io::stdin())) } else { Ok(Box::new(std::fs::File::open(path)?)) }
}
