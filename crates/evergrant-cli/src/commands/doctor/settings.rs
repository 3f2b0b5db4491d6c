//! The check of the settings: what is set, where each value came from, and what is wrong with it.

use evergrant::doctor::{Check, Name};

use crate::commands::config;
use crate::failure::Failure;
use crate::settings::layers::Layers;
use crate::settings::resolve::Findings;

/// Every setting that somebody set, and every slip that was noticed.
pub(super) fn check(layers: &Layers, findings: &Findings) -> Check {
    let mut check = Check::ok(Name::Settings);
    for failure in findings.errors.iter().chain(&findings.gaps) {
        check = check.saw(in_words(failure)).fault(remedy(failure));
    }
    for failure in &findings.warnings {
        check = check.saw(in_words(failure)).warning(remedy(failure));
    }
    if let Some(path) = &layers.file_path {
        let profile = layers.profile.as_deref().unwrap_or("default");
        check = check.saw(format!("settings file {}, profile {profile}", path.display()));
    }
    config::given(layers).into_iter().fold(check, Check::saw)
}

fn in_words(failure: &Failure) -> String {
    let place = failure.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
    let causes: String = failure.causes.iter().map(|cause| format!(": {cause}")).collect();
    format!("{}{place}{causes}", failure.what)
}

fn remedy(failure: &Failure) -> String {
    if failure.hints.is_empty() {
        return "`evergrant config check` shows where each setting comes from".to_owned();
    }
    failure.hints.join("; ")
}
