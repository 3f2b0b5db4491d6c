//! What `exec` cannot do, and what it says then: before a token is asked for.

use evergrant_core::time::Span;

use super::genesys;
use crate::support::{Folder, Run, evergrant, provider};

fn run(arguments: &[&str]) -> Run {
    evergrant(["exec"].iter().chain(arguments).chain(&["--", "echo", "started"]))
}

#[test]
fn a_gateway_needs_an_upstream() {
    let provider = provider();
    let run = run(&["--gateway"]).client_of(&provider).env("EVERGRANT_UPSTREAM", "");
    insta::assert_snapshot!(run.end().failed(3), @r"
    error: there is no upstream
      cause: nothing says which API the requests are for
    hint: set EVERGRANT_UPSTREAM or --upstream, or for Genesys Cloud EVERGRANT_REGION
    ");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}

#[test]
fn what_must_be_renewed_needs_a_client() {
    for option in ["--gateway", "--token-file"] {
        let run = run(&[option]).env("EVERGRANT_REGION", "eu-west-1").env("GENESYSCLOUD_ACCESS_TOKEN", "t");
        let said = run.end().failed(3);
        assert!(said.starts_with(&format!("error: `exec {option}` needs a client id")), "{said}");
    }
}

#[test]
fn settings_files_of_sdks_need_a_gateway_and_their_provider() {
    let provider = provider();
    let said = run(&["--sdk-config"]).client_of(&provider).end().failed(2);
    assert!(said.starts_with("error: the following required arguments were not provided:\n  --gateway\n"), "{said}");
    insta::assert_snapshot!(run(&["--gateway", "--sdk-config"]).client_of(&provider).end().failed(3), @r"
    error: `--sdk-config` is for the SDKs of Genesys Cloud
      in: --sdk-config
      cause: the provider is oauth2
    hint: leave it out: the command finds the gateway in EVERGRANT_GATEWAY_URL
    ");
    let said = run(&["--gateway", "--sdk-config=there"]).client_of(&provider).end().failed(2);
    assert!(said.contains("[possible values: folder, home]"), "{said}");
}

#[test]
fn a_private_folder_needs_a_place_that_is_nobody_elses() {
    let provider = genesys(Span::from_secs(100));
    let folder = Folder::new();
    let named = |name: &str| run(&["--token-file"]).client_of(&provider).env(name, folder.path());
    let said = run(&["--token-file"]).client_of(&provider).env("TMPDIR", folder.path().join("missing")).end().failed(1);
    let shown = |said: String| {
        let said = said.replace(folder.path().to_str().unwrap(), "FOLDER");
        said.replace(&format!("evergrant-{}", rustix::process::geteuid().as_raw()), "evergrant-USER")
    };
    insta::assert_snapshot!(shown(said), @r"
    error: cannot make a private folder for the command
      in: FOLDER/missing/evergrant-USER
      cause: No such file or directory (os error 2)
    hint: set XDG_RUNTIME_DIR or TMPDIR to a folder of your own, on a disk that has room
    ");
    let open = folder.path().join("evergrant");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    insta::assert_snapshot!(shown(named("XDG_RUNTIME_DIR").end().failed(1)), @r"
    error: cannot make a private folder for the command
      in: FOLDER/evergrant
      cause: it is open to other users (mode 0777)
    hint: run `chmod 700 FOLDER/evergrant` if it is yours
    ");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}

#[test]
fn a_missing_command_is_named_where_a_gateway_waits_for_it() {
    let provider = provider();
    let missing = evergrant(["exec", "--gateway", "--", "no-such-command"]).client_of(&provider).end().failed(127);
    assert_eq!(missing, evergrant(["exec", "--", "no-such-command"]).client_of(&provider).end().failed(127));
    let unusable = evergrant(["exec", "--gateway", "--", "/etc"]).client_of(&provider).end().failed(126);
    assert!(unusable.starts_with("error: cannot run `/etc`\n  cause: Permission denied"), "{unusable}");
    evergrant(["exec", "--gateway"]).client_of(&provider).end().failed(2);
}
