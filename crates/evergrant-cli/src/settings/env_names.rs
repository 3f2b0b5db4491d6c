//! The environment as settings: our variables, those of the Genesys Cloud tools, and `--env-file`.
//!
//! The environment is read once, at the start. A variable that is set but empty counts as not set: that is what
//! compose files and CI systems produce for a value nobody gave. The real environment is stronger than an env file, as
//! with every other reader of `.env` files.
//!
//! `VARIABLE_FILE` names a file whose content is the secret, the convention of container platforms. One trailing line
//! break is dropped, because editors and `echo` add it; any other white space is left, and reported as a finding later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evergrant::settings::{CLIENT_ID_ELSEWHERE, is_of_a_gateway, is_under_a_gateway};
use evergrant_core::Secret;

use super::catalog::{Kind, SPECS};
use super::origin::{Found, Origin};
use crate::exit;
use crate::failure::{Failure, nearest};

const PREFIX: &str = "EVERGRANT_";
/// What the names of all variables that hold settings begin with.
const FAMILIES: [&str; 2] = [PREFIX, "GENESYS"];
const MAX_ENV_FILE_BYTES: u64 = 1024 * 1024;

/// Variables that begin like ours and are no settings: two choose a file, the rest is what `exec` sets.
const OTHERS: [&str; 6] = [
    "EVERGRANT_CONFIG",
    "EVERGRANT_PROFILE",
    "EVERGRANT_ACCESS_TOKEN",
    "EVERGRANT_ACCESS_TOKEN_FILE",
    "EVERGRANT_GATEWAY_URL",
    "EVERGRANT_SDK_CONFIG",
];

/// The variables of this process and of its env file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    // Every value is treated as a secret until the setting it belongs to is known.
    variables: BTreeMap<String, Found<Secret>>,
}

impl Environment {
    /// The variables of this process.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let mut pairs = Vec::new();
        for (name, value) in std::env::vars_os() {
            // A name that is no text is none of ours.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => pairs.push((name, value)),
                Err(_not_text) if FAMILIES.iter().any(|family| name.starts_with(family)) => {
                    return Err(Failure::new(exit::CONFIG, "a setting is not text")
                        .at(name)
                        .because("its value is not UTF-8")
                        .hint("set it again; a file in another encoding may be where it came from"));
                }
                Err(_not_ours) => {}
            }
        }
        let mut environment = Self::from_pairs(pairs);
        environment.leave_to_other_tools();
        Ok(environment)
    }

    /// Forgets what an `exec --gateway` around this process has set for other tools. Here it would be stronger than a
    /// settings file, and be shown to a provider that knows nothing of it.
    fn leave_to_other_tools(&mut self) {
        if is_under_a_gateway(|name| self.get(name).map(|found| found.value.expose())) {
            CLIENT_ID_ELSEWHERE.iter().for_each(|name| self.remove(name));
        }
        self.variables.retain(|_, found| !is_of_a_gateway(found.value.expose()));
    }

    /// These variables.
    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let found =
            |name: String, value| (name.clone(), Found { value: Secret::new(value), origin: Origin::Variable(name) });
        let set = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        Self { variables: set.map(|(name, value)| found(name, value)).collect() }
    }

    /// Adds the variables of a `.env` file that are not set yet.
    pub(crate) fn add_env_file(&mut self, path: &Path) -> Result<(), Failure> {
        let cannot = |error: &dyn std::fmt::Display| {
            Failure::new(exit::CONFIG, "cannot read the env file")
                .at(path.display())
                .because(error)
                .hint("give `--env-file` the path of a file with lines such as EVERGRANT_REGION=eu-central-1")
        };
        let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
        if size > MAX_ENV_FILE_BYTES {
            return Err(cannot(&format!("it has {size} bytes, more than any env file")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
        for entry in parse_env_file(path, &text)? {
            self.variables.entry(entry.0).or_insert(entry.1);
        }
        Ok(())
    }

    /// Takes a variable back, and the one that names its file.
    pub(crate) fn remove(&mut self, name: &str) {
        self.variables.remove(name);
        self.variables.remove(&format!("{name}_FILE"));
    }

    /// A variable that is set.
    pub(crate) fn get(&self, name: &str) -> Option<&Found<Secret>> {
        self.variables.get(name)
    }

    /// A variable whose value may be shown.
    pub(crate) fn plain(&self, name: &str) -> Option<Found<String>> {
        let found = self.get(name)?;
        Some(Found { value: found.value.expose().to_owned(), origin: found.origin.clone() })
    }

    /// Variables that begin like ours but are none of ours, with what was probably meant.
    pub(crate) fn unknown(&self) -> Vec<(Origin, Option<String>)> {
        let known: Vec<String> = own_names().collect();
        let is_unknown = |name: &&String| name.starts_with(PREFIX) && !known.contains(name);
        self.variables
            .iter()
            .filter(|(name, _)| is_unknown(name))
            .map(|(name, found)| {
                let meant = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
                (found.origin.clone(), meant)
            })
            .collect()
    }
}

fn own_names() -> impl Iterator<Item = String> {
    let settings = SPECS.iter().flat_map(|spec| {
        let file = (spec.kind == Kind::Secret).then(|| format!("{}_FILE", spec.env()));
        (spec.kind != Kind::ForeignSecret).then(|| spec.env()).into_iter().chain(file)
    });
    settings.chain(OTHERS.map(str::to_owned))
}

/// Every variable that may hold a secret or name a file that does: a child of `exec` gets none of them.
pub(crate) fn secret_variables() -> impl Iterator<Item = String> {
    SPECS
        .iter()
        .filter(|spec| spec.is_secret())
        .flat_map(|spec| spec.variables())
        .flat_map(|name| [format!("{name}_FILE"), name])
}

/// Reads `NAME=value` lines: comments, blank lines, `export`, and single or double quotes.
fn parse_env_file(path: &Path, text: &str) -> Result<Vec<(String, Found<Secret>)>, Failure> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |cause: &str| {
            Failure::new(exit::CONFIG, "the env file has a line that sets nothing")
                .at(format!("{}:{number}:1", path.display()))
                .because(cause)
                .hint("write NAME=value, one a line; quotes are optional")
        };
        let assignment = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = assignment.split_once('=').ok_or_else(|| malformed("it has no `=`"))?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(malformed("what stands before `=` is no name of a variable"));
        }
        let value = unquoted(value.trim()).ok_or_else(|| malformed("its quotes do not close"))?;
        if !value.is_empty() {
            let origin = Origin::EnvFile { path: PathBuf::from(path), line: number, name: name.to_owned() };
            entries.push((name.to_owned(), Found { value: Secret::new(value), origin }));
        }
    }
    Ok(entries)
}

/// A value without its quotes or its comment; `None` if a quote does not close.
fn unquoted(value: &str) -> Option<String> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let (inner, after) = value[1..].split_once(quote)?;
            (after.trim().is_empty() || after.trim_start().starts_with('#')).then(|| inner.to_owned())
        }
        _ => Some(value.split_once(" #").map_or(value, |(before, _)| before).trim_end().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_pairs(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn parsed(text: &str) -> Vec<(String, String)> {
        let entries = parse_env_file(Path::new(".env"), text).unwrap();
        entries.into_iter().map(|(name, found)| (name, found.value.expose().to_owned())).collect()
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        assert!(env(&[("EVERGRANT_REGION", "")]).get("EVERGRANT_REGION").is_none());
    }

    #[test]
    fn env_files_allow_comments_quotes_and_export() {
        let text = "# c\n\nA=1\nexport B = two words # note\nC='#x'\nD=\"q\" # note\nE=\nF=a#b\r\n";
        let pairs = [("A", "1"), ("B", "two words"), ("C", "#x"), ("D", "q"), ("F", "a#b")];
        assert_eq!(parsed(text), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_broken_env_file_points_at_its_line() {
        for (text, place) in [("A=1\nB", ".env:2:1"), ("A B=1", ".env:1:1"), ("A='x", ".env:1:1")] {
            let failure = parse_env_file(Path::new(".env"), text).unwrap_err();
            assert_eq!(failure.place.as_deref(), Some(place), "{text}");
        }
    }

    #[test]
    fn a_slip_in_a_variable_name_is_noticed() {
        let environment = env(&[("EVERGRANT_REGON", "x"), ("EVERGRANT_PROFILE", "x"), ("EVERGREEN", "x")]);
        let unknown = environment.unknown();
        assert_eq!(unknown, [(Origin::Variable("EVERGRANT_REGON".into()), Some("EVERGRANT_REGION".into()))]);
    }

    #[test]
    fn what_is_for_the_tools_beside_us_is_no_setting() {
        let mut environment = env(&[
            ("GENESYSCLOUD_ACCESS_TOKEN", "eg1_x"),
            ("GENESYSCLOUD_OAUTHCLIENT_ID", "id"),
            ("GENESYSCLOUD_OAUTHCLIENT_SECRET", "egs1_x"),
            ("GENESYSCLOUD_REGION", "eu-west-1"),
            ("EVERGRANT_CLIENT_ID", "id"),
        ]);
        environment.leave_to_other_tools();
        let left: Vec<_> = environment.variables.keys().map(String::as_str).collect();
        assert_eq!(left, ["EVERGRANT_CLIENT_ID", "GENESYSCLOUD_REGION"]);
        let mut theirs = env(&[("GENESYSCLOUD_OAUTHCLIENT_ID", "id"), ("GENESYSCLOUD_OAUTHCLIENT_SECRET", "s")]);
        theirs.leave_to_other_tools();
        assert_eq!(theirs.variables.len(), 2);
    }

    #[test]
    fn the_secret_variables_of_all_families_are_known() {
        let names: Vec<String> = secret_variables().collect();
        for name in [
            "EVERGRANT_CLIENT_SECRET",
            "EVERGRANT_CLIENT_SECRET_FILE",
            "EVERGRANT_REFRESH_TOKEN",
            "EVERGRANT_STORE_KEY_FILE",
            "GENESYSCLOUD_OAUTHCLIENT_SECRET",
            "GENESYS_CLOUD_CLIENT_SECRET_FILE",
            "GENESYS_CLIENT_SECRET",
            "GENESYSCLOUD_ACCESS_TOKEN",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
