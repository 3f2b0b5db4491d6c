//! The image: hadolint and the schema of Compose files accept what builds and runs it, and it holds one program.

use serde_json::{Value, json};

use crate::checks::{content, python, schema, yaml};
use crate::container::{Container, MOUNTED, Secrets};
use crate::root;

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COMPOSE: &str = "deploy/docker/compose.yaml";

#[test]
fn hadolint_finds_nothing_to_say() {
    content(python("hadolint").arg(root(DOCKERFILE)), "");
}

#[test]
fn the_image_holds_one_program_and_no_rights() {
    let text = std::fs::read_to_string(root(DOCKERFILE)).unwrap();
    let (build, image) = text.split_once("\nFROM scratch\n").unwrap();
    let copied: Vec<_> = image.lines().filter_map(|line| line.strip_prefix("COPY ")).collect();
    assert!(copied.len() == 2 && copied.iter().all(|files| files.starts_with("--from=build ")), "{copied:?}");
    assert!(image.contains("\nUSER 65532:65532\n") && !image.contains("\nRUN "));
    assert!(!build.contains("SECRET") && !image.contains("SECRET"));
    let ignored = std::fs::read_to_string(root("deploy/docker/Dockerfile.dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == ".git"), "what was ever committed stays out of the context");
}

#[test]
fn compose_accepts_its_file_and_finds_the_image() {
    schema("vendor.compose-spec", &root(COMPOSE));
    let file = yaml(&std::fs::read_to_string(root(COMPOSE)).unwrap()).remove(0);
    let (gateway, app) = (&file["services"]["evergrant"], &file["services"]["app"]);
    let context = root("deploy/docker").join(gateway["build"]["context"].as_str().unwrap());
    assert!(context.join(gateway["build"]["dockerfile"].as_str().unwrap()).exists());
    assert_eq!((&gateway["ports"], app["network_mode"].as_str()), (&Value::Null, Some("service:evergrant")));
}

#[test]
fn a_container_that_nothing_is_written_into_has_its_secrets_from_files() {
    let file = yaml(&std::fs::read_to_string(root(COMPOSE)).unwrap()).remove(0);
    assert_eq!(unmountable(&file), "");
    let mut written = file.clone();
    written["secrets"]["client-secret"] = json!({"environment": "A_VARIABLE"});
    assert_eq!(unmountable(&written), "client-secret");
    written["services"]["evergrant"]["read_only"] = false.into();
    assert_eq!(unmountable(&written), "");
    let mut for_a_user = file;
    for_a_user["services"]["evergrant"]["secrets"] = json!([{"source": "client-secret", "uid": "65532"}]);
    assert_eq!(unmountable(&for_a_user), "client-secret");
}

/// The secrets that Compose cannot give to a service: what is no file it writes into the container, which must not be
/// read-only, and a file it mounts as it is, whatever owner or mode is asked for.
fn unmountable(file: &Value) -> String {
    let mut found = Vec::new();
    for service in file["services"].as_object().unwrap().values().filter(|service| service["read_only"] == true) {
        for secret in service["secrets"].as_array().into_iter().flatten() {
            let name = secret.as_str().or_else(|| secret["source"].as_str()).unwrap();
            let is_changed = ["uid", "gid", "mode"].iter().any(|field| !secret[field].is_null());
            if is_changed || !file["secrets"][name]["file"].is_string() {
                found.push(name);
            }
        }
    }
    found.join(" ")
}

#[test]
fn the_app_of_the_compose_file_calls_the_gateway_that_it_waits_for() {
    let file = yaml(&std::fs::read_to_string(root(COMPOSE)).unwrap()).remove(0);
    let (gateway, app) = (&file["services"]["evergrant"], &file["services"]["app"]);
    let variables = gateway["environment"].as_object().unwrap().iter().map(|(name, value)| {
        // What the shell of whoever starts it says, and where Compose puts secrets.
        let value =
            value.as_str().unwrap().replace("${EVERGRANT_REGION}", "eu-west-1").replace("/run/secrets", MOUNTED);
        json!({"name": name, "value": value.replace("${EVERGRANT_CLIENT_ID}", "a client")})
    });
    let container = json!({
        "env": variables.collect::<Vec<_>>(),
        "securityContext": {"runAsUser": 65532},
        "volumeMounts": [{"mountPath": MOUNTED, "readOnly": true}],
    });
    let running = Container::start(&container, Secrets::new("compose"));
    running.when_healthy();
    let url = app["command"].as_array().unwrap().last().unwrap().as_str().unwrap();
    let path = url.strip_prefix("http://127.0.0.1:7070").unwrap();
    assert_eq!(running.call(100, path, &[]).0, 200);
}
