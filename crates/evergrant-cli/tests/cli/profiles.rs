//! `evergrant gateway` with several profiles.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use evergrant_sim::config::CLIENT_ID;

use crate::served::{Files, Served, command};
use crate::support::{Ended, Running, evergrant, get, provider};

#[test]
fn each_profile_has_its_own_listener_credential_and_upstream() {
    let (one, two, files) = (provider(), provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url()) + &Files::profile("b", &two, &two.url());
    let config = files.write(&text);
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a", "--profile", "b", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running::of(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    let listeners = json["listeners"].as_array().unwrap();
    assert_eq!(listeners.iter().map(|listener| &listener["profile"]).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(json["gateway"], listeners[0]["addr"]);
    for listener in listeners {
        assert!(get(listener["addr"].as_str().unwrap(), "/api/v2/users").starts_with("HTTP/1.1 200"));
    }
    for provider in [&one, &two] {
        let ledger = provider.handle().ledger();
        assert_eq!((ledger.token.requests, ledger.api.calls), (1, 1));
    }
}

#[test]
fn profiles_with_one_credential_share_its_token() {
    let (one, two, files) = (provider(), provider(), Files::new());
    // The second API does not know the first one's tokens; that its answer is a 401 shows where the request went.
    let text = files.head() + &Files::profile("a", &one, &one.url()) + &Files::profile("b", &one, &two.url());
    let served = files.start(&text, "a,b");
    assert_eq!(served.get("a"), "HTTP/1.1 200 OK");
    served.status_until("a token", |status| status["ready"] == true);
    let status = served.status();
    assert_eq!(status["listeners"][0]["active"]["generation"], status["listeners"][1]["active"]["generation"]);
    assert_eq!(one.handle().ledger().token.requests, 1);
    assert_eq!(two.handle().ledger().token.requests, 0);
    served.end();
}

/// What a gateway of these profiles says that does not start.
fn refused(files: &Files, text: &str) -> String {
    let config = files.write(text);
    let ended: Ended = evergrant(["gateway", "--config", &config, "--profile", "a,b"]).end();
    ended.failed(3).replace(files.folder.path().to_str().unwrap(), "/etc")
}

#[test]
fn two_profiles_with_one_listener_are_both_named() {
    let (one, files) = (provider(), Files::new());
    let profiles = Files::profile("a", &one, "https://a.example") + &Files::profile("b", &one, "https://b.example");
    let text = (files.head() + &profiles).replace("127.0.0.1:0\"\n[", "127.0.0.1:7070\"\n[");
    let text = text.trim_end().strip_suffix("listen = \"127.0.0.1:0\"").unwrap().to_owned();
    insta::assert_snapshot!(refused(&files, &text), @r#"
    error: profile `a` and profile `b` would listen on the same address
      in: 127.0.0.1:7070
      cause: profile `a`: 127.0.0.1:7070 (/etc/config.toml:7:10 (profile.a.listen))
      cause: profile `b`: 127.0.0.1:7070 (default)
    hint: give each profile a `listen` of its own in the settings file; a flag or a variable holds for all of them
    "#);
}

#[test]
fn one_credential_cannot_be_kept_in_two_ways() {
    let (one, files) = (provider(), Files::new());
    let a = Files::profile("a", &one, "https://a.example");
    let b = Files::profile("b", &one, "https://b.example") + "slack = \"5m\"\nstore = \"file+plain:/tmp/tokens\"\n";
    insta::assert_snapshot!(refused(&files, &(files.head() + &a + &b)), @r#"
    error: profiles `a` and `b` have the same client, and keep its token in two ways
      cause: they share one token and differ in store, slack
    hint: write these settings above the first table of the settings file, where they hold for every profile
    "#);
}

#[test]
fn a_secret_of_a_variable_is_not_sent_to_two_providers() {
    let (one, two, files) = (provider(), provider(), Files::new());
    let text = Files::profile("a", &one, &one.url()) + &Files::profile("b", &two, &two.url());
    let config = files.write(&text);
    let run = evergrant(["gateway", "--config", &config, "--profile", "a,b"]).env("EVERGRANT_CLIENT_SECRET", "hunter2");
    insta::assert_snapshot!(run.end().failed(3), @r#"
    error: one client secret would be used for the two clients of profiles `a` and `b`
      in: EVERGRANT_CLIENT_SECRET
      cause: a flag or a variable holds for every profile
    hint: name a file for each profile with `client_secret_file` in the settings file
    "#);
    assert_eq!(one.handle().ledger().token.requests + two.handle().ledger().token.requests, 0);
}

#[test]
fn a_secret_of_a_variable_serves_profiles_that_differ_in_their_scope_only() {
    let (one, files) = (provider(), Files::new());
    let b = Files::profile("b", &one, &one.url()).replace("[profile.b]", "[profile.b]\nscope = \"other\"");
    let text = "admin_listen = \"127.0.0.1:0\"\n".to_owned() + &Files::profile("a", &one, &one.url()) + &b;
    let config = files.write(&text);
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a,b"]).env("EVERGRANT_CLIENT_SECRET", evergrant_sim::config::CLIENT_SECRET);
    let served = Served::start(command);
    assert_eq!((served.get("a"), served.get("b")), ("HTTP/1.1 200 OK".into(), "HTTP/1.1 200 OK".into()));
    assert_eq!(one.handle().ledger().token.requests, 2);
}

#[test]
fn what_is_wrong_in_any_profile_is_told_at_once() {
    let files = Files::new();
    let text = "[profile.a]\nregion = \"eu-central-9\"\n[profile.b]\nregion = \"eu-west-1\"\nlisten = \"x\"\n";
    insta::assert_snapshot!(refused(&files, text), @r#"
    error: cannot use the value of `region`
      in: /etc/config.toml:2:10 (profile.a.region)
      cause: `eu-central-9` is none of the Genesys Cloud regions, nor one of their domains
        |
      2 | region = "eu-central-9"
        |          ^^^^^^^^^^^^^^ this value
    hint: did you mean eu-central-1?
    error: there is no client id
      in: profile `a`
      cause: nothing says which OAuth client asks for tokens
    hint: set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE
    error: cannot use the value of `listen`
      in: /etc/config.toml:5:10 (profile.b.listen)
      cause: `x` has no port
        |
      5 | listen = "x"
        |          ^^^ this value
    hint: write 127.0.0.1:7070, with port 0 for a free one, or unix:/path/of.sock
    error: there is no client id
      in: profile `b`
      cause: nothing says which OAuth client asks for tokens
    hint: set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE
    "#);
}

#[test]
fn profiles_can_be_checked_together() {
    let (one, two, files) = (provider(), provider(), Files::new());
    let text = files.head() + &Files::profile("a", &one, &one.url()) + &Files::profile("b", &two, &two.url());
    let config = files.write(&text);
    let check = |more: &[&str]| {
        let args = ["config", "check", "--config", &config, "--profile", "a,b"];
        evergrant(args.iter().chain(more)).end()
    };
    let table = check(&[]).good();
    assert!(table.matches("ok: complete").count() == 2 && table.contains("profile a") && table.contains("profile b"));
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).good()).unwrap();
    assert_eq!((&json["profiles"][0]["profile"], &json["profiles"][1]["complete"]), (&"a".into(), &true.into()));
    files.write(&text.replace("127.0.0.1:0", "127.0.0.1:7070"));
    assert!(check(&[]).failed(3).contains("profile `a` and profile `b` would listen on the same address"));
}

#[test]
fn other_commands_take_one_profile() {
    let run = evergrant(["token", "--profile", "a,b"]).config("[profile.a]\n[profile.b]\n");
    insta::assert_snapshot!(run.end().failed(2), @r"
    error: this command takes one profile
      in: --profile
      cause: 2 are asked for
    hint: `evergrant gateway` serves several profiles at once
    ");
    let run = evergrant(["gateway", "--profile", "a,a"]).config("[profile.a]\n");
    insta::assert_snapshot!(run.end().failed(2), @r"
    error: the profile `a` is asked for twice
      in: --profile
    hint: write NAME or NAME,NAME
    ");
}

#[test]
fn a_client_secret_from_standard_input_serves_every_profile_and_every_reload() {
    let (one, files) = (provider(), Files::new());
    let text = "admin_listen = \"127.0.0.1:0\"\nclient_secret_file = \"-\"\n".to_owned()
        + &Files::profile("a", &one, &one.url())
        + &Files::profile("b", &one, &one.url()).replace("[profile.b]", "[profile.b]\nscope = \"other\"");
    let config = files.write(&text);
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a,b"]).stdin(std::fs::File::open(files.secret()).unwrap());
    let served = Served::start(command);
    served.reload();
    assert_eq!((served.get("a"), served.get("b")), ("HTTP/1.1 200 OK".into(), "HTTP/1.1 200 OK".into()), "{CLIENT_ID}");
    assert_eq!(served.status()["reload"]["ok"], true);
}
