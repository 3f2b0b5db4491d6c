//! The pages of the causes say what the code says: held against every verdict that the table of cases brings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use evergrant_core::verdict::{Cause, Confidence, diagnose};
use serde::Serialize;

use crate::verdicts::cases;

const TABLE: &str = include_str!("../../../../docs/verdicts.md");

/// What the cases bring for one cause.
#[derive(Default)]
struct Reached {
    confidences: BTreeSet<Confidence>,
    faults: BTreeSet<String>,
    remedies: BTreeSet<&'static str>,
}

fn name_of(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|name| name.as_str().map(str::to_owned)).expect("a name")
}

fn reached() -> BTreeMap<Cause, Reached> {
    let mut causes: BTreeMap<Cause, Reached> = BTreeMap::new();
    for case in cases() {
        let verdict = diagnose(&case.evidence);
        let reached = causes.entry(verdict.cause).or_default();
        reached.confidences.insert(verdict.confidence);
        reached.faults.insert(name_of(verdict.fault));
        reached.remedies.insert(verdict.remedy);
    }
    causes
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verdicts")
}

fn page(cause: Cause) -> String {
    std::fs::read_to_string(folder().join(format!("{cause}.md"))).unwrap_or_else(|error| panic!("{cause}: {error}"))
}

#[test]
fn each_cause_has_a_row_of_the_table_in_order_and_a_page_and_no_page_has_no_cause() {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next());
    assert_eq!(rows.collect::<Vec<_>>(), Cause::ALL.map(Cause::name));
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let wanted: BTreeSet<String> = Cause::ALL.iter().map(|cause| format!("{cause}.md")).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn each_page_has_the_confidences_faults_and_remedies_that_the_code_gives_and_no_other() {
    let reached = reached();
    for cause in Cause::ALL {
        let Reached { confidences, faults, remedies } = &reached[&cause];
        let confidences: Vec<&str> = confidences.iter().rev().map(|confidence| confidence.name()).collect();
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let (confidences, faults) = (confidences.join(", "), faults.join(", "));
        let text = page(cause);
        let head = format!("# {cause}\n\nConfidence: {confidences}. Fault: {faults}.\n");
        assert!(text.starts_with(&head), "{cause}: {head}");
        let cells = format!("| {confidences} | {faults} |");
        assert!(
            TABLE.lines().any(|line| line.contains(&format!("[`{cause}`]")) && line.ends_with(&cells)),
            "{cause}: {cells}"
        );
        let listed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("- ")).collect();
        assert_eq!(&listed, remedies, "{cause}");
        assert!(text.contains("**Told apart.** ") && text.contains("**What to do.**"), "{cause}");
    }
}

/// The step `book` runs the examples; here they are seen to be about the page's cause.
#[test]
fn each_page_shows_a_refusal_with_its_cause() {
    for cause in Cause::ALL {
        let text = page(cause);
        let (_, example) = text.split_once("**An example.** ").unwrap_or_else(|| panic!("{cause} has no example"));
        let told = [format!("\n{cause} ("), format!("evergrant-verdict: {cause};"), format!("\n  cause: {cause} (")];
        assert!(told.iter().any(|told| example.contains(told)), "{cause}: its example has another cause");
    }
}
