//! `evergrant store`: what it says about a store, and what it never shows.

use std::os::unix::fs::PermissionsExt;

use evergrant_sim::SimServer;
use evergrant_sim::config::ProviderConfig;
use serde_json::Value;

use crate::support::{Folder, Run, evergrant, program};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn store(folder: &Folder) -> String {
    format!("file:{}", folder.path().join("tokens").display())
}

/// The token that a provider's client gets into the store.
fn filled(provider: &SimServer, folder: &Folder) -> String {
    let run = with(evergrant(["token"]), folder).client_of(provider).end();
    run.good().trim().to_owned()
}

fn with(run: Run, folder: &Folder) -> Run {
    run.env("EVERGRANT_STORE", store(folder)).env("EVERGRANT_STORE_KEY", KEY)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_store_is_listed_and_shown_without_its_tokens() {
    let (provider, folder) = (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new());
    let token = filled(&provider, &folder);
    let list = with(evergrant(["store", "list"]), &folder).client_of(&provider).end().good();
    let rows: Vec<&str> = list.lines().collect();
    assert!(rows.len() == 2 && rows[0].starts_with("CREDENTIAL") && rows[1].ends_with("of these settings"), "{list}");
    assert!(rows[1].contains(" left of ") && rows[1].contains("none"), "{list}");
    let name = rows[1].split(' ').next().unwrap().to_owned();

    // Nothing but the store needs to be known.
    let shown = with(evergrant(["store", "show", &name[..6]]), &folder).end().good();
    assert!(shown.contains(&name) && shown.contains("generation      1\n"), "{shown}");
    let list = json(&with(evergrant(["store", "list", "--json"]), &folder).end().good());
    let one = &list["credentials"][0];
    assert_eq!(
        (&one["generation"], &one["access_token"], &one["refresh_token"]),
        (&1.into(), &true.into(), &false.into())
    );
    assert_eq!((&one["of_these_settings"], &one["in_doubt"]), (&false.into(), &Value::Null));
    for text in [shown, list.to_string(), rows.join("\n")] {
        assert!(!text.contains(&token), "{text}");
    }
}

#[test]
fn a_credential_moves_and_is_used_from_its_new_place() {
    let (provider, old, new) = (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new(), Folder::new());
    let token = filled(&provider, &old);
    let key = old.file("key", "/////////////////////////////////////////zg=\n");
    let to = store(&new);
    let moved = with(evergrant(["store", "move", "--to", &to, "--to-key-file", &key]), &old).end();
    assert_eq!((moved.code(), moved.stdout.as_str()), (0, ""), "{}", moved.stderr);
    assert!(moved.stderr.contains("Moved generation 1 from file:") && moved.stderr.contains("EVERGRANT_STORE=file:"));
    let again =
        evergrant(["token"]).client_of(&provider).env("EVERGRANT_STORE", &to).env("EVERGRANT_STORE_KEY_FILE", &key);
    assert_eq!(again.end().good().trim(), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);
    let empty = with(evergrant(["store", "list"]), &old).end();
    assert_eq!((empty.code(), empty.stdout.as_str()), (0, ""));
    assert!(empty.stderr.contains("holds no credential"), "{}", empty.stderr);
}

#[test]
fn a_move_that_cannot_be_made_says_why_and_leaves_the_store_alone() {
    let (provider, folder, other) =
        (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new(), Folder::new());
    filled(&provider, &folder);
    let before = std::fs::read(folder.path().join("tokens")).unwrap();
    let foreign = other.file("tokens", "[profile]\n");
    std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o600)).unwrap();
    let here = store(&folder);
    let cases = [
        (here.as_str(), 2, "both are the same store"),
        ("memory", 2, "ends with this command"),
        (&format!("file:{foreign}"), 8, "is not an Evergrant store"),
        ("redis://127.0.0.1:1", 8, "cannot be used"),
        ("redis://:hunter2@127.0.0.1:1", 2, "name that with --to-file"),
        ("cloud", 3, "unknown store"),
    ];
    for (to, code, words) in cases {
        let ended = with(evergrant(["store", "move", "--to", to]), &folder).end();
        assert_eq!(ended.code(), code, "{to}: {}", ended.stderr);
        assert!(ended.stderr.contains(words) && ended.stderr.contains("hint:"), "{to}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        assert_eq!(std::fs::read(folder.path().join("tokens")).unwrap(), before);
    }
}

#[test]
fn a_credential_is_forgotten_by_name_only() {
    let (provider, folder) = (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new());
    filled(&provider, &folder);
    assert_eq!(with(evergrant(["store", "forget"]), &folder).client_of(&provider).end().code(), 2);
    let unknown = with(evergrant(["store", "forget", "zzzz"]), &folder).end();
    assert_eq!(unknown.code(), 1);
    assert!(unknown.stderr.contains("no name in it begins with `zzzz`"), "{}", unknown.stderr);
    let list = json(&with(evergrant(["store", "list", "--json"]), &folder).end().good());
    let name = list["credentials"][0]["credential"].as_str().unwrap();
    let gone = json(&with(evergrant(["store", "forget", name, "--json"]), &folder).end().good());
    assert_eq!(gone["forgotten"], name);
    let list = json(&with(evergrant(["store", "list", "--json"]), &folder).end().good());
    assert_eq!(list["credentials"], Value::Array(Vec::new()));
}

#[test]
fn files_that_are_none_are_named_with_what_is_wrong() {
    let folder = Folder::new();
    let path = folder.path().join("tokens");
    let put = |text: &str| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let cases = [
        ("[profile]\n", "is not an Evergrant store"),
        ("{\"evergrant_store\":99}", "format version 99"),
        ("{\"evergrant_store\":1,\"seal", "damaged"),
        ("{\"evergrant_store\":1,\"sealing\":\"plain\",\"credentials\":{}}", "is plain, not xchacha20poly1305"),
    ];
    for (text, words) in cases {
        put(text);
        let ended = with(evergrant(["store", "list"]), &folder).end();
        assert_eq!(ended.code(), 8, "{}", ended.stderr);
        assert!(ended.stderr.contains(words) && ended.stderr.contains("hint:"), "{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::remove_file(&path).unwrap();
    folder.file("tokens.damaged-1", "x");
    let ended = with(evergrant(["store", "list"]), &folder).end();
    assert!(
        ended.stderr.contains("tokens.damaged-1") && ended.stderr.contains("does not exist yet"),
        "{}",
        ended.stderr
    );
    assert_eq!(evergrant(["store", "list"]).end().code(), 3);
}

#[test]
fn a_passphrase_comes_from_the_environment_a_file_or_standard_input() {
    let (provider, folder) = (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new());
    let run = |args: &[&str]| evergrant(args).client_of(&provider).env("EVERGRANT_STORE", store(&folder));
    let token = run(&["token"]).env("EVERGRANT_STORE_PASSPHRASE", "correct horse battery").end().good();
    let file = folder.file("passphrase", "correct horse battery\n");
    assert_eq!(run(&["token", "--store-passphrase-file", &file]).end().good(), token);
    let from_input = run(&["token", "--store-passphrase-file", "-"]).input("correct horse battery\n").end();
    assert_eq!(from_input.good(), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);

    let wrong = run(&["token"]).env("EVERGRANT_STORE_PASSPHRASE", "correct horse staple").end();
    assert_eq!((wrong.code(), wrong.stdout.as_str()), (8, ""));
    assert!(wrong.stderr.contains("was sealed with another passphrase; it was left untouched"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains("staple"), "{}", wrong.stderr);
    let key = with(evergrant(["store", "list"]), &folder).end();
    assert!(key.stderr.contains("is sealed with a passphrase, not sealed with a key"), "{}", key.stderr);
    assert_eq!(run(&["token", "--store-passphrase-file", &file]).end().good(), token, "nothing was lost");

    // From a passphrase to a key and back, without either at hand as a flag.
    let other = Folder::new();
    let key = other.file("key", KEY);
    let args = ["store", "move", "--to", &store(&other), "--to-key-file", &key];
    assert_eq!(run(&args).env("EVERGRANT_STORE_PASSPHRASE_FILE", &file).end().code(), 0);
    let args = ["store", "move", "--to", &store(&folder), "--to-passphrase-file", "-"];
    let back = with(evergrant(args), &other).input("correct horse battery").end();
    assert_eq!(back.code(), 0, "{}", back.stderr);
    assert_eq!(run(&["token", "--store-passphrase-file", &file]).end().good(), token);
}

#[test]
fn a_passphrase_that_is_soon_guessed_or_stands_beside_a_key_is_refused() {
    let folder = Folder::new();
    let cases = [
        (vec![("EVERGRANT_STORE_PASSPHRASE", "hunter2")], "fewer than 8 characters"),
        (vec![("EVERGRANT_STORE_PASSPHRASE", "hunter2 hunter2"), ("EVERGRANT_STORE_KEY", KEY)], "sealed with one key"),
    ];
    for (variables, words) in cases {
        let run = evergrant(["store", "list"]).env("EVERGRANT_STORE", store(&folder));
        let ended = variables.iter().fold(run, |run, (name, value)| run.env(name, value)).end();
        assert_eq!(ended.code(), 3, "{}", ended.stderr);
        assert!(
            ended.stderr.contains(words) && ended.stderr.contains("EVERGRANT_STORE_PASSPHRASE"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    let flag = evergrant(["store", "list", "--store-passphrase", "hunter2 hunter2"]).end();
    assert_eq!(flag.code(), 2);
    assert!(flag.stderr.contains("EVERGRANT_STORE_PASSPHRASE") && !flag.stderr.contains("hunter2"), "{}", flag.stderr);
    let redis = evergrant(["store", "list", "--store", "redis://127.0.0.1:1"]);
    let redis = redis.env("EVERGRANT_STORE_PASSPHRASE", "correct horse battery").end();
    assert!(redis.stderr.contains("there is no store key"), "{}", redis.stderr);
}

/// A shell with a folder of this size of its own, or with a limit on files where that is not allowed.
fn full(folder: &Folder, args: &[&str]) -> Run {
    let path = folder.path().display();
    let binary = env!("CARGO_BIN_EXE_evergrant");
    let rest = args.join(" ");
    let mounted = format!("mount -t tmpfs -o size=64k,mode=700 none {path}");
    let is_allowed = std::process::Command::new("unshare").args(["-m", "sh", "-c", &mounted]).output();
    let is_allowed = is_allowed.is_ok_and(|output| output.status.success());
    let script = if is_allowed {
        format!(
            "cp -p {path}/tokens {path}.kept; {mounted}; cp -p {path}.kept {path}/tokens; \
             head -c 65536 /dev/zero > {path}/fill 2>&1; {binary} {rest}; code=$?; cat {path}/tokens; exit $code"
        )
    } else {
        format!("trap '' XFSZ; ulimit -f 0; {binary} {rest}; code=$?; cat {path}/tokens; exit $code")
    };
    let shell: &[&str] = if is_allowed { &["unshare", "-m", "sh", "-c", &script] } else { &["sh", "-c", &script] };
    program(shell)
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let (provider, folder) = (SimServer::start(ProviderConfig::default()).unwrap(), Folder::new());
    filled(&provider, &folder);
    let before = std::fs::read_to_string(folder.path().join("tokens")).unwrap();
    let name = {
        let list = json(&with(evergrant(["store", "list", "--json"]), &folder).end().good());
        list["credentials"][0]["credential"].as_str().unwrap().to_owned()
    };
    let ended = with(full(&folder, &["store", "forget", &name]), &folder).end();
    assert_eq!(ended.code(), 8, "{}", ended.stderr);
    let is_said = ["No space left on device", "File too large"].iter().any(|words| ended.stderr.contains(words));
    assert!(
        is_said && ended.stderr.contains("cannot write") && ended.stderr.contains("with space left"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout, before, "the store still holds what it held");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let folder = Folder::new();
    // As no user, root included, can make a file there.
    let ended = evergrant(["token", "--store", "file:/proc/evergrant/tokens"]).env("EVERGRANT_STORE_KEY", KEY);
    let provider = SimServer::start(ProviderConfig::default()).unwrap();
    let ended = ended.client_of(&provider).folder(&folder).end();
    assert_eq!(ended.code(), 0, "client credentials go on without their store: {}", ended.stderr);
    let ended = evergrant(["store", "move", "--to", "file:/proc/evergrant/tokens"]);
    filled(&provider, &folder);
    let ended = with(ended, &folder).end();
    assert_eq!(ended.code(), 8, "{}", ended.stderr);
    assert!(ended.stderr.contains("/proc/evergrant") && ended.stderr.contains("can write to"), "{}", ended.stderr);
    assert_eq!(
        json(&with(evergrant(["store", "list", "--json"]), &folder).end().good())["credentials"][0]["generation"],
        1
    );
}
