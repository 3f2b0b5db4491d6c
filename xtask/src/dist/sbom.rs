//! The bill of materials: which crates are in an artefact, as CycloneDX 1.5 in JSON.
//!
//! A scanner reads it to find out whether a known hole concerns the program. It lists what [`super::contents`] found, who
//! uses whom, each crate's checksum as the lock file has it, and what is linked in besides crates: Rust's standard library
//! and, in the static program, the C library. Macros and build scripts run while it is built and are not in it.
//!
//! The same source gives the same bytes: the time is the commit's, and there is no random serial number, which CycloneDX
//! does not ask for. Source: the CycloneDX 1.5 JSON schema, and the package URL specification for `pkg:cargo`.

use serde_json::{Value, json};

use super::contents::{Contents, Crate, Id};
use super::runtime::Runtime;
use crate::tidy::licences::as_spdx;

/// The bill of a program, made at a time as RFC 3339 writes it.
pub(super) fn bill(contents: &Contents, runtimes: &[Runtime], kind: &str, time: &str) -> Value {
    let root = &contents.root;
    let crates = contents.crates.iter().filter(|(id, _)| *id != root);
    let mut components: Vec<_> = crates.map(|(id, part)| component(id, part, "library")).collect();
    components.extend(runtimes.iter().map(|runtime| {
        json!({
            "type": "library", "bom-ref": generic(runtime), "name": runtime.name, "version": runtime.version,
            "scope": "required", "purl": generic(runtime), "licenses": [{ "expression": runtime.licence }],
        })
    }));
    let mut dependencies: Vec<_> = contents
        .uses
        .iter()
        .map(|(id, uses)| {
            let mut on: Vec<_> = uses.iter().map(purl).collect();
            if id == root {
                on.extend(runtimes.iter().map(generic));
            }
            json!({ "ref": purl(id), "dependsOn": on })
        })
        .collect();
    dependencies.extend(runtimes.iter().map(|runtime| json!({ "ref": generic(runtime), "dependsOn": [] })));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "timestamp": time,
            "tools": { "components": [{ "type": "application", "name": "evergrant xtask dist", "version": root.1 }] },
            "component": contents.crates.get(root).map(|part| component(root, part, kind)),
        },
        "components": components, "dependencies": dependencies,
    })
}

fn component(id: &Id, part: &Crate, kind: &str) -> Value {
    let mut component = json!({
        "type": kind, "bom-ref": purl(id), "name": id.0, "version": id.1, "scope": "required", "purl": purl(id),
        "licenses": [{ "expression": as_spdx(&part.licence) }],
    });
    if let Some(checksum) = &part.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &part.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn generic(runtime: &Runtime) -> String {
    format!("pkg:generic/{}@{}", runtime.name, runtime.version)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn contents() -> Contents {
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let part = |licence: &str, checksum: Option<&str>| Crate {
            licence: licence.to_owned(),
            folder: "x".into(),
            repository: None,
            checksum: checksum.map(str::to_owned),
            is_ours: checksum.is_none(),
        };
        let (ours, theirs) = (id("ours", "1.0.0"), id("theirs", "2.0.0+c.1"));
        Contents {
            root: ours.clone(),
            crates: BTreeMap::from([(ours.clone(), part("MIT", None)), (theirs.clone(), part("MIT/ISC", Some("ab")))]),
            uses: BTreeMap::from([(ours, BTreeSet::from([theirs.clone()])), (theirs, BTreeSet::new())]),
        }
    }

    #[test]
    fn crates_and_libraries_are_components_with_licence_checksum_and_users() {
        let runtime = Runtime { name: "musl", version: "1.2.5".to_owned(), licence: "MIT" };
        let bill = bill(&contents(), &[runtime], "application", "2030-01-02T03:04:05Z");
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/ours@1.0.0");
        assert_eq!(bill["metadata"]["timestamp"], "2030-01-02T03:04:05Z");
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len(), 2);
        assert_eq!(components[0]["purl"], "pkg:cargo/theirs@2.0.0%2Bc.1");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR ISC");
        assert_eq!(components[0]["hashes"][0]["content"], "ab");
        assert_eq!(components[1]["purl"], "pkg:generic/musl@1.2.5");
        let uses = json!(["pkg:cargo/theirs@2.0.0%2Bc.1", "pkg:generic/musl@1.2.5"]);
        assert_eq!(bill["dependencies"][0], json!({ "ref": "pkg:cargo/ours@1.0.0", "dependsOn": uses }));
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let bill = bill(&contents(), &[], "application", "2030-01-02T03:04:05Z");
        let known: BTreeSet<_> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .chain([&bill["metadata"]["component"]])
            .map(|component| component["bom-ref"].clone().to_string())
            .collect();
        for dependency in bill["dependencies"].as_array().unwrap() {
            let on = dependency["dependsOn"].as_array().unwrap();
            assert!(on.iter().chain([&dependency["ref"]]).all(|reference| known.contains(&reference.to_string())));
        }
    }
}
