//! The settings as flags, made from the table.
//!
//! They may stand before the command and after it; after it wins. In the help of `evergrant` itself they are hidden, so
//! that it shows what there is to do; the help of every command that uses them lists them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

use super::catalog::{Kind, SPECS, Setting, Spec};
use super::origin::{Found, Origin};

const HEADING: &str = "Settings";
const CONFIG: &str = "config";
const PROFILE: &str = "profile";
const ENV_FILE: &str = "env-file";

/// The settings that were given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// `false` in the key means the setting itself, `true` the file that holds the secret.
    pub(crate) values: BTreeMap<(Setting, bool), Found<String>>,
    /// The settings file to use instead of the user's own.
    pub(crate) config: Option<PathBuf>,
    /// The profile to use, or several with commas.
    pub(crate) profile: Option<String>,
    /// A file of variables.
    pub(crate) env_file: Option<PathBuf>,
}

impl Flags {
    /// These flags, and where one is missing, the weaker ones.
    #[must_use]
    pub(crate) fn or(mut self, weaker: Self) -> Self {
        for (key, found) in weaker.values {
            self.values.entry(key).or_insert(found);
        }
        Self {
            values: self.values,
            config: self.config.or(weaker.config),
            profile: self.profile.or(weaker.profile),
            env_file: self.env_file.or(weaker.env_file),
        }
    }
}

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let files = [
            path(
                CONFIG,
                "FILE",
                "Settings file to use instead of evergrant/config.toml in the user's configuration folder [env: EVERGRANT_CONFIG]",
            ),
            Arg::new(PROFILE)
                .long(PROFILE)
                .value_name("NAME")
                .action(ArgAction::Append)
                .help(
                    "Profile of the settings file; `gateway` serves several, with commas or repeated [env: EVERGRANT_PROFILE]",
                ),
            path(ENV_FILE, "FILE", "File of NAME=value lines, read as if they were environment variables"),
        ];
        command.args(files.map(|arg| arg.help_heading(HEADING))).args(SPECS.iter().filter_map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = BTreeMap::new();
        for spec in SPECS {
            let id = id(spec);
            if let Ok(Some(given)) = matches.try_get_many::<String>(&id) {
                let value = given.map(String::as_str).collect::<Vec<_>>().join(",");
                let found = Found { value, origin: Origin::Flag(format!("--{id}")) };
                values.insert((spec.key, spec.kind == Kind::Secret), found);
            }
        }
        Ok(Self {
            values,
            config: matches.get_one::<PathBuf>(CONFIG).cloned(),
            profile: matches
                .get_many::<String>(PROFILE)
                .map(|given| given.map(String::as_str).collect::<Vec<_>>().join(",")),
            env_file: matches.get_one::<PathBuf>(ENV_FILE).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag's name: that of the setting, or of the file that holds the secret.
fn id(spec: &Spec) -> String {
    if spec.kind == Kind::Secret { format!("{}-file", spec.name) } else { spec.name.to_owned() }
}

fn argument(spec: &'static Spec) -> Option<Arg> {
    let id = id(spec);
    let arg = Arg::new(id.clone()).long(id).value_name(spec.placeholder).help_heading(HEADING);
    let (arg, env) = match spec.kind {
        Kind::Text => (arg, spec.env()),
        Kind::List => (arg.action(ArgAction::Append), spec.env()),
        Kind::Switch => (
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").hide_possible_values(true),
            spec.env(),
        ),
        Kind::Secret => (arg, format!("{}_FILE", spec.env())),
        Kind::ForeignSecret => return None,
    };
    let what = if spec.kind == Kind::Secret { "File that holds " } else { "" };
    let default = spec.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    Some(arg.help(format!("{what}{}{default} [env: {env}]", spec.help)))
}

fn path(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(placeholder).value_parser(clap::value_parser!(PathBuf)).help(help)
}
