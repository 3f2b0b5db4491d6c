//! The workflow for n8n: n8n's own code and descriptions accept it, and what its node and credential say leads to the API.

use std::path::Path;
use std::process::Command;

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use serde_json::Value;

use crate::checks::{content, node};
use crate::parts::{scratch, tool};
use crate::root;
use crate::served::Served;

const FOLDER: &str = "examples/n8n";

fn n8n(workflow: &Path, credentials: &Path) -> Command {
    let mut command = node("n8n.mjs");
    command.arg(tool("n8n/package/dist/types")).args([workflow, credentials].map(|file| file.canonicalize().unwrap()));
    command
}

#[test]
fn the_workflow_calls_through_the_gateway() {
    let (workflow, credentials) = (root(FOLDER).join("workflow.json"), root(FOLDER).join("credentials.json"));
    let calls: Value = serde_json::from_str(&content(&mut n8n(&workflow, &credentials), "")).unwrap();
    let (call, credential) = (&calls[0], &calls[0]["credential"]);
    assert_eq!((calls.as_array().unwrap().len(), credential["authentication"].as_str()), (1, Some("header")));

    let served = Served::start(&scratch("n8n"));
    let here = |url: &Value| {
        let path = url.as_str().unwrap().strip_prefix("http://127.0.0.1:7070").unwrap();
        format!("http://{}{path}", served.address)
    };
    let curl = |arguments: &[&str]| {
        content(Command::new("curl").args(["--silent", "--show-error", "--fail"]).args(arguments), "")
    };
    let login = curl(&[
        "--user",
        &format!("{CLIENT_ID}:{CLIENT_SECRET}"),
        "--data",
        "grant_type=client_credentials",
        &here(&credential["accessTokenUrl"]),
    ]);
    let login: Value = serde_json::from_str(&login).unwrap();
    let handle = login["access_token"].as_str().unwrap();
    assert!(handle.starts_with("eg1_"), "n8n keeps what it gets in its database: {handle}");
    let answer = curl(&["--header", &format!("Authorization: Bearer {handle}"), &here(&call["url"])]);
    assert!(answer.contains(r#""path":"/api/v2/users""#), "{answer}");
}

#[test]
fn n8n_sees_a_mistake() {
    let folder = scratch("n8n-mistakes");
    let copy = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(root(FOLDER).join(name)).unwrap();
        assert!(text.contains(from));
        std::fs::write(folder.join(name), text.replace(from, to)).unwrap();
    };
    for (name, from, to, says) in [
        ("workflow.json", "genericAuthType", "genericAuth", "n8n has no such parameter here"),
        ("workflow.json", "\"id\": \"evergrant\"", "\"id\": \"another\"", "its credential is not in the file"),
        ("credentials.json", "accessTokenUrl", "tokenUrl", "n8n does not ask for tokenUrl"),
        ("credentials.json", "clientCredentials", "password", "n8n does not offer password"),
    ] {
        for other in ["workflow.json", "credentials.json"] {
            copy(other, "{", "{");
        }
        copy(name, from, to);
        let output = n8n(&folder.join("workflow.json"), &folder.join("credentials.json")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(says), "{says}: {said}");
    }
}
