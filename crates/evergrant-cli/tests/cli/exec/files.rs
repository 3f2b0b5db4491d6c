//! The private folder of a run: what is in it, and that it goes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use evergrant_core::time::Span;
use evergrant_sim::config::CLIENT_SECRET;
use evergrant_sim::faults::{Event, TokenFault};
use rustix::process::Signal;

use super::{finish, genesys, lines};
use crate::support::{Folder, evergrant, program, provider};

/// The private folders below a runtime folder.
fn left(runtime: &Folder) -> usize {
    std::fs::read_dir(runtime.path().join("evergrant")).map_or(0, Iterator::count)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_token_file_is_the_owners_alone_and_goes_with_the_command() {
    let (provider, runtime) = (provider(), Folder::new());
    let script = r#"echo "$EVERGRANT_ACCESS_TOKEN_FILE"; test "$(cat "$EVERGRANT_ACCESS_TOKEN_FILE")" = "$EVERGRANT_ACCESS_TOKEN" && read line; exit 4"#;
    let run = evergrant(["exec", "--token-file", "--", "sh", "-c", script]).client_of(&provider);
    let (mut running, _home) = run.env("XDG_RUNTIME_DIR", runtime.path()).start();
    let path = lines(&mut running).next().unwrap().unwrap();
    let path = Path::new(&path);
    assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(finish(running, 4), "");
    assert!(!path.exists());
    assert_eq!(left(&runtime), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_token_goes_whatever_else_is_in_the_folder_and_what_stays_is_told_of() {
    const SCRIPT: &str = r#"cd "${EVERGRANT_ACCESS_TOKEN_FILE%/*}"; mkdir -p made/deep; touch made/deep/file; chmod 500 made/deep made
        echo "$EVERGRANT_ACCESS_TOKEN_FILE"; read line; exit 4"#;
    let is_root = rustix::process::geteuid().is_root();
    // To root without its privileges a folder can be read-only, and somebody else's.
    let unprivileged: &[&str] = if is_root { &["setpriv", "--bounding-set=-all", "--inh-caps=-all"] } else { &[] };
    for has_foreign in [false, true] {
        if has_foreign && !is_root {
            continue;
        }
        let (provider, runtime) = (provider(), Folder::new());
        let words = [env!("CARGO_BIN_EXE_evergrant"), "exec", "--token-file", "--", "sh", "-c", SCRIPT];
        let run = program(&[unprivileged, &words].concat()).client_of(&provider);
        let (mut running, _home) = run.env("XDG_RUNTIME_DIR", runtime.path()).start();
        let path = lines(&mut running).next().unwrap().unwrap();
        let (path, folder) = (Path::new(&path), Path::new(&path).parent().unwrap());
        assert!(path.exists());
        if has_foreign {
            let foreign = folder.join("foreign");
            std::fs::create_dir(&foreign).unwrap();
            std::fs::write(foreign.join("file"), "").unwrap();
            std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
            std::fs::set_permissions(&foreign, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let said = finish(running, 4);
        assert!(!path.exists() && !folder.join("made").exists());
        assert_eq!(folder.exists(), has_foreign);
        let warning = "warning: cannot remove the private folder of the command\n";
        assert_eq!(said.starts_with(warning) && said.contains(folder.to_str().unwrap()), has_foreign, "{said}");
        assert_eq!(said.is_empty(), !has_foreign, "{said}");
    }
}

#[test]
fn the_folder_goes_after_a_signal_too_and_at_the_next_start_after_a_kill() {
    let (provider, runtime) = (provider(), Folder::new());
    let start = || {
        let run =
            evergrant(["exec", "--token-file", "--", "sh", "-c", "echo ready; read line; exit 0"]).client_of(&provider);
        let (mut running, home) = run.env("XDG_RUNTIME_DIR", runtime.path()).start();
        let mut lines = lines(&mut running);
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        (running, home)
    };
    let (running, _home) = start();
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(143));
    assert_eq!(left(&runtime), 0);

    let (killed, _home) = start();
    let (alive, _home) = start();
    killed.signal(Signal::KILL);
    killed.wait();
    assert_eq!(left(&runtime), 2);
    let next = evergrant(["exec", "--", "true"]).client_of(&provider).env("XDG_RUNTIME_DIR", runtime.path());
    next.end().good();
    assert_eq!(left(&runtime), 1, "the one that is in use");
    finish(alive, 0);
    assert_eq!(left(&runtime), 0);
}

#[test]
fn a_signal_while_the_token_is_waited_for_leaves_nothing() {
    let (provider, runtime) = (provider(), Folder::new());
    provider.handle().apply(Event::token(TokenFault::Hang(Span::from_secs(30))));
    let run = evergrant(["exec", "--token-file", "--timeout", "20s", "--", "echo", "started"]).client_of(&provider);
    let run = run.env("EVERGRANT_TOKEN_TIMEOUT", "1s");
    let (mut running, _home) = run.env("XDG_RUNTIME_DIR", runtime.path()).start();
    running.when(|| provider.handle().ledger().token.in_flight > 0);
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), Some(130));
    assert_eq!(left(&runtime), 0);
}

#[test]
fn the_sdks_find_the_gateway_in_a_folder_of_their_own() {
    let (provider, runtime) = (genesys(Span::from_secs(100)), Folder::new());
    let script = r#"cd "$EVERGRANT_SDK_CONFIG"; cat .genesyscloudpython/config .genesyscloudgo/config .gc/config.toml; echo "$HOME""#;
    let run = evergrant(["exec", "--gateway", "--sdk-config", "--", "sh", "-c", script]).client_of(&provider);
    let run = run.env("EVERGRANT_PROVIDER", "genesys").env("XDG_RUNTIME_DIR", runtime.path());
    let said = run.end().good();
    let port = said.lines().find_map(|line| line.strip_prefix("port = ")).unwrap();
    assert_eq!(said.matches(port).count(), 3, "{said}");
    assert!(said.ends_with("~\n"), "HOME is as it was: {said}");
    assert!(!said.contains(CLIENT_SECRET) && !said.contains("eg1_") && !said.contains("egs1_"));
    assert_eq!(left(&runtime), 0);
}

#[test]
fn a_home_of_links_hides_what_it_replaces_and_changes_nothing_of_the_users() {
    let (provider, runtime) = (genesys(Span::from_secs(100)), Folder::new());
    let script = r#"cat "$HOME/.profile" "$HOME/.gc/config.toml"; echo "more" >> "$HOME/.profile"; touch "$HOME/new""#;
    let run = evergrant(["exec", "--gateway", "--sdk-config=home", "--", "sh", "-c", script]).client_of(&provider);
    let run = run.env("EVERGRANT_PROVIDER", "genesys").env("XDG_RUNTIME_DIR", runtime.path());
    let home = Folder::new();
    home.file(".profile", "mine\n");
    std::fs::create_dir(home.path().join(".gc")).unwrap();
    home.file(".gc/config.toml", "theirs");
    let ended = run.env("HOME", home.path()).end();
    assert_eq!(ended.code(), 0, "{}", ended.shown());
    assert!(ended.stdout.starts_with("mine\n[DEFAULT]\n"), "{}", ended.stdout);
    let warned = ended.stderr.replace(home.path().to_str().unwrap(), "HOME");
    insta::assert_snapshot!(warned, @r"
    warning: the command does not see this settings file of yours
      in: HOME/.gc/config.toml
      cause: --sdk-config=home has put one with the gateway in its place, for this command only
    ");
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!([read(".profile"), read(".gc/config.toml")], ["mine\nmore\n", "theirs"]);
    assert!(!home.path().join("new").exists() && left(&runtime) == 0);
}
