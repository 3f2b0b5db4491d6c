//! Each file under `examples/` does what it shows, against a simulated provider.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "its main reads the environment of a program of its own")]
#[path = "../../../../examples/library.rs"]
mod library;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use evergrant::Credential;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::{ApiFault, Event};
use evergrant_sim::http::SimServer;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn provider() -> SimServer {
    SimServer::start(ProviderConfig::genesys()).unwrap()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// An example with the settings that it asks for and the binary on its path.
fn example(name: &str, provider: &SimServer) -> Command {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("example-{name}"));
    std::fs::create_dir_all(&home).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_evergrant")).parent().unwrap();
    let mut path = binaries.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = Command::new(folder().join(name));
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("EVERGRANT_PROVIDER", "genesys")
        .env("EVERGRANT_TOKEN_URL", provider.token_url())
        .env("EVERGRANT_UPSTREAM", provider.url())
        .env("EVERGRANT_CLIENT_ID", CLIENT_ID)
        .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
    command
}

/// What it prints, if it ends well and shows no secret.
fn good(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    assert!(!out.contains(CLIENT_SECRET) && !err.contains(CLIENT_SECRET), "a secret is shown");
    out.into_owned()
}

#[test]
fn a_doctor_looks_before_the_night_and_writes_a_page() {
    let provider = provider();
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-doctor.html");
    let said = good(example("doctor.sh", &provider).arg(&page));
    assert!(said.contains("0 faults"), "{said}");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    let broken = example("doctor.sh", &provider).arg(&page).env("EVERGRANT_CLIENT_SECRET", "wrong").output().unwrap();
    assert_eq!(broken.status.code(), Some(1));
}

#[test]
fn curl_takes_a_token_from_a_pipe() {
    let provider = provider();
    let answer = good(example("token.sh", &provider).arg("/api/v2/users"));
    assert!(answer.contains(r#""path":"/api/v2/users""#), "{answer}");
}

#[test]
fn a_command_finds_a_token_in_its_environment() {
    let answer = good(&mut example("exec.sh", &provider()));
    assert!(answer.starts_with("the token has ") && !answer.contains("has 0 "), "{answer}");
}

#[test]
fn a_command_has_a_gateway_of_its_own() {
    let answer = good(&mut example("exec-gateway.sh", &provider()));
    assert_eq!(answer.matches(r#""query":"page="#).count(), 3, "{answer}");
}

#[test]
fn a_command_reads_its_token_again_from_a_file() {
    let answer = good(&mut example("exec-token-file.sh", &provider()));
    assert_eq!(answer.matches(r#""query":"page="#).count(), 3, "{answer}");
}

#[test]
fn a_gateway_serves_callers_that_know_no_token() {
    let provider = provider();
    let mut command = example("gateway.sh", &provider);
    command.env("EVERGRANT_LISTEN", free_address()).env("EVERGRANT_ADMIN_LISTEN", free_address());
    let answer = good(command.arg("/api/v2/users"));
    assert!(answer.contains(r#""path":"/api/v2/users""#), "{answer}");
}

#[test]
fn one_gateway_serves_two_profiles_and_takes_another_setting_while_it_runs() {
    let provider = provider();
    let mut command = example("profiles.sh", &provider);
    command.env("REPORTS", free_address()).env("SCREENS", free_address()).env("EVERGRANT_ADMIN_LISTEN", free_address());
    let answer = good(&mut command);
    assert_eq!(answer.matches(r#""path":"/api/v2/organizations/me""#).count(), 3, "{answer}");
    assert_eq!(provider.handle().ledger().token.requests, 1);
}

#[test]
fn one_request_needs_no_other_tool() {
    let provider = provider();
    let answer = good(example("api.sh", &provider).arg("/api/v2/users"));
    assert!(answer.contains("/api/v2/users"), "{answer}");
}

#[test]
fn all_pages_of_a_collection_end_up_in_a_file() {
    let provider = provider();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example-paginate");
    let _ = std::fs::remove_dir_all(&folder);
    let mut command = example("paginate.sh", &provider);
    std::fs::create_dir_all(&folder).unwrap();
    command.current_dir(&folder).arg("/api/v2/paged/number?pageSize=10&total=35");
    assert_eq!(good(&mut command), "");
    let csv = std::fs::read_to_string(folder.join("users.csv")).unwrap();
    assert!(csv.starts_with("id,name,division.name\nthing-0000001,") && csv.lines().count() == 36, "{csv}");
    let calls = provider.handle().ledger().api.calls;
    good(&mut command);
    assert_eq!(provider.handle().ledger().api.calls, calls, "it is complete");
}

#[test]
fn a_refused_request_of_curl_is_explained() {
    let provider = provider();
    assert_eq!(good(&mut example("explain.sh", &provider)), "", "nothing is refused yet");
    provider.handle().apply(Event::api(ApiFault::MissingPermission));
    let said = good(&mut example("explain.sh", &provider));
    assert!(
        said.contains("GET /api/v2/organizations/me answered 403") && said.contains("missing_permission"),
        "{said}"
    );
}

#[test]
fn the_settings_file_has_no_mistake() {
    let binary = env!("CARGO_BIN_EXE_evergrant");
    for profile in ["default", "other"] {
        let mut command = Command::new(binary);
        command.env_clear().args(["config", "check", "--profile", profile, "--config"]);
        good(command.arg(folder().join("config.toml")));
    }
}

#[test]
fn the_library_reads_a_thing() {
    let provider = provider();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let credential = Credential::client_credentials(CLIENT_ID, CLIENT_SECRET.into());
    let answer = runtime.block_on(library::read(provider.token_url(), provider.url(), credential)).unwrap();
    assert!(answer.contains(r#""query":"pageSize=25""#), "{answer}");
}

/// Examples that need a provider's own libraries, which the tests against real components run. Folders are for the test
/// of integrations.
const TRIED_ELSEWHERE: [&str; 4] = ["genesys-sdk-config.ini", "genesys-sdk.py", "genesys-sdk.mjs", "exec-sdk.sh"];

#[test]
fn every_example_is_tried_here() {
    let tried = include_str!("main.rs");
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_tried = tried.contains(&name) || TRIED_ELSEWHERE.contains(&name.as_str());
        assert!(name == "README.md" || is_tried || entry.path().is_dir(), "{name} is in no test");
    }
}
