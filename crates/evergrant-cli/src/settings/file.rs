//! The settings file: profiles in TOML, checked whole when it is read.
//!
//! ```toml
//! # keys above the first table hold for every profile
//! client_auth = "post"
//!
//! [profile.default]            # used when no profile is asked for
//! region = "eu-central-1"
//!
//! [profile.staging]
//! token_url = "https://id.staging.example.com/oauth/token"
//! ```
//!
//! `[profiles.NAME]` and a bare `[NAME]` mean the same as `[profile.NAME]`: people bring all three from other tools. A
//! key that is no setting, a value of the wrong type, and a secret are errors in any profile, used or not, and point at
//! the line and column. A file is read only if it is the user's own (`$XDG_CONFIG_HOME/evergrant/config.toml`) or asked
//! for: one that happens to lie in the current folder could send the secret elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::catalog::{self, Kind, SPECS, Setting, Spec};
use super::excerpt::{Excerpt, Show};
use super::origin::{Found, Origin};
use crate::exit;
use crate::failure::{Failure, nearest};

/// The profile that is used when none is asked for.
pub(crate) const DEFAULT_PROFILE: &str = "default";

const MAX_FILE_BYTES: u64 = 1024 * 1024;
const PROFILE_TABLES: [&str; 2] = ["profile", "profiles"];

/// What one table sets. `false` in the key means the setting itself, `true` the file that holds the secret.
pub(crate) type Values = BTreeMap<(Setting, bool), Found<String>>;

/// A settings file that has been read and checked.
#[derive(Debug, Default)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    shared: Values,
    profiles: BTreeMap<String, Values>,
}

impl SettingsFile {
    /// Reads and checks a file; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let unreadable = |error: &std::io::Error| {
            Failure::new(exit::CONFIG, "cannot read the settings file").at(path.display()).because(error)
        };
        let size = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Failure::new(exit::CONFIG, "cannot read the settings file")
                    .at(path.display())
                    .because("it is a directory")
                    .hint("name the file itself, as `--config DIRECTORY/config.toml`"));
            }
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error).hint("check the permissions of the file and its folders")),
        };
        if size > MAX_FILE_BYTES {
            return Err(Failure::new(exit::CONFIG, "cannot read the settings file")
                .at(path.display())
                .because(format!("it has {size} bytes, more than any settings file")));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            Failure::new(exit::CONFIG, "cannot read the settings file")
                .at(path.display())
                .because(format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
                .hint("save it as UTF-8")
        })?;
        Self::parse(path, &text).map(Some)
    }

    /// Checks a file's text.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let reader = Reader { path, text };
        let document = DeTable::parse(text).map_err(|error| reader.syntax(&error))?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in document.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (name, DeValue::Table(profiles)) if PROFILE_TABLES.contains(&name) => {
                    for (profile, table) in profiles {
                        file.add_profile(&reader, profile.get_ref(), profile.span(), table.get_ref())?;
                    }
                }
                (name, DeValue::Table(_)) if catalog::by_file_key(name).is_none() => {
                    file.add_profile(&reader, name, key.span(), value.get_ref())?;
                }
                (name, _) => {
                    let (setting, found) = reader.entry("", name, key.span(), value)?;
                    file.shared.insert(setting, found);
                }
            }
        }
        Ok(file)
    }

    /// The values of a profile, over those that every profile shares.
    ///
    /// The default profile may be missing; one that was asked for may not.
    pub(crate) fn profile(&self, asked: Option<&Found<String>>) -> Result<Values, Failure> {
        let mut values = self.shared.clone();
        let name = asked.map_or(DEFAULT_PROFILE, |found| found.value.as_str());
        match (self.profiles.get(name), asked) {
            (Some(own), _) => values.extend(own.clone()),
            (None, None) => {}
            (None, Some(_)) if name == DEFAULT_PROFILE => {}
            (None, Some(found)) => return Err(self.unknown_profile(found)),
        }
        Ok(values)
    }

    /// The names of the profiles.
    pub(crate) fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    fn unknown_profile(&self, asked: &Found<String>) -> Failure {
        let known: Vec<&str> = self.profile_names().collect();
        let failure = Failure::new(exit::CONFIG, format!("there is no profile `{}`", asked.value))
            .at(&asked.origin)
            .because(format!("{} has {}", self.path.display(), list_profiles(&known)));
        match nearest(&asked.value, known) {
            Some(name) => failure.hint(format!("did you mean `--profile {name}`?")),
            None => failure.hint(format!("add a table `[profile.{}]` to the file", asked.value)),
        }
    }

    fn add_profile(
        &mut self,
        reader: &Reader<'_>,
        name: &str,
        span: std::ops::Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<(), Failure> {
        let DeValue::Table(table) = value else {
            return Err(reader
                .failure(format!("profile `{name}` is not a table"), span, name, Show::KeyOnly, "expected a table")
                .hint(format!("write `[profile.{name}]` on a line of its own, and its settings below")));
        };
        let values = self.profiles.entry(name.to_owned()).or_default();
        for (key, value) in table {
            let (setting, found) = reader.entry(name, key.get_ref(), key.span(), value)?;
            values.insert(setting, found);
        }
        Ok(())
    }
}

fn list_profiles(known: &[&str]) -> String {
    match known {
        [] => "no profiles".to_owned(),
        [one] => format!("one profile, `{one}`"),
        many => format!("the profiles `{}`", many.join("`, `")),
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    /// One `key = value`.
    fn entry(
        &self,
        profile: &str,
        key: &str,
        span: std::ops::Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<((Setting, bool), Found<String>), Failure> {
        let full_key = if profile.is_empty() { key.to_owned() } else { format!("profile.{profile}.{key}") };
        let (spec, names_file) = self.setting(key, &full_key, span)?;
        let expected = match spec.kind {
            Kind::Switch => "true or false",
            Kind::List => "a text in quotes, or an array of them",
            Kind::Text | Kind::Secret | Kind::ForeignSecret => "a text in quotes",
        };
        let text = match value.get_ref() {
            DeValue::Boolean(on) if spec.kind == Kind::Switch => on.to_string(),
            DeValue::String(text) if spec.kind != Kind::Switch => text.clone().into_owned(),
            DeValue::Array(parts) if spec.kind == Kind::List && parts.iter().all(|part| part.get_ref().is_str()) => {
                parts.iter().filter_map(|part| part.get_ref().as_str()).collect::<Vec<_>>().join(",")
            }
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                let found = with_article(value.get_ref().type_str());
                let label = format!("expected {expected}, found {found}");
                let what = format!("`{key}` has a value of the wrong type");
                let failure = self.failure(what, value.span(), &full_key, Show::Line, &label);
                return Err(failure.because(label).hint(format!("write `{key} = {}`", sample(spec))));
            }
        };
        // A URL may hold a password or a key; whoever complains about it later must not show them.
        let show = if text.contains(['@', '?']) { Show::KeyOnly } else { Show::Line };
        let excerpt = Excerpt::new(self.path.to_owned(), self.text, value.span(), full_key, show);
        Ok(((spec.key, names_file), Found { value: text, origin: Origin::File(Box::new(excerpt)) }))
    }

    /// The setting that a key names, and whether it names the file that holds the secret.
    fn setting(
        &self,
        key: &str,
        full_key: &str,
        span: std::ops::Range<usize>,
    ) -> Result<(&'static Spec, bool), Failure> {
        let normal = key.replace('-', "_");
        if let Some(spec) = normal.strip_suffix("_file").and_then(catalog::by_file_key)
            && spec.kind == Kind::Secret
        {
            return Ok((spec, true));
        }
        match catalog::by_file_key(&normal) {
            Some(spec) if spec.is_secret() => Err(self
                .failure(format!("`{key}` is a secret"), span, full_key, Show::KeyOnly, "secrets do not belong here")
                .because("settings files end up in backups and in version control")
                .hint(secret_hint(spec))),
            Some(spec) => Ok((spec, false)),
            None => Err(self.unknown(key, full_key, span)),
        }
    }

    fn unknown(&self, key: &str, full_key: &str, span: std::ops::Range<usize>) -> Failure {
        let known: Vec<String> = file_keys().collect();
        let failure =
            self.failure(format!("unknown setting `{key}`"), span, full_key, Show::KeyOnly, "this is no setting");
        match nearest(&key.replace('-', "_"), known.iter().map(String::as_str)) {
            Some(name) => failure.hint(format!("did you mean `{name}`?")),
            None => failure.hint("`evergrant config init` writes a file with every setting there is"),
        }
    }

    fn syntax(&self, error: &toml::de::Error) -> Failure {
        let span = error.span().unwrap_or(self.text.len()..self.text.len());
        let message = error.message().lines().next().unwrap_or("it is not TOML");
        self.failure("the settings file is not valid TOML".into(), span, "", Show::KeyOnly, "here")
            .because(message)
            .hint("text values need quotes, as in `region = \"eu-central-1\"`")
    }

    fn failure(&self, what: String, span: std::ops::Range<usize>, key: &str, show: Show, label: &str) -> Failure {
        let excerpt = Excerpt::new(self.path.to_owned(), self.text, span, key.to_owned(), show);
        let mut failure = Failure::new(exit::CONFIG, what).at(if key.is_empty() {
            excerpt.position()
        } else {
            format!("{} ({key})", excerpt.position())
        });
        failure.excerpt = Some(excerpt.render(label).into());
        failure
    }
}

/// How a secret may be given.
pub(crate) fn secret_hint(spec: &Spec) -> String {
    format!(
        "set {env}, or name a file with {flag}-file FILE or {env}_FILE; `{flag}-file -` reads standard input",
        env = spec.env(),
        flag = spec.flag()
    )
}

/// Every key that a settings file may hold.
pub(crate) fn file_keys() -> impl Iterator<Item = String> {
    SPECS.iter().filter_map(|spec| match spec.kind {
        Kind::Text | Kind::List | Kind::Switch => Some(spec.file_key()),
        Kind::Secret => Some(format!("{}_file", spec.file_key())),
        Kind::ForeignSecret => None,
    })
}

fn sample(spec: &Spec) -> String {
    match spec.kind {
        Kind::Switch => spec.example.to_owned(),
        Kind::Text | Kind::List => format!("\"{}\"", spec.example),
        Kind::Secret | Kind::ForeignSecret => "\"PATH\"".to_owned(),
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
