//! The page of all causes says what the code says: held against every verdict that the table of cases brings.

use std::collections::{BTreeMap, BTreeSet};

use evergrant_core::verdict::{Cause, Confidence, diagnose};
use serde::Serialize;

use crate::verdicts::cases;

const PAGE: &str = include_str!("../../../../docs/verdicts.md");

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

/// The sections by their headings, in their order.
fn sections() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).map(|section| section.split_once('\n').expect("a heading and a text")).collect()
}

#[test]
fn the_page_has_one_section_for_each_cause_in_order() {
    let headings: Vec<&str> = sections().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(headings, Cause::ALL.map(Cause::name));
}

#[test]
fn each_section_has_the_confidences_faults_and_remedies_that_the_code_gives_and_no_other() {
    let reached = reached();
    for (cause, (_, text)) in Cause::ALL.into_iter().zip(sections()) {
        let Reached { confidences, faults, remedies } = &reached[&cause];
        let confidences: Vec<&str> = confidences.iter().rev().map(|confidence| confidence.name()).collect();
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let line = format!("Confidence: {}. Fault: {}.", confidences.join(", "), faults.join(", "));
        assert!(text.contains(&line), "{cause}: {line}");
        let listed: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("- ")).collect();
        assert_eq!(&listed, remedies, "{cause}");
        assert!(text.contains("**Told apart.** ") && text.contains("**What to do.**"), "{cause}");
    }
}
