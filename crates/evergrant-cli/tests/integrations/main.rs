//! What is shown for other tools holds: their own parsers and schemas accept it, and what it would run is run against a
//! simulated provider.
//!
//! A tool that is not here has its part played: the runner of a CI, the provider of Terraform, the command line of Genesys
//! Cloud send the requests that their sources say. What only looks like the tool (a schema, a linter) is the tool's own,
//! pinned in `tests/parts/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../real/parts.rs"]
mod parts;

#[expect(dead_code, reason = "the tests against real components read more of what a process says")]
#[path = "../real/process.rs"]
mod process;

mod checks;
mod container;
mod docker;
mod gc;
mod github;
mod gitlab;
mod helm;
mod job;
mod kubernetes;
mod n8n;
mod served;
mod terraform;

use std::path::{Path, PathBuf};

/// A file or folder of the source tree.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Where programs are found, ours first.
fn path() -> String {
    let own = Path::new(env!("CARGO_BIN_EXE_evergrant")).parent().unwrap();
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap())
}

/// The address in a gateway's line about one of its listeners.
fn listening(line: &str, listener: &str) -> Option<String> {
    let is_it = line.contains("listening") && line.contains(&format!("listener=\"{listener}\""));
    let (_, address) = line.split_once("addr=").filter(|_| is_it)?;
    Some(address.split_whitespace().next()?.to_owned())
}

/// Each folder of examples, and of what is deployed, with the file that tries it.
const TRIED: [(&str, &str); 14] = [
    ("deploy/docker", "crates/evergrant-cli/tests/integrations/docker.rs"),
    ("deploy/grafana", "tests/parts/metrics.py"),
    ("deploy/helm", "crates/evergrant-cli/tests/integrations/helm.rs"),
    ("deploy/kubernetes", "crates/evergrant-cli/tests/integrations/kubernetes.rs"),
    ("deploy/prometheus", "tests/parts/metrics.py"),
    ("deploy/systemd", "crates/evergrant-cli/tests/cli/service.rs"),
    ("examples/aws-lambda", "crates/evergrant-py/tests/test_functions.py"),
    ("examples/azure-functions", "crates/evergrant-py/tests/test_functions.py"),
    ("examples/gc-cli", "crates/evergrant-cli/tests/integrations/gc.rs"),
    ("examples/github-actions", "crates/evergrant-cli/tests/integrations/github.rs"),
    ("examples/gitlab-ci", "crates/evergrant-cli/tests/integrations/gitlab.rs"),
    ("examples/n8n", "crates/evergrant-cli/tests/integrations/n8n.rs"),
    ("examples/python", "crates/evergrant-py/tests/test_examples.py"),
    ("examples/terraform", "crates/evergrant-cli/tests/integrations/terraform.rs"),
];

#[test]
fn every_folder_is_tried() {
    for parent in ["deploy", "examples"] {
        for entry in std::fs::read_dir(root(parent)).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir())
        {
            let name = entry.file_name().into_string().unwrap();
            let folder = format!("{parent}/{name}");
            let (_, test) = TRIED.iter().find(|(tried, _)| *tried == folder).unwrap_or_else(|| panic!("{folder}"));
            assert!(std::fs::read_to_string(root(test)).unwrap().contains(&name), "{folder} is not in {test}");
        }
    }
}
