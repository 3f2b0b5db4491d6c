//! The sidecar: Kubernetes' schemas accept it, and what it says is run, with the gateway and its caller as two users.

use serde_json::{Value, json};

use crate::checks::{content, python, yaml};
use crate::container::{Container, Secrets};
use crate::parts::{part, tool};
use crate::root;

const MANIFEST: &str = "deploy/kubernetes/sidecar.yaml";
/// The oldest version that the files are for, and the newest that the schemas are of.
const VERSIONS: [&str; 2] = ["v1.30.0", "v1.37.0"];

/// Checks objects against the schemas of Kubernetes, with no field that they do not know.
pub(crate) fn check(objects: &[Value]) {
    for version in VERSIONS {
        let schemas = tool("wheels/kubernetes_validate/kubernetes-json-schema").join(format!("{version}-local-strict"));
        content(python("python").arg(part("kubernetes.py")).arg(schemas), &json!(objects).to_string());
    }
}

fn deployment() -> Value {
    yaml(&std::fs::read_to_string(root(MANIFEST)).unwrap()).remove(0)
}

#[test]
fn the_sidecar_is_accepted_by_kubernetes() {
    check(&[deployment()]);
}

#[test]
#[should_panic(expected = "restartPolici")]
fn the_schemas_see_a_field_that_is_none() {
    let mut deployment = deployment();
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolici"] = "Always".into();
    check(&[deployment]);
}

#[test]
fn the_sidecar_serves_the_program_beside_it_which_is_another_user() {
    let pod = &deployment()["spec"]["template"]["spec"];
    let (sidecar, program) = (&pod["initContainers"][0], &pod["containers"][0]);
    let caller = program["securityContext"]["runAsUser"].as_u64().unwrap();
    assert_ne!(Some(caller), sidecar["securityContext"]["runAsUser"].as_u64());
    assert_eq!(program["env"][0]["value"], "http://127.0.0.1:7070", "where a gateway listens if nobody says otherwise");

    let gateway = Container::start(sidecar, Secrets::new("sidecar"));
    let answer = gateway.call(caller, "/api/v2/users/me", &[]);
    assert_eq!(answer, (200, r#"{"node":0,"ok":true,"path":"/api/v2/users/me"}"#.to_owned()));
    gateway.check_probes(sidecar);
    assert_eq!(gateway.provider.handle().ledger().token.requests, 1);
}

#[test]
fn without_its_word_about_callers_the_sidecar_would_refuse_the_program() {
    let mut sidecar = deployment()["spec"]["template"]["spec"]["initContainers"][0].clone();
    sidecar["env"].as_array_mut().unwrap().retain(|variable| variable["name"] != "EVERGRANT_CALLERS");
    let gateway = Container::start(&sidecar, Secrets::new("sidecar-alone"));
    let expected = if gateway.has_user_of_its_own() { 403 } else { 200 };
    assert_eq!(gateway.call(1000, "/api/v2/users/me", &[]).0, expected);
}
