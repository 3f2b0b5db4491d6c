//! `evergrant config`: what the settings are and where they come from, and a file to start with.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::args::ConfigCommand;
use crate::commands::gateway::plan;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::render;
use crate::settings::catalog::{Kind, SPECS, Setting, Spec};
use crate::settings::env_names::Environment;
use crate::settings::layers::{self, Layers};
use crate::settings::resolve::{Findings, Settings};
use crate::settings::values;

/// Runs a subcommand.
pub(crate) fn run(command: ConfigCommand) -> Result<u8, Failures> {
    match command {
        ConfigCommand::Check { json, flags } => check(&Layers::read_all(&flags, &Environment::of_process()?)?, json),
        ConfigCommand::Init { force, json, flags } => {
            let path = layers::file_to_write(&flags, &Environment::of_process()?)?;
            let layers = Layers::of_flags(flags);
            let (_, findings) = Settings::resolve(&layers);
            if !findings.errors.is_empty() {
                return Err(Failures(findings.errors));
            }
            write(&path, force, &template(&layers))?;
            if json {
                render::json(&json!({ "file": path }))?;
            } else {
                render::data(format!("{}\n", path.display()).as_bytes())?;
            }
            Ok(exit::OK)
        }
    }
}

/// Shows every setting that is set; a gap is told, an error ends the check. Profiles that are complete are also checked
/// against each other, as a gateway of all of them would.
fn check(profiles: &[Layers], as_json: bool) -> Result<u8, Failures> {
    let checked: Vec<(&Layers, Findings)> =
        profiles.iter().map(|layers| (layers, Settings::resolve(layers).1)).collect();
    let errors: Vec<Failure> = checked.iter().flat_map(|(_, findings)| findings.errors.clone()).collect();
    if !errors.is_empty() {
        return Err(Failures(errors));
    }
    if profiles.len() > 1 && checked.iter().all(|(_, findings)| findings.gaps.is_empty()) {
        plan::read(profiles).plans?;
    }
    for finding in checked.iter().flat_map(|(_, findings)| findings.warnings.iter().chain(&findings.gaps)) {
        finding.print_warning();
    }
    match checked.as_slice() {
        [(layers, findings)] if as_json => render::json(&report(layers, findings))?,
        several if as_json => {
            let reports: Vec<_> = several.iter().map(|(layers, findings)| report(layers, findings)).collect();
            render::json(&json!({ "profiles": reports }))?;
        }
        all => {
            let tables: Vec<_> = all.iter().map(|(layers, findings)| table(layers, findings)).collect();
            render::data(tables.join("\n").as_bytes())?;
        }
    }
    Ok(exit::OK)
}

fn report(layers: &Layers, findings: &Findings) -> serde_json::Value {
    let entry = |row: Row| match row.value {
        Some(value) => (row.key, json!({ "value": value, "from": row.origin })),
        None => (row.key, json!({ "from": row.origin })),
    };
    let settings: serde_json::Map<_, _> = SPECS.iter().filter_map(|spec| row(layers, spec)).map(entry).collect();
    let what = |findings: &[Failure]| findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>();
    json!({
        "complete": findings.gaps.is_empty(),
        "file": layers.file_path,
        "profile": layers.profile,
        "settings": settings,
        "gaps": what(&findings.gaps),
        "warnings": what(&findings.warnings),
    })
}

fn table(layers: &Layers, findings: &Findings) -> String {
    let rows: Vec<Row> = SPECS.iter().filter_map(|spec| row(layers, spec)).collect();
    let shown = |row: &Row| row.value.clone().unwrap_or_else(|| "(secret)".to_owned());
    let key_width = rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
    let value_width = rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    if let Some(path) = &layers.file_path {
        let profile = layers.profile.as_deref().unwrap_or("default");
        text.push_str(&format!("settings file {}, profile {profile}\n", path.display()));
    }
    for row in &rows {
        let value = shown(row);
        text.push_str(&format!("{:key_width$}  {value:value_width$}  {}\n", row.key, row.origin));
    }
    text.push_str(if findings.gaps.is_empty() { "ok: complete\n" } else { "ok, but not complete: see above\n" });
    text
}

/// Every setting that somebody set, with its place, in a line; a secret without its value.
pub(crate) fn given(layers: &Layers) -> Vec<String> {
    let rows = SPECS.iter().filter_map(|spec| row(layers, spec)).filter(|row| row.origin != DEFAULT);
    rows.map(|row| match row.value {
        Some(value) => format!("{} = {value} ({})", row.key, row.origin),
        None => format!("{} is set ({})", row.key, row.origin),
    })
    .collect()
}

struct Row {
    key: String,
    /// `None` for a secret.
    value: Option<String>,
    origin: String,
}

/// A setting that is set, or has a default.
fn row(layers: &Layers, spec: &'static Spec) -> Option<Row> {
    let key = spec.file_key();
    if spec.is_secret() {
        return layers.secret_origin(spec.key).map(|origin| Row { key, value: None, origin: origin.to_string() });
    }
    match layers.plain(spec.key) {
        Some(found) => {
            let is_store_url = spec.key == Setting::Store && found.value.contains("://");
            let is_url = is_store_url || matches!(spec.key, Setting::TokenUrl | Setting::Upstream | Setting::Issuer);
            let url = is_url.then(|| url::Url::parse(found.value.trim()).ok()).flatten();
            let value = match url {
                Some(url) if url.has_host() => values::shown(&url),
                // What cannot be taken apart may hold a password.
                _ if is_url && found.value.contains('@') => "(not shown)".to_owned(),
                _ => found.value,
            };
            Some(Row { key, value: Some(value), origin: found.origin.to_string() })
        }
        None => {
            let value = spec.default?.to_owned();
            Some(Row { key, value: Some(value), origin: DEFAULT.to_owned() })
        }
    }
}

const DEFAULT: &str = "default";

/// Writes the file for its owner only.
fn write(path: &Path, force: bool, text: &str) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        let failure = Failure::new(exit::CONFIG, "cannot write the settings file").at(path.display()).because(&error);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            failure.hint("keep it, replace it with --force, or name another with --config FILE")
        } else {
            failure.hint("name a file that you may write with --config FILE")
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).create_new(!force).truncate(force);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(cannot)
}

/// Every setting with its help; those that were given are set, the others are commented out.
fn template(layers: &Layers) -> String {
    let mut text = String::from(
        "# Settings of evergrant. Flags and EVERGRANT_* variables are stronger than this file.\n\
         # Keys above the first table hold for every profile; --profile NAME chooses one.\n\
         # Secrets do not belong here: set their variables, or name the files that hold them.\n\n\
         [profile.default]\n",
    );
    for spec in SPECS.iter().filter(|spec| spec.kind != Kind::ForeignSecret) {
        let is_secret = spec.kind == Kind::Secret;
        let (key, env, help) = if is_secret {
            (
                format!("{}_file", spec.file_key()),
                format!("{}_FILE", spec.env()),
                format!("File that holds {}", spec.help),
            )
        } else {
            (spec.file_key(), spec.env(), spec.help.to_owned())
        };
        let default = spec.default.map(|default| format!(" Default: {default}.")).unwrap_or_default();
        let given = layers.given(spec.key);
        let mark = if given.is_some() { "" } else { "#" };
        let example = if is_secret { "/run/secrets/name" } else { spec.example };
        let value = given.unwrap_or_else(|| example.to_owned());
        let value = if spec.kind == Kind::Switch { value } else { toml::Value::String(value).to_string() };
        text.push_str(&format!("\n# {help}.{default} ({env})\n{mark}{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::{SettingsFile, file_keys};
    use crate::settings::flags::Flags;
    use crate::settings::origin::{Found, Origin};

    #[test]
    fn what_was_given_is_set() {
        let found = |value: &str| Found { value: value.to_owned(), origin: Origin::Default };
        let values = [
            ((Setting::ClientId, false), found("say \"me\"")),
            ((Setting::ClientSecret, true), found("/s")),
            ((Setting::AllowVolatile, false), found("1")),
        ];
        let layers = Layers::of_flags(Flags { values: values.into(), ..Flags::default() });
        let file = SettingsFile::parse(Path::new("c"), &template(&layers)).unwrap();
        let values = file.profile(None).unwrap();
        let value = |key| values.get(&key).map(|found| found.value.as_str());
        assert_eq!(values.len(), 3);
        assert_eq!(value((Setting::ClientId, false)), Some("say \"me\""));
        assert_eq!(value((Setting::ClientSecret, true)), Some("/s"));
        assert_eq!(value((Setting::AllowVolatile, false)), Some("true"));
    }

    #[test]
    fn the_template_is_valid_and_so_is_every_line_of_it() {
        let path = Path::new("config.toml");
        assert!(SettingsFile::parse(path, &template(&Layers::default())).is_ok());
        let uncommented: String = template(&Layers::default())
            .lines()
            .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let file = SettingsFile::parse(path, &uncommented).unwrap();
        assert_eq!(file.profile(None).unwrap().len(), file_keys().count());
    }
}
