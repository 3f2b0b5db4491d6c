//! A client secret that the keyring of a desktop keeps.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, SimServer};

use crate::desktop::{Desktop, holds};
use crate::gateway::listening;
use crate::process::Process;

const NEW: &str = "n3w-s3cret-of-the-keyring";

/// The program on this desktop, as a client that says nothing of its secret but where it is.
fn command(desktop: &Desktop, provider: &SimServer, args: &[&str]) -> Command {
    let mut command = desktop.on_bus(env!("CARGO_BIN_EXE_evergrant"));
    command.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url());
    command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET_IN", "keyring");
    command.args(args);
    command
}

fn given(mut command: Command, input: &str) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.as_ref().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", said(output));
    assert!(said(output).contains(words) && said(output).contains("hint:"), "{}", said(output));
    assert!(!said(output).contains("s3cret"), "{}", said(output));
}

fn ended(provider: &SimServer, outcome: TokenOutcome) -> u64 {
    provider.handle().ledger().token_requests_ended(outcome)
}

/// What a call of this address is answered.
fn status(url: &str) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().status().as_u16() })
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_secret_is_set_used_replaced_and_forgotten() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let run = |args: &[&str], input: &str| given(command(&desktop, &provider, args), input);
    refused(&run(&["token"], ""), "there is no client secret in the keyring");
    refused(&run(&["secret", "set"], "s3cret \n"), "ends with white space");
    let set = run(&["secret", "set"], &format!("{CLIENT_SECRET}\n"));
    assert!(said(&set).contains("use it from their next token request on"), "{}", said(&set));
    good(set);
    good(run(&["token"], ""));
    assert!(!holds(desktop.home.path(), CLIENT_SECRET), "the keyring keeps nothing in clear text");

    // Another program writes it, with a line break that came along.
    let mut tool = desktop.on_bus("secret-tool");
    tool.args(["store", "--label=by hand", "application", "evergrant", "kind", "client-secret"]);
    tool.args(["name", "default", "client", CLIENT_ID]);
    good(given(tool, &format!("{NEW}\n")));
    assert_eq!(run(&["token"], "").status.code(), Some(4), "the provider knows the old one only");
    good(run(&["secret", "set", "--next"], CLIENT_SECRET));
    let mut with_both = command(&desktop, &provider, &["token"]);
    with_both.env("EVERGRANT_CLIENT_SECRET_NEXT_IN", "keyring:next");
    good(given(with_both, ""));

    let told = good(run(&["secret", "set", "--json"], CLIENT_SECRET));
    assert_eq!(told, format!("{{\"set\":{{\"client_id\":\"{CLIENT_ID}\",\"place\":\"keyring\"}}}}\n"));
    good(run(&["token"], ""));
    good(run(&["doctor"], ""));
    good(run(&["secret", "forget"], ""));
    let nothing = run(&["secret", "forget"], "");
    assert!(nothing.status.code() == Some(1) && said(&nothing).contains("no such secret"), "{}", said(&nothing));
    refused(&run(&["token"], ""), "evergrant secret set --client-id");
    let doctor = run(&["doctor"], "");
    let report = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.code() == Some(12) && report.contains("no client secret in the keyring"), "{report}");
}

#[test]
fn a_gateway_uses_a_secret_that_was_changed_in_the_keyring_without_a_restart() {
    let config = ProviderConfig::default().with_lifetime(Span::from_secs(2));
    let (provider, desktop) = (SimServer::start(config).unwrap(), Desktop::new());
    let set = |secret| good(given(command(&desktop, &provider, &["secret", "set"]), secret));
    set(CLIENT_SECRET);
    let args = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut command = command(&desktop, &provider, &args);
    let gateway = Process::start("the gateway", command.env("EVERGRANT_LOG", "info"));
    let address = gateway.line(|line| listening(line, "gateway"));
    let call = || status(&format!("http://{address}/api/v2/things"));
    until("the gateway serves", || call() == 200);

    provider.handle().apply(Event::SetClientSecret(NEW.to_owned()));
    until("the old secret is refused", || ended(&provider, TokenOutcome::InvalidClient) > 0);
    let issued = ended(&provider, TokenOutcome::Issued);
    set(NEW);
    until("the new one is found without a caller", || ended(&provider, TokenOutcome::Issued) > issued);
    assert_eq!(call(), 200);

    // A locked keyring, or none any more, takes nothing from a gateway that runs.
    desktop.lock();
    let issued = ended(&provider, TokenOutcome::Issued);
    until("it goes on", || ended(&provider, TokenOutcome::Issued) > issued + 1);
    assert_eq!(call(), 200);
    assert!(!gateway.said().contains("s3cret"), "{}", gateway.said());
}

#[test]
fn a_locked_keyring_and_none_at_all_are_named() {
    let (provider, mut desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let run = |desktop: &Desktop, args: &[&str]| given(command(desktop, &provider, args), CLIENT_SECRET);
    good(run(&desktop, &["secret", "set"]));
    desktop.lock();
    for args in [&["token"][..], &["secret", "set"], &["secret", "forget"]] {
        refused(&run(&desktop, args), "it is locked, and was not unlocked");
    }
    desktop.address = "unix:path=/nowhere/bus".to_owned();
    refused(&run(&desktop, &["token"]), "no Secret Service can be reached");
}
