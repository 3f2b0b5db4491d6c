//! `exec --dry-run`: what a command would get, without asking for a token.
//!
//! Names are shown, and values that are no secret. What is only known once a gateway listens and a folder is made has a
//! placeholder: `PORT`, and `exec-NAME` for the private folder.

use serde_json::{Value as Json, json};

use super::outfit::{Outfit, Value};
use super::sdk_files::SdkFile;
use crate::exit;
use crate::failure::Failure;
use crate::render;

/// Stands for the port of a gateway that does not listen yet.
pub(super) const PORT: &str = "PORT";
/// Stands for a folder that is not made yet.
pub(super) const FOLDER: &str = "exec-NAME";

/// Prints an outfit and the files that belong to it.
pub(super) fn print(outfit: &Outfit, files: &[SdkFile], as_json: bool) -> Result<u8, Failure> {
    let paths: Vec<String> = paths(outfit, files);
    if as_json {
        render::json(&as_object(outfit, &paths))?;
    } else {
        render::data(as_text(outfit, &paths).as_bytes())?;
    }
    Ok(exit::OK)
}

fn paths(outfit: &Outfit, files: &[SdkFile]) -> Vec<String> {
    let value = |name: &str| {
        let found = outfit.set.iter().find(|variable| variable.name == name);
        found.map(|variable| variable.exposed().to_string_lossy().into_owned())
    };
    let folder = value("EVERGRANT_SDK_CONFIG").unwrap_or_default();
    let of_sdks = files.iter().map(|file| format!("{folder}/{}/{}", file.folder, file.name));
    value("EVERGRANT_ACCESS_TOKEN_FILE").into_iter().chain(of_sdks).collect()
}

fn as_text(outfit: &Outfit, paths: &[String]) -> String {
    let mut text = "the command would get\n".to_owned();
    let width = outfit.set.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    for variable in &outfit.set {
        let value = match &variable.value {
            Value::Plain(value) => value.to_string_lossy().into_owned(),
            Value::Secret(_, what) => format!("[redacted] {what}"),
        };
        text.push_str(&format!("  {:width$}  {value}\n", variable.name));
    }
    let mut list = |head: &str, entries: &[String]| {
        if !entries.is_empty() {
            text.push_str(&format!("{head}\n"));
            entries.iter().for_each(|entry| text.push_str(&format!("  {entry}\n")));
        }
    };
    list("and not find", &outfit.taken);
    list("files, which go when it ends", paths);
    text
}

fn as_object(outfit: &Outfit, paths: &[String]) -> Json {
    let set: Vec<Json> = outfit
        .set
        .iter()
        .map(|variable| match &variable.value {
            Value::Plain(value) => json!({"name": variable.name, "value": value.to_string_lossy(), "secret": false}),
            Value::Secret(_, what) => json!({"name": variable.name, "what": what, "secret": true}),
        })
        .collect();
    json!({"set": set, "removed": outfit.taken, "files": paths})
}
