//! Genesys Cloud's own clients for Python and JavaScript under `exec`, which alone points them at a gateway.
//!
//! The scripts are those of `sdk_login`: they read an id and a secret from the environment, log in, call again and again and
//! give up at the first exception. Here nobody prepares a home folder for them, and the secret that they read is not the
//! client's. Tokens live for six seconds and are revoked now and then. Afterwards neither a token nor the client's
//! secret may be in the memory of either program; its handle is, which shows that the search finds what is there.

use std::path::Path;
use std::process::Command;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use serde_json::{Value, json};

use crate::memory::Needles;
use crate::parts::{part, scratch, tool};
use crate::process::Process;
use crate::until;

/// Enough for some tokens' lives.
const CALLS: u32 = 80;

fn provider() -> SimServer {
    SimServer::start(ProviderConfig::genesys().with_lifetime(Span::from_secs(6))).unwrap()
}

/// A program that runs a command by `exec`, with a home folder in which nobody has prepared anything.
fn under_exec(starter: &Path, sim: &SimServer, home: &Path) -> Command {
    std::fs::create_dir_all(home.join("runtime")).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_evergrant")).parent().unwrap().to_owned();
    let inherited = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([binaries].into_iter().chain(std::env::split_paths(&inherited)));
    let mut command = Command::new(starter);
    command.env_clear().env("PATH", path.unwrap()).env("HOME", home).env("XDG_RUNTIME_DIR", home.join("runtime"));
    command.env("EVERGRANT_PROVIDER", "genesys").env("NODE_PARTS", tool("node")).env("CALLS", CALLS.to_string());
    command.env("EVERGRANT_TOKEN_URL", sim.token_url()).env("EVERGRANT_UPSTREAM", sim.url());
    command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
    command
}

/// The one process that this one has started.
fn child_of(process: &Process) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("not one child: `{children}`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_clients_find_the_gateway_of_their_exec_and_hold_nothing_worth_stealing() {
    let folder = scratch("sdk-exec");
    let sim = provider();
    let clients = [("Python", tool("py/bin/python"), "sdk_login.py"), ("JavaScript", "node".into(), "sdk_login.mjs")]
        .map(|(name, program, script)| {
            let mut command = under_exec(Path::new("evergrant"), &sim, &folder.join(name));
            command.args(["exec", "--gateway", "--sdk-config=home", "--"]).arg(program).arg(part(script));
            (name, Process::start(name, &mut command))
        });

    let is_done = |process: &Process| process.said().lines().any(|line| line.starts_with('{'));
    let are_done = || clients.iter().all(|(_, process)| is_done(process));
    let mut revocations = 0;
    while !are_done() {
        let next = sim.handle().ledger().token.succeeded + 4;
        until("each gateway has got two more tokens, or the calls are done", async || {
            sim.handle().ledger().token.succeeded >= next || are_done()
        })
        .await;
        sim.handle().apply(Event::RevokeAll);
        revocations += 1;
    }

    let ledger = sim.handle().ledger();
    assert!(
        revocations >= 2 && ledger.refused() > 0,
        "the revocations must have met calls, or the test proves nothing"
    );
    assert_eq!(ledger.duplicated_effects(), 0);
    let secrets = || sim.handle().secrets().into_iter().map(|secret| secret.expose().to_owned());
    for (name, process) in clients {
        let report: Value = process.line(|line| serde_json::from_str(line).ok());
        assert_eq!((&report["failures"], &report["calls"]), (&json!([]), &json!(CALLS)), "{name}");
        let held = report["held"].as_str().unwrap().to_owned();
        assert!(held.starts_with("eg1_"), "{name}");
        let needles = Needles::new(secrets().chain([held.clone()]));
        let found = needles.in_process(child_of(&process));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [held], "{name}: what its memory holds");
        let (status, said) = process.end();
        assert!(status.success(), "{said}");
        let runs = std::fs::read_dir(folder.join(name).join("runtime/evergrant")).unwrap();
        assert_eq!(runs.count(), 0, "{name}: the private folder has gone");
    }
    println!("{revocations} revocations, {} 401s that nobody saw", ledger.refused());
}

/// A program that names the file itself, where its home is as it was.
const NAMED: [(&str, &str, &str); 2] = [
    (
        "py/bin/python",
        "-c",
        "import os, PureCloudPlatformClientV2 as genesys\n\
         genesys.configuration.config_file_path = os.environ['EVERGRANT_SDK_CONFIG'] + '/.genesyscloudpython/config'\n\
         client = genesys.api_client.ApiClient()\n\
         client.access_token = os.environ['GENESYSCLOUD_ACCESS_TOKEN']\n\
         print(genesys.OrganizationApi(client).get_organizations_me() is not None)",
    ),
    (
        "node",
        "-e",
        "const genesys = require('purecloud-platform-client-v2');\n\
         const client = genesys.ApiClient.instance;\n\
         client.config.setConfigPath(process.env.EVERGRANT_SDK_CONFIG + '/.genesyscloudjavascript/config');\n\
         client.setAccessToken(process.env.GENESYSCLOUD_ACCESS_TOKEN);\n\
         new genesys.OrganizationApi().getOrganizationsMe().then(() => { console.log('True'); process.exit(0); });",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_name_its_file_and_keep_its_home() {
    let folder = scratch("sdk-exec-named");
    let sim = provider();
    for (program, option, script) in NAMED {
        let program = if program == "node" { program.into() } else { tool(program) };
        let mut command = under_exec(Path::new("evergrant"), &sim, &folder);
        command.args(["exec", "--gateway", "--sdk-config", "--"]).arg(program).args([option, script]);
        let output = command.current_dir(tool("node")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), "True");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_runs_the_examples_of_both_sdks() {
    let folder = scratch("sdk-exec-examples");
    let sim = provider();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap();
    for (program, script) in [(tool("py/bin/python"), "genesys-sdk.py"), ("node".into(), "genesys-sdk.mjs")] {
        let mut command = under_exec(&examples.join("exec-sdk.sh"), &sim, &folder);
        let output = command.arg(program).arg(examples.join(script)).current_dir(tool("node")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), "the call worked with eg1_...");
    }
}
