//! A gateway whose settings change while it runs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::CLIENT_SECRET;
use evergrant_sim::faults::Event;
use evergrant_sim::ledger::TokenOutcome;
use rustix::process::Signal;

use crate::gateway::{FREE_PORTS, address, log_of};
use crate::served::{Files, Served, api, command};
use crate::support::{evergrant, get, provider};

const OK: &str = "HTTP/1.1 200 OK";
const AGAIN: &str = "the settings were read again";
const REFUSED: &str = "the new settings were refused";

fn token_requests(provider: &SimServer) -> u64 {
    provider.handle().ledger().token.requests
}

/// Replaces a file as careful writers do.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn sighup_brings_another_upstream_and_another_listener_and_keeps_the_token() {
    let (one, files) = (provider(), Files::new());
    let before = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&before, "a");
    assert_eq!(served.get("a"), OK);
    let first = served.address("a");
    let moved = before.replace(&format!("upstream = \"{}\"", one.url()), &format!("upstream = \"{}\"", api("moved")));
    files.write(&moved);
    served.reload();
    assert!(get(&first, "/").ends_with("moved"));
    files.write(&moved.replace("\nlisten = \"127.0.0.1:0\"", "\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]"));
    served.reload();
    assert!(get(&first, "/").ends_with("moved"));
    let second = served.heard("addr=[::1]:");
    let second = second.split("addr=").nth(1).unwrap();
    assert!(get(second, "/").ends_with("moved"));
    assert_eq!(served.status()["listeners"][0]["listen"], serde_json::json!([first, second]));
    files.write(&before);
    served.reload();
    served.heard("listening no more");
    assert!(std::net::TcpStream::connect(second).is_err());
    assert!(get(&first, "/api/v2/users").starts_with(OK));
    assert!(served.status()["reloads"]["accepted"].as_u64() >= Some(3));
    assert_eq!(token_requests(&one), 1);
}

#[test]
fn a_change_of_the_file_is_enough_and_a_touch_is_none() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    let config = files.folder.path().join("config.toml");
    replace(&config, &text);
    fs::write(&config, &text).unwrap();
    fs::write(&config, format!("{text}verdict_header = \"off\"\n")).unwrap();
    served.heard(AGAIN);
    replace(&config, &text);
    served.heard_times(AGAIN, 2);
    // A third look would have been noted before this one.
    served.reload();
    assert_eq!(served.status()["reloads"]["accepted"], 3);
    assert_eq!(token_requests(&one), 1);
}

#[test]
fn a_swapped_link_above_the_file_is_a_change() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    // As Kubernetes mounts a configuration: the file is a link into a folder behind a link that is swapped.
    let mount = files.folder.path().join("mount");
    let version = |name: &str, text: &str| {
        fs::create_dir_all(mount.join(name)).unwrap();
        fs::write(mount.join(name).join("config.toml"), text).unwrap();
        std::os::unix::fs::symlink(name, mount.join("..new")).unwrap();
        fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
    };
    version("..1", &text);
    std::os::unix::fs::symlink("..data/config.toml", mount.join("config.toml")).unwrap();
    let mut command = command(&files.folder, mount.join("config.toml").to_str().unwrap());
    command.args(["--profile", "a"]);
    let served = Served::start(command);
    for swap in 2..5 {
        version(&format!("..{swap}"), &format!("{text}# {swap}\n"));
        fs::remove_dir_all(mount.join(format!("..{}", swap - 1))).unwrap();
        served.heard_times(AGAIN, swap - 1);
    }
    assert_eq!(served.get("a"), OK);
}

#[test]
fn a_bad_reload_changes_nothing_and_says_where_and_why() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    let config = files.write(&format!("{text}upstraem = \"https://elsewhere.example\"\n"));
    let place = format!("{config}:8:1 (profile.a.upstraem)");
    let line = served.heard(REFUSED);
    assert!(line.contains("ERROR") && line.contains(&place) && line.contains("did you mean `upstream`"), "{line}");
    let status = served.status();
    assert_eq!((&status["reload"]["ok"], &status["reloads"]["rejected"]), (&false.into(), &1.into()));
    let error = status["reload"]["error"].as_str().unwrap();
    assert!(error.starts_with(&place) && error.contains("unknown setting `upstraem`"), "{error}");
    let events = status["events"].as_array().unwrap();
    let rejected = events.iter().find(|event| event["event"] == "reload_rejected").unwrap();
    assert!(rejected["reason"].as_str().unwrap().starts_with(&place), "{rejected}");
    let metrics = served.admin("/metrics");
    assert!(metrics.contains("evergrant_reloads_total{result=\"rejected\"} 1"), "{metrics}");
    assert!(metrics.contains("evergrant_reload_ok 0"), "{metrics}");
    assert_eq!(served.get("a"), OK);
    assert_eq!(token_requests(&one), 1);
    files.write(&text);
    served.heard(AGAIN);
    assert_eq!(served.status()["reload"]["ok"], true);
    assert!(served.admin("/metrics").contains("evergrant_reload_ok 1"));
}

#[test]
fn a_reload_that_cannot_listen_asks_for_no_token_and_changes_nothing() {
    let (one, two, files) = (provider(), provider(), Files::new());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    let other = Files::profile("a", &two, &two.url()).replace("127.0.0.1:0", &address);
    files.write(&(files.head() + &other));
    let line = served.heard(REFUSED);
    assert!(line.contains(&format!("{address}: cannot listen on {address}")), "{line}");
    assert_eq!((token_requests(&two), served.get("a")), (0, OK.to_owned()));
}

#[test]
fn another_client_is_taken_only_if_it_gets_a_token() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    assert_eq!(served.get("a"), OK);
    files.write(&text.replace("client_id = \"", "client_id = \"not-"));
    let line = served.heard(REFUSED);
    assert!(
        line.contains("the new credential of profile `a` gets no token") && line.contains("invalid_client"),
        "{line}"
    );
    assert_eq!(served.get("a"), OK);
    let asked = token_requests(&one);
    files.write(&text.replace("[profile.a]\n", "[profile.a]\nscope = \"other\"\n"));
    served.heard(AGAIN);
    assert_eq!((served.get("a"), token_requests(&one)), (OK.to_owned(), asked + 1));
}

#[test]
fn a_secret_that_is_replaced_in_its_file_is_used_at_once() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    assert_eq!(served.get("a"), OK);
    // The provider changes the secret and ends the token. The gateway finds out at its next request, and waits.
    one.handle().apply(Event::SetClientSecret("another-secret-of-the-client".to_owned()));
    one.handle().apply(Event::RevokeAll);
    assert_ne!(served.get("a"), OK);
    served.status_until("the secret is refused", |status| status["counters"]["token_failures"].as_u64() > Some(0));
    replace(&files.secret(), "another-secret-of-the-client");
    served.heard("the client secret was replaced");
    served.status_until("a token", |status| status["ready"] == true);
    assert_eq!(served.get("a"), OK);
    let status = served.status();
    assert_eq!(status["reloads"]["accepted"], 1);
    assert!(!status.to_string().contains("another-secret") && !status.to_string().contains(CLIENT_SECRET));
}

#[test]
fn a_next_secret_that_a_reload_brings_takes_over_and_no_caller_sees_the_change() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let env_file = files.folder.path().join("secrets.env");
    fs::write(&env_file, "").unwrap();
    let mut command = command(&files.folder, &files.write(&text));
    command.args(["--profile", "a", "--env-file", env_file.to_str().unwrap()]);
    let served = Served::start(command);
    assert_eq!(served.get("a"), OK);
    fs::write(&env_file, "EVERGRANT_CLIENT_SECRET_NEXT=next-secret-of-the-client\n").unwrap();
    served.signal(Signal::HUP);
    served.heard("the client secret was replaced");
    one.handle().apply(Event::SetClientSecret("next-secret-of-the-client".to_owned()));
    one.handle().apply(Event::RevokeAll);
    assert_eq!(served.get("a"), OK, "the call waits for a token that the next secret brings");
    served.heard("the other one is used from now on");
    let ledger = one.handle().ledger();
    assert_eq!(ledger.token_requests_ended(TokenOutcome::InvalidClient), 1);
    assert!(!served.status().to_string().contains("next-secret"));
}

#[test]
fn what_cannot_change_under_way_is_named() {
    let (one, files) = (provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let served = files.start(&text, "a");
    files.write(&format!("log = \"debug\"\n{text}slack = \"5m\"\nverdict_header = \"off\"\n"));
    let line = served.heard("in force after the next start only");
    assert!(line.contains("slack (a), log"), "{line}");
    assert_eq!(served.status()["reload"]["needs_restart"], serde_json::json!(["slack (a)", "log"]));
    files.write(&text);
    served.heard_times(AGAIN, 2);
    assert_eq!(served.status()["reload"]["needs_restart"], serde_json::json!([]));
    assert_eq!(token_requests(&one), 1);
}

#[test]
fn variables_of_an_env_file_are_read_again_too() {
    let (one, files) = (provider(), Files::new());
    let variables = |upstream: &str| {
        files.folder.file(
            "evergrant.env",
            &format!(
                "EVERGRANT_TOKEN_URL={}\nEVERGRANT_UPSTREAM={upstream}\nEVERGRANT_CLIENT_ID={}\nEVERGRANT_CLIENT_SECRET={CLIENT_SECRET}\n",
                one.token_url(),
                evergrant_sim::config::CLIENT_ID
            ),
        )
    };
    let config = files.write("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n");
    let mut command = command(&files.folder, &config);
    command.args(["--env-file", &variables(&one.url())]);
    let served = Served::start(command);
    assert_eq!(served.get("default"), OK);
    variables(&api("moved"));
    served.heard(AGAIN);
    assert!(get(&served.address("default"), "/").ends_with("moved"));
}

#[test]
fn a_profile_can_be_dropped_and_come_back() {
    let (one, files) = (provider(), Files::new());
    let a = files.head() + &Files::profile("a", &one, &one.url());
    let with_b =
        a.clone() + &Files::profile("b", &one, &one.url()).replace("[profile.b]", "[profile.b]\nscope = \"b\"");
    files.folder.file("profiles.env", "EVERGRANT_PROFILE=a,b\n");
    let config = files.write(&with_b);
    let env_file = files.folder.path().join("profiles.env");
    let mut command = command(&files.folder, &config);
    command.args(["--env-file", env_file.to_str().unwrap()]);
    let served = Served::start(command);
    let b = served.address("b");
    assert_eq!((served.get("a"), served.get("b")), (OK.to_owned(), OK.to_owned()));
    replace(&env_file, "EVERGRANT_PROFILE=a\n");
    served.heard("listening no more");
    assert!(std::net::TcpStream::connect(&b).is_err());
    assert_eq!(served.status()["listeners"].as_array().unwrap().len(), 1);
    replace(&env_file, "EVERGRANT_PROFILE=a,b\n");
    served.status_until("both again", |status| status["listeners"].as_array().unwrap().len() == 2);
    served.heard_times("profile=\"b\"", 2);
    assert_eq!((served.get("a"), served.get("b")), (OK.to_owned(), OK.to_owned()));
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let one = provider();
    let (mut running, _home) = evergrant(FREE_PORTS).client_of(&one).start();
    let mut log = log_of(&mut running);
    let (gateway, admin) = (address(&mut log, "gateway"), address(&mut log, "admin"));
    drop(log);
    running.signal(Signal::HUP);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !get(&admin, "/metrics").contains("evergrant_reloads_total{result=\"accepted\"} 1") {
        assert!(Instant::now() < deadline, "the reload never came");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(get(&gateway, "/api/v2/users").starts_with(OK));
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn help_says_how_to_serve_several_profiles() {
    let help = evergrant(["gateway", "--help"]).end().good();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("`gateway` serves several, with commas or repeated"), "{help}");
}
