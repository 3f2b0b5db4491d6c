//! The image: hadolint and the schema of Compose files accept what builds and runs it, and it holds one program.

use crate::checks::{content, python, schema, yaml};
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
    assert_eq!(
        (&gateway["ports"], app["network_mode"].as_str()),
        (&serde_json::Value::Null, Some("service:evergrant"))
    );
}
